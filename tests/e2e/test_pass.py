"""What passes is streamed both ways and never buffered."""
import os
import socket
import threading
import unittest

from harness import SANITIZED, Case, DEADLINE, eventually, main, read_answer, read_head, request_bytes

MIB = 1024 * 1024


def peak_memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


class Pass(Case):
    def connect(self, ledger):
        client = socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE)
        self.addCleanup(client.close)
        return client

    def test_a_passed_call_says_so_and_is_not_recorded(self):
        up = self.upstream()
        ledger = self.ledger(f'routes: [ {{ name: llm, match: "POST {up.url}/**", policy: pass }} ]')
        answers = [ledger.charge(up) for _ in range(3)]
        self.assertEqual([(a.ledger, a["Ledger-Route"], a["Ledger-Record"]) for a in answers], [("passed", "llm", None)] * 3)
        self.assertRegex(answers[0]["Via"], "1.1 ledger-")
        self.assertEqual((up.effects, ledger.records()), (3, []))

    def test_a_path_goes_out_as_its_caller_spelled_it(self):
        up = self.upstream()
        ledger = self.ledger(f'mounts: {{ /m: {{ upstream: "{up.url}/base" }} }}')
        spelled = "/%7Euser/a%2fb+c%2A"
        ledger.proxied("GET", up.url + spelled)
        ledger.charge(up, path=spelled)
        ledger.direct("GET", "/m" + spelled)
        ledger.direct("POST", "/%6d/../m" + spelled, b"{}")  # leads out of its mount, and in again
        ledger.direct("POST", "/%6d" + spelled, b"{}")
        self.assertEqual([r.target for r in up.requests], [spelled, spelled, "/base" + spelled, "/base" + spelled])

    def test_server_sent_events_arrive_one_by_one(self):
        turn = threading.Semaphore(0)

        def events(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(3):
                connection.sendall(b"9\r\ndata: %d\n\n\r\n" % i)
                turn.acquire(timeout=DEADLINE)
            connection.sendall(b"0\r\n\r\n")

        up = self.upstream(events)
        ledger = self.ledger()
        client = self.connect(ledger)
        client.sendall(request_bytes("GET", up.url + "/events", "x"))
        got = b""
        for i in range(3):
            while b"data: %d\n\n" % i not in got:
                got += client.recv(4096)
            turn.release()
        while not got.endswith(b"0\r\n\r\n"):
            got += client.recv(4096)

    def test_a_routes_timeout_ends_a_call_that_gets_no_answer(self):
        held = threading.Event()
        self.addCleanup(held.set)
        up = self.upstream(lambda _request, _connection: held.wait(DEADLINE) and None)
        ledger = self.ledger(f'routes: [ {{ match: "POST {up.url}/**", policy: pass, timeout: 50ms }} ]')
        answer = ledger.charge(up)
        self.assertEqual((answer.status, answer.slug, answer.ledger), (504, "upstream-failed", "passed"))

    def test_large_downloads_and_uploads_keep_memory_flat(self):
        size = 16 * MIB if SANITIZED else 128 * MIB
        block = os.urandom(MIB)
        digest = {"up": 0}

        def both(request, connection):
            if request.method == "PUT":
                digest["up"] = len(request.body)
                return 200, {}, b""
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // MIB):
                connection.sendall(block)

        up = self.upstream(both)
        ledger = self.ledger()
        client = self.connect(ledger)
        before = peak_memory(ledger.process.pid)
        client.sendall(request_bytes("GET", up.url + "/big", "x"))
        reader = client.makefile("rb")
        read_head(reader)
        for _ in range(size // MIB):
            self.assertEqual(reader.read(MIB), block)
        client = self.connect(ledger)
        client.sendall(f"PUT {up.url}/big HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(size // MIB):
            client.sendall(b"100000\r\n" + block + b"\r\n")
        client.sendall(b"0\r\n\r\n")
        self.assertEqual((read_answer(client).status, digest["up"]), (200, size))
        if not SANITIZED:
            self.assertLess(peak_memory(ledger.process.pid) - before, 8 * MIB)

    def test_head_204_and_304_have_no_body_and_keep_the_connection(self):
        def bodyless(request, _connection):
            if request.method == "HEAD":
                return 200, {"Content-Length": "1234"}, b""
            return (204 if request.target == "/204" else 304), {"ETag": '"x"'}, b""

        up = self.upstream(bodyless)
        ledger = self.ledger()
        client = self.connect(ledger)
        for method, path, status in (("HEAD", "/h", 200), ("GET", "/204", 204), ("GET", "/304", 304), ("HEAD", "/h", 200)):
            client.sendall(request_bytes(method, up.url + path, "x"))
            answer = read_answer(client, method)
            self.assertEqual((answer.status, answer.body), (status, b""))
            if method == "HEAD":
                self.assertEqual(answer["Content-Length"], "1234")

    def test_100_continue_comes_from_the_upstream_and_the_body_waits_for_it(self):
        up = self.upstream()
        ledger = self.ledger()
        client = self.connect(ledger)
        client.sendall(f"PUT {up.url}/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n".encode())
        self.assertTrue(read_head(client.makefile("rb", buffering=0))[0].startswith("HTTP/1.1 100"))
        client.sendall(b"body")
        self.assertEqual(read_answer(client).status, 200)
        self.assertEqual(up.bodies(), [b"body"])

    def test_a_guarded_call_gets_its_100_from_the_proxy(self):
        up = self.upstream()
        ledger = self.ledger()
        client = self.connect(ledger)
        client.sendall(f"POST {up.url}/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n".encode())
        self.assertTrue(read_head(client.makefile("rb", buffering=0))[0].startswith("HTTP/1.1 100"))
        self.assertEqual(up.effects, 0)
        client.sendall(b"body")
        answer = read_answer(client)
        self.assertEqual((answer.ledger, up.bodies(), up.requests[0]["Expect"]), ("executed", [b"body"], None))

    def test_an_upgraded_connection_is_relayed_both_ways(self):
        def upgrade(request, connection):
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                               b"Sec-WebSocket-Accept: " + request["Sec-WebSocket-Key"].encode() + b"\r\n\r\nhello")
            while data := connection.recv(4096):
                connection.sendall(data.upper())

        up = self.upstream(upgrade)
        ledger = self.ledger()
        client = self.connect(ledger)
        client.sendall(request_bytes("GET", up.url + "/ws", "x", {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "k"}) + b"early")
        reader = client.makefile("rb", buffering=0)
        head = read_head(reader)
        self.assertTrue(head[0].startswith("HTTP/1.1 101"), head)
        self.assertIn("Sec-WebSocket-Accept: k", head)
        got = b""
        while len(got) < 10:
            got += client.recv(4096)
        self.assertEqual(got, b"helloEARLY")
        client.sendall(b"more")
        self.assertEqual(client.recv(4096), b"MORE")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(client.recv(4096), b"")

    def test_an_idle_close_by_the_upstream_is_nobody_s_error(self):
        closed = threading.Semaphore(0)

        def once_a_connection(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.close()
            closed.release()

        up = self.upstream(once_a_connection)
        ledger = self.ledger()
        for i in range(20):
            answer = ledger.proxied("POST" if i % 2 else "GET", f"{up.url}/{i}", b"")
            self.assertEqual((answer.status, answer.body), (200, b"ok"))
            closed.acquire(timeout=DEADLINE)

    def test_keep_alive_serves_many_calls_on_one_connection(self):
        up = self.upstream()
        ledger = self.ledger()
        client = self.connect(ledger)
        for i in range(10):
            client.sendall(request_bytes("GET" if i % 2 else "POST", f"{up.url}/{i}", "x", (), b"" if i % 2 else b"{}"))
            self.assertEqual(read_answer(client).status, 200)
        client.sendall(request_bytes("GET", f"{up.url}/last", "x", {"Connection": "close"}))
        self.assertEqual(read_answer(client)["Connection"], "close")
        self.assertEqual(client.recv(1), b"")

    def test_a_call_that_differs_from_the_one_before_on_its_connection_goes_its_own_way(self):
        up, other = self.upstream(), self.upstream()
        ledger = self.ledger(f'auth: {{ token: s3cret }}\nhosts: [x, y]\nmounts: {{ /a: {{ upstream: "{up.url}" }}, /b: {{ upstream: "{other.url}" }} }}\n'
                             f'routes: [ {{ name: pays, match: "POST /pay" }}, {{ name: puts, match: "PUT /pay", policy: pass }} ]')
        client = self.connect(ledger)

        def call(method, target, host="x", token="s3cret"):
            client.sendall(request_bytes(method, target, host, {"Ledger-Token": token}))
            return read_answer(client, method)
        for _ in range(2):
            self.assertEqual([call(method, target)["Ledger-Route"] for method, target in (
                ("PUT", "/a/pay"), ("POST", "/a/pay"), ("PUT", "/b/pay"), ("PUT", "/b/pay"), ("PUT", "/b/pay?q"), ("PUT", "/b/other"))],
                ["puts", "pays", "puts", "puts", "puts", None])
            self.assertEqual([call("PUT", "/a/pay", host)["Ledger-Status"] for host in ("x", "y")], ["passed"] * 2)
            self.assertEqual([call("PUT", "/a/pay", token=token).status for token in ("wrong", "s3cret")], [401, 200])
            self.assertEqual(call("PUT", "/nowhere").status, 404)
        once = [("PUT", "/pay"), ("POST", "/pay"), ("PUT", "/pay"), ("PUT", "/pay"), ("PUT", "/pay")]
        self.assertEqual([(r.method, r.target) for r in up.requests], once + once[:1] + once[2:])
        self.assertEqual([r["X-Forwarded-Host"] for r in up.requests], ["x", "x", "x", "y", "x", "x", "x", "y", "x"])
        self.assertEqual([r.target for r in other.requests], ["/pay", "/pay", "/pay?q", "/other"] * 2)

    def test_a_broken_answer_is_broken_off(self):
        def broken(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        up = self.upstream(broken)
        ledger = self.ledger()
        answer = ledger.proxied("GET", up.url + "/x")
        self.assertEqual((answer.status, answer.broken), (200, True))

    def test_a_passing_body_that_is_malformed_or_cut_off_is_the_clients_mistake(self):
        up = self.upstream()
        ledger = self.ledger()
        head = f"PUT {up.url}/x HTTP/1.1\r\nHost: x\r\n".encode()
        for what, raw, words in (
            ("a bad chunk", head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", "chunk size"),
            ("an early end", head + b"Content-Length: 10\r\n\r\nabc", "did not arrive whole"),
        ):
            with self.subTest(what), socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as client:
                client.sendall(raw)
                client.shutdown(socket.SHUT_WR)
                answer = read_answer(client, "PUT")
                self.assertEqual((answer.status, answer.slug, answer.ledger), (400, "bad-request", "refused"))
                self.assertIn(words, answer.json()["detail"])
        self.assertEqual([body for body in up.bodies() if len(body) == 10], [])

    def test_an_unreachable_upstream_is_told(self):
        ledger = self.ledger()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        answer = ledger.proxied("GET", f"http://127.0.0.1:{port}/x")
        self.assertEqual((answer.status, answer.slug, answer.ledger), (502, "upstream-unreachable", "passed"))
        answer = ledger.proxied("GET", "http://no-such-host.invalid/x")
        self.assertEqual((answer.status, answer.slug), (502, "upstream-unreachable"))
        self.assertIn("no-such-host.invalid", answer.json()["detail"])

    def test_json_rpc_other_than_a_tool_call_passes_on_a_guarded_route(self):
        up = self.upstream()
        ledger = self.ledger(f'routes: [ {{ name: mcp, match: "POST {up.url}/mcp" }} ]')
        for method, effects in (("initialize", 2), ("tools/list", 2), ("tools/call", 1)):
            body = b'{"jsonrpc":"2.0","id":1,"method":"%s"}' % method.encode()
            before = up.effects
            answers = [ledger.charge(up, body, path="/mcp") for _ in range(2)]
            self.assertEqual((method, up.effects - before), (method, effects))
            self.assertEqual(answers[1].ledger, "replayed" if effects == 1 else "passed")


if __name__ == "__main__":
    main()
