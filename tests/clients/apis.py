"""What the clients talk to: enough of each API for its SDK to take the answer, and a count of effects."""
import http.client
import json
import threading
import urllib.parse

from harness import DEADLINE, reset


class Api:
    """A handler for harness.Upstream. `effects` is what the customer pays for, `arrivals` all that reached it.

    `keyed`: it honours Idempotency-Key. `drop`: so many next effects happen, but their answers are not given."""

    def __init__(self, keyed=False):
        self.keyed, self.lock = keyed, threading.Lock()
        self.clear()

    def clear(self):
        self.arrivals, self.effects, self.answers, self.drop = [], [], {}, 0
        self.gate = threading.Event()
        self.gate.set()

    def hold(self):
        """Effects happen at once, answers come when `gate` is set."""
        self.gate.clear()

    def __call__(self, request, connection):
        with self.lock:
            self.arrivals.append(request)
            key = request["Idempotency-Key"] if self.keyed else None
            known = self.answers.get(key) if key else None
            if not known:
                self.effects.append(request)
            drop = self.drop > 0
            self.drop -= drop
        answer = known or self.answer(request, len(self.effects))
        if key:
            with self.lock:
                self.answers.setdefault(key, answer)
        assert self.gate.wait(4 * DEADLINE), "nobody opened the gate"
        if drop:
            reset(connection)
            return None
        return answer

    def answer(self, request, n):
        path = urllib.parse.urlsplit(request.target).path
        if path == "/v1/charges":
            form = dict(urllib.parse.parse_qsl(request.body.decode()))
            return as_json({"id": f"ch_{n}", "object": "charge", "amount": int(form["amount"]), "currency": form["currency"],
                            "metadata": {"order": form["metadata[order]"]}, "status": "succeeded"}, {"Request-Id": f"req_{n}"})
        if path == "/v1/chat/completions":
            return self.completion(json.loads(request.body), n)
        if path == "/api/chat.postMessage":
            form = dict(urllib.parse.parse_qsl(request.body.decode()))
            return as_json({"ok": True, "channel": form["channel"], "ts": f"1700000000.{n:06}", "message": {"text": form["text"]}})
        if path.endswith("/Messages.json"):
            form = dict(urllib.parse.parse_qsl(request.body.decode()))
            return as_json({"sid": f"SM{n:032}", "account_sid": path.split("/")[3], "body": form["Body"], "status": "queued",
                            "date_created": "Tue, 24 Nov 2026 03:00:00 +0000"}, status=201)
        if path == "/v3/mail/send":
            return 202, {"X-Message-Id": f"mail-{n}"}, b""
        return as_json({"id": f"order-{n}", "order": json.loads(request.body)["order"]})

    def completion(self, body, n):
        text = "echo " + body["messages"][0]["content"]
        base = {"id": f"chatcmpl-{n}", "created": 1700000000, "model": body["model"]}
        if not body.get("stream"):
            return as_json({**base, "object": "chat.completion", "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]}, {"x-request-id": f"req_{n}"})
        deltas = [{"role": "assistant", "content": ""}, *[{"content": c} for c in text], {}]
        events = [json.dumps({**base, "object": "chat.completion.chunk", "choices": [
            {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]}) for delta in deltas]
        chunks = [f"data: {event}\n\n".encode() for event in [*events, "[DONE]"]]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        return 200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"}, framed


class Aws(Api):
    """The moto server counts the effects; this one relays to it, so that answers can be lost."""

    def __init__(self, port):
        super().__init__()
        self.port = port

    def answer(self, request, _n):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(request.method, request.target, request.body, dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        dropped = ("content-length", "transfer-encoding", "connection")
        return answer.status, [(n, v) for n, v in answer.getheaders() if n.lower() not in dropped], body


def as_json(value, headers=None, status=200):
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode()
