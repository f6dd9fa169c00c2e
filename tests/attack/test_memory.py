"""What one peer sends, asks for or answers takes bounded memory, bounded stack, and nobody else's time."""
import contextlib
import gzip
import hashlib
import json
import os
import pathlib
import re
import socket
import sys
import threading
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import SANITIZED, Case, Gate, eventually, guarded_route, main, read_answer, request_bytes, reset

MIB = 1024 * 1024
DEEP = "[" * 100_000 + "]" * 100_000


def resident(ledger):
    """MiB."""
    status = pathlib.Path(f"/proc/{ledger.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


class Reading(threading.Thread):
    """Keeps the highest resident size seen while something happens."""

    def __init__(self, ledger):
        super().__init__(daemon=True)
        self.ledger, self.peak, self.over = ledger, resident(ledger), threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            self.peak = max(self.peak, resident(self.ledger))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def took_at_most(self, mib):
        # A sanitizer's bookkeeping takes several times as much.
        assert SANITIZED or self.peak < mib, f"{self.peak} MiB, not below {mib}"


class Memory(Case):
    def connect(self, ledger, room=4096):
        """A client that takes little before it reads."""
        client = socket.socket()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        client.settimeout(60)
        client.connect(("127.0.0.1", ledger.port))
        return client

    def ask(self, ledger, up, body=b'{"amount":49}', headers=(), room=4096):
        client = self.connect(ledger, room)
        client.sendall(request_bytes("POST", up.url + "/v1/charges", "x", [("Content-Type", "application/json"), *headers], body))
        return client

    def given(self, ledger, status="replayed"):
        return ledger.metric(f'ledger_calls_total{{status="{status}"}}')


class DeepProbe(Case):
    def shop(self, answer):
        def handler(request, connection):
            if request.method == "GET":
                return 200, {"Content-Type": "application/json"}, answer.encode()
            return reset(connection)

        return self.upstream(handler)

    def proxy(self, up, headers=""):
        return self.ledger(f'routes: [ {{ name: charge, match: "POST {up.url}/**", '
                           f'probe: {{ get: "/charges?n=${{body:/amount}}", executed_if: "/data/0/id"{headers} }} }} ]')

    ANSWERS = (f'{{"data":[{{"id":1,"more":{DEEP}}}]}}', f'{{"data":[{{"id":{DEEP}}}]}}', DEEP,
               '{"data":[{"id":1,"a":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}]}", "[" * 900_000)

    def test_a_deeply_nested_probe_answer_is_unclear_to_a_repeat(self):
        for answer in self.ANSWERS:
            up = self.shop(answer)
            ledger = self.proxy(up)
            ledger.charge(up)
            self.assertEqual(ledger.charge(up).slug, "in-doubt", answer[:40])
            self.assertIsNone(ledger.process.poll())

    def test_a_deeply_nested_probe_answer_kills_no_start_after_it(self):
        up = self.shop(self.ANSWERS[0])
        ledger = self.proxy(up, ", headers: {}")
        key = ledger.charge(up)["Ledger-Record"] or ledger.records()[0]["id"]
        eventually(lambda: sum(r.method == "GET" for r in up.requests) >= 2, "it asks, and asks again")
        asked = up.effects
        ledger.restart()
        eventually(lambda: up.effects > asked, "it asks after a start")
        self.assertEqual(ledger.record(key)["state"], "in_doubt")

    def test_a_probe_answer_of_a_million_lists_takes_little(self):
        up = self.shop('{"data":[' + "[]," * 1_300_000 + "[]]}")
        ledger = self.proxy(up)
        ledger.charge(up)
        with Reading(ledger) as reading:
            for _ in range(5):
                self.assertEqual(ledger.charge(up).slug, "in-doubt")
        reading.took_at_most(100)


class Replays(Memory):
    ANSWER = os.urandom(MIB) * 8

    def recorded(self, limits="", count=1):
        up = self.upstream(lambda r, c: (200, {"Content-Type": "application/octet-stream"}, self.ANSWER))
        ledger = self.ledger(guarded_route(up) + f"\nlimits: {{ {limits} }}")
        for i in range(count):
            self.assertEqual(ledger.charge(up, b'{"amount":%d}' % i).status, 200)
        return ledger, up

    def test_a_hundred_unread_replays_of_one_long_answer_hold_it_once(self):
        ledger, up = self.recorded()
        with Reading(ledger) as reading:
            clients = [self.ask(ledger, up, b'{"amount":0}') for _ in range(100)]
            eventually(lambda: self.given(ledger) == 100, "all are being given", 60)
        reading.took_at_most(250)
        self.assertEqual(read_answer(clients[57]).body, self.ANSWER)
        self.assertLess(ledger.metric("ledger_memory_held_bytes"), 9 * MIB)

    def test_unread_replays_of_many_long_answers_hold_no_more_than_the_limit(self):
        ledger, up = self.recorded("memory: 33MiB", 30)
        with Reading(ledger) as reading:
            clients = [self.ask(ledger, up, b'{"amount":%d}' % i) for i in range(30)]
            eventually(lambda: ledger.metric("ledger_memory_waiters") == 26, "26 wait")
            self.assertEqual(self.given(ledger), 4)
            self.assertLessEqual(ledger.metric("ledger_memory_held_bytes"), 33 * MIB)
        # What is read from the store and let go at once takes its moment, too.
        reading.took_at_most(450)
        # Whoever reads makes room for another; in the end all get theirs.
        answers = self.in_parallel(*(lambda c=c: read_answer(c) for c in clients)).get()
        self.assertEqual({(a.status, a.ledger, hashlib.sha256(a.body).digest()) for a in answers},
                         {(200, "replayed", hashlib.sha256(self.ANSWER).digest())})
        self.assertEqual(up.effects, 30)

    def test_a_call_that_finds_no_memory_in_time_gets_503_and_may_come_again(self):
        ledger, up = self.recorded("memory: 17MiB, header_timeout: 2s", 3)
        holders = [self.ask(ledger, up, b'{"amount":%d}' % i, room=65536) for i in range(2)]
        eventually(lambda: self.given(ledger) == 2, "two are being given")
        # They take a little all the time, so that they are not given up.
        over = threading.Event()
        self.addCleanup(over.set)

        def sip():
            while not over.wait(0.02):
                for holder in holders:
                    holder.recv(16384)

        sipping = threading.Thread(target=sip, daemon=True)
        sipping.start()
        refused = read_answer(self.ask(ledger, up, b'{"amount":2}'))
        self.assertEqual((refused.status, refused.slug, refused.json()["safe_to_retry"]), (503, "too-busy", True))
        self.assertIsNotNone(refused["Retry-After"])
        over.set()
        sipping.join()
        for holder in holders:
            holder.close()
        again = read_answer(self.ask(ledger, up, b'{"amount":2}'))
        self.assertEqual((again.status, again.ledger, again.body == self.ANSWER), (200, "replayed", True))


class Decoding(Memory):
    def recorded(self, plain, coding="gzip", packed=None, headers=()):
        packed = packed or gzip.compress(plain, 9)
        up = self.upstream(lambda r, c: (200, [("Content-Encoding", coding), ("Content-Type", "text/plain"), *headers], packed))
        ledger = self.ledger(guarded_route(up))
        self.first = ledger.charge(up, headers={"Accept-Encoding": "gzip, deflate"})
        self.assertEqual(self.first.body, packed)
        return ledger, up

    NONE = [("Accept-Encoding", "identity")]

    def test_a_decoding_replay_that_is_not_read_holds_one_piece(self):
        ledger, up = self.recorded(bytes(240 * MIB))
        with Reading(ledger) as reading:
            for _ in range(12):
                self.ask(ledger, up, headers=self.NONE)
            eventually(lambda: self.given(ledger) == 12, "all are being given", 60)
        reading.took_at_most(120)

    def test_a_decoding_replay_that_is_read_keeps_nobody_waiting(self):
        ledger, up = self.recorded(bytes(400 * MIB))
        readers = [self.ask(ledger, up, headers=self.NONE) for _ in range(4)]
        over = threading.Event()
        self.addCleanup(over.set)

        def drain(client):
            sink = bytearray(MIB)
            with contextlib.suppress(OSError):
                while not over.is_set() and client.recv_into(sink):
                    pass

        for reader in readers:
            threading.Thread(target=drain, args=(reader,), daemon=True).start()
        slowest = 0
        for i in range(30):
            begun = time.monotonic()
            self.assertEqual(ledger.charge(up, b'{"amount":%d}' % (i + 1), path="/other").status, 200)
            slowest = max(slowest, time.monotonic() - begun)
        self.assertLess(slowest, 8 if SANITIZED else 2)

    def test_a_decoding_replay_is_streamed_whole_and_without_what_was_of_the_coded_bytes(self):
        plain = b"".join(b"%d " % i for i in range(300_000))
        of_coded = [("ETag", '"x"'), ("Digest", "sha-256=x"), ("Content-Digest", "sha-256=:x:"), ("Repr-Digest", "sha-256=:x:"),
                    ("Content-MD5", "x"), ("X-Kept", "1")]
        for coding, packed in (("gzip", gzip.compress(plain)), ("deflate", zlib.compress(plain)), ("deflate", zlib.compress(plain)[2:-4]),
                               ("gzip", gzip.compress(plain[:100_000]) + gzip.compress(plain[100_000:]))):
            ledger, up = self.recorded(plain, coding, packed, of_coded)
            again = ledger.charge(up, headers={"Accept-Encoding": "identity"})
            self.assertEqual((again.ledger, again.body == plain, again.broken), ("replayed", True, False))
            self.assertEqual((again["Transfer-Encoding"], again["Content-Encoding"], again["X-Kept"]), ("chunked", None, "1"))
            self.assertEqual([again[name] for name, _ in of_coded[:-1]], [None] * 5)
            old = ledger.charge(up, headers={"Accept-Encoding": "identity"}, version="1.0")
            self.assertEqual((old.body == plain, old["Content-Length"], old["Transfer-Encoding"]), (True, None, None))
            same = ledger.charge(up, headers={"Accept-Encoding": "br, gzip;q=0.1, deflate"})
            self.assertEqual((same.body, same["ETag"], same["Content-Length"]), (packed, '"x"', str(len(packed))))

    def test_only_a_caller_that_rules_the_coding_out_gets_it_decoded(self):
        ledger, up = self.recorded(b'{"ok":true}')
        packed = self.first.body
        for header, decoded in ((None, False), ("gzip", False), ("x-gzip", False), ("*", False), ("br, *;q=0.1", False), ("GZIP;q=1.0", False),
                                ("identity", True), ("br", True), ("", True), ("gzip;q=0", True), ("*;q=0", True), ("deflate, gzip; q=0.000", True)):
            again = ledger.charge(up, headers=[] if header is None else [("Accept-Encoding", header)])
            self.assertEqual((again.body, again["Content-Encoding"]), (b'{"ok":true}', None) if decoded else (packed, "gzip"), header)

    def test_what_is_not_of_its_coding_is_given_as_it_was_recorded(self):
        for coding, packed in (("gzip", b"no gzip at all"), ("gzip", gzip.compress(b"x" * 1000)[:-4]), ("gzip, gzip", gzip.compress(b"x")), ("br", b"x")):
            ledger, up = self.recorded(b"", coding, packed)
            again = ledger.charge(up, headers={"Accept-Encoding": "identity"})
            self.assertEqual((again.body, again["Content-Encoding"]), (packed, coding))

    def test_an_answer_that_breaks_while_it_is_decoded_is_broken_off(self):
        packed = gzip.compress(os.urandom(200_000))
        ledger, up = self.recorded(b"", "gzip", packed[:-9])
        self.assertTrue(ledger.charge(up, headers={"Accept-Encoding": "identity"}).broken)


class Bodies(Memory):
    PACKED = [("Content-Encoding", "gzip")]

    def test_what_a_gzip_request_holds_counts_against_body_max(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, "body_max: 100KiB"))
        small, large = b'{"a":"' + b"x" * 60_000 + b'"}', b'{"a":"' + b"x" * 200_000 + b'"}'
        explained = [ledger.cli("explain", "-c", "ledger.yaml", "--json", "POST", up.url + "/a", "-H", "Content-Type: application/json",
                                "-H", "Content-Encoding: gzip", "-d", "@body") for body in (small, large)
                     if (ledger.directory / "body").write_bytes(gzip.compress(body))]
        self.assertEqual([json.loads(e.stdout)["body_kind"] for e in explained], ["json", "raw"])
        packed = [gzip.compress(large, 9), gzip.compress(large, 1)]
        for body in (small, gzip.compress(small)):
            ledger.charge(up, body, self.PACKED if body != small else ())
        self.assertEqual(up.effects, 1)
        for body in (packed[0], packed[0], packed[1]):
            ledger.charge(up, body, self.PACKED)
        self.assertEqual(up.effects, 3)

    def test_small_requests_that_hold_much_keep_nobody_waiting(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, "body_max: 64MiB") + "\nlimits: { threads: 1 }")
        body = b"[" + b"0," * (3 * MIB + MIB // 2) + b"0]"
        clients = [self.ask(ledger, up, gzip.compress(body + b" " * i, 9), self.PACKED) for i in range(16)]
        slowest = 0
        for i in range(40):
            begun = time.monotonic()
            self.assertEqual(ledger.charge(up, b'{"amount":%d}' % i, path="/other").status, 200)
            slowest = max(slowest, time.monotonic() - begun)
        self.assertLess(slowest, 8 if SANITIZED else 2)
        del clients

    def test_bodies_wait_for_memory_and_get_it_when_others_end(self):
        gate = Gate(lambda r, c: (200, {}, b"ok"))
        up = self.upstream(gate)
        ledger = self.ledger(guarded_route(up, "body_max: 2MiB") + "\nlimits: { memory: 4MiB }")
        large = [b'"%d%s"' % (i, b"x" * (MIB + MIB // 2)) for i in range(6)]
        calls = self.in_parallel(*(lambda b=b: ledger.charge(up, b) for b in large))
        eventually(lambda: ledger.metric("ledger_memory_waiters") == 4, "two run, four wait")
        # What needs little is not kept waiting by them.
        little = self.in_parallel(lambda: ledger.charge(up, b"{}"))
        eventually(lambda: up.effects == 3, "two large ones and the little one run")
        gate.opened.set()
        self.assertEqual([a.status for a in calls.get() + little.get()], [200] * 7)
        self.assertEqual(up.effects, 7)
        eventually(lambda: ledger.metric("ledger_memory_held_bytes") == 0, "nothing is held")

    def test_half_sent_bodies_hold_no_more_than_the_limit_and_others_are_told_to_come_again(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up) + "\nlimits: { memory: 4MiB, header_timeout: 1s }")
        over = threading.Event()
        self.addCleanup(over.set)
        drips = []
        for _ in range(4):
            client = self.connect(ledger)
            client.sendall(request_bytes("POST", up.url + "/a", "x", [("Content-Length", str(MIB))]) + b"x")
            drips.append(client)

        def drip():
            while not over.wait(0.3):
                for client in drips:
                    try:
                        client.sendall(b"x")
                    except OSError:
                        pass

        threading.Thread(target=drip, daemon=True).start()
        eventually(lambda: ledger.metric("ledger_memory_held_bytes") == 4 * MIB, "they hold all of it")
        refused = ledger.charge(up)
        self.assertEqual((refused.status, refused.slug, refused.json()["safe_to_retry"], up.effects), (503, "too-busy", True, 0))
        # A body that comes in drops is given up in the end, and what it held is free.
        self.assertEqual(eventually(lambda: (a := ledger.charge(up)).status == 200 and a, "the drips are given up").status, 200)
        self.assertEqual([read_answer(c).status for c in drips], [408] * 4)

    def test_a_body_that_can_never_be_held_is_refused_at_once(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, "body_max: 64MiB") + "\nlimits: { memory: 1MiB }")
        client = self.connect(ledger)
        client.sendall(request_bytes("POST", up.url + "/a", "x", [("Content-Length", str(2 * MIB))]))
        self.assertEqual((read_answer(client).status, up.effects), (413, 0))

    def test_chunked_bodies_are_counted_as_they_come(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, "body_max: 64MiB") + "\nlimits: { memory: 3MiB, header_timeout: 2s }")
        head = request_bytes("POST", up.url + "/a", "x", [("Transfer-Encoding", "chunked")])
        client = self.connect(ledger)
        client.sendall(head)
        client.sendall(b"100000\r\n" + b"x" * MIB + b"\r\n")
        eventually(lambda: ledger.metric("ledger_memory_held_bytes") >= MIB, "a MiB is held")
        client.sendall(b"0\r\n\r\n")
        self.assertEqual((read_answer(client).status, up.bodies()), (200, [b"x" * MIB]))
        eventually(lambda: ledger.metric("ledger_memory_held_bytes") == 0, "nothing is held")
        flood = self.connect(ledger)
        flood.sendall(head)
        try:
            for _ in range(40):
                flood.sendall(b"100000\r\n" + b"x" * MIB + b"\r\n")
        except OSError:
            pass
        self.assertEqual(up.effects, 1)
        eventually(lambda: ledger.metric("ledger_memory_held_bytes") == 0, "nothing is held")


class Answers(Memory):
    def test_answers_that_come_while_too_much_is_held_are_given_but_not_recorded(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        answer = os.urandom(MIB) * 4
        up = self.upstream()

        def handler(request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer[:-1])
            gate.wait(60)
            connection.sendall(answer[-1:])
            return None

        up.handler = handler
        ledger = self.ledger(guarded_route(up) + "\nlimits: { memory: 8MiB }")
        with Reading(ledger) as reading:
            calls = self.in_parallel(*(lambda i=i: ledger.charge(up, b'{"amount":%d}' % i) for i in range(40)))
            eventually(lambda: up.effects == 40 or ledger.metric("ledger_memory_waiters") > 0, "they are under way", 60)
            gate.set()
            answers = calls.get()
        self.assertEqual({(a.status, a.body == answer) for a in answers}, {(200, True)})
        reading.took_at_most(250)


if __name__ == "__main__":
    main()
