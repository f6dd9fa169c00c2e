"""Strict HTTP: nothing that two parsers could read differently reaches an upstream."""
import socket

from harness import Case, DEADLINE, Gate, eventually, exchange, main, read_answer, request_bytes


class Framing(Case):
    def setUp(self):
        self.up = self.upstream()
        self.proxy = self.ledger(f'hosts: [x]\nmounts: {{ /s: {{ upstream: "{self.up.url}" }} }}')

    def send(self, raw):
        return exchange(("127.0.0.1", self.proxy.port), raw)

    def test_malformed_requests_get_400_and_reach_nobody(self):
        host = b"Host: x\r\n"
        post = b"POST /s/x HTTP/1.1\r\n" + host
        chunked = b"Transfer-Encoding: chunked\r\n"
        for what, raw in {
            "CL and TE": post + b"Content-Length: 5\r\n" + chunked + b"\r\n0\r\n\r\n",
            "TE and CL": post + chunked + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
            "two different CLs": post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            "a list of different CLs": post + b"Content-Length: 5, 6\r\n\r\nabcdef",
            "CL with a sign": post + b"Content-Length: +5\r\n\r\nabcde",
            "CL in hex": post + b"Content-Length: 0x5\r\n\r\nabcde",
            "a negative CL": post + b"Content-Length: -1\r\n\r\n",
            "an overflowing CL": post + b"Content-Length: 99999999999999999999\r\n\r\n",
            "TE twice": post + chunked + chunked + b"\r\n0\r\n\r\n",
            "a space before the colon": post + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            "TE in HTTP/1.0": b"POST /s/x HTTP/1.0\r\n" + host + chunked + b"\r\n0\r\n\r\n",
            "a folded line": post + b"X-A: b\r\n  c\r\nContent-Length: 0\r\n\r\n",
            "a folded first line": b"POST /s/x HTTP/1.1\r\n X: y\r\n" + host + b"Content-Length: 0\r\n\r\n",
            "bare LFs": b"POST /s/x HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
            "one bare LF": post + b"X-A: b\nContent-Length: 0\r\n\r\n",
            "a bare CR": post + b"X-A: b\rc\r\nContent-Length: 0\r\n\r\n",
            "a NUL": post + b"X-A: b\0c\r\nContent-Length: 0\r\n\r\n",
            "two Hosts": post + host + b"Content-Length: 0\r\n\r\n",
            "no Host": b"POST /s/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "a Host with a path": b"POST /s/x HTTP/1.1\r\nHost: x/y\r\nContent-Length: 0\r\n\r\n",
            "two spaces": b"POST  /s/x HTTP/1.1\r\n" + host + b"Content-Length: 0\r\n\r\n",
            "another version": b"POST /s/x HTTP/1.2\r\n" + host + b"Content-Length: 0\r\n\r\n",
            "a header name that is no token": post + b"X(A: b\r\nContent-Length: 0\r\n\r\n",
            "a line without a colon": post + b"nonsense\r\nContent-Length: 0\r\n\r\n",
            "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
            "chunk size in 0x": post + chunked + b"\r\n0x5\r\nabcde\r\n0\r\n\r\n",
            "a negative chunk": post + chunked + b"\r\n-5\r\nabcde\r\n0\r\n\r\n",
            "an overflowing chunk": post + chunked + b"\r\nfffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
            "a chunk without its CRLF": post + chunked + b"\r\n5\r\nabcdeX0\r\n\r\n",
            "a chunk line with a bare LF": post + chunked + b"\r\n5\nabcde\r\n0\r\n\r\n",
            "spaces before the chunk size": post + chunked + b"\r\n 5\r\nabcde\r\n0\r\n\r\n",
        }.items():
            with self.subTest(what):
                answer = self.send(raw)
                self.assertEqual((answer.status, answer.slug, answer.ledger), (400, "bad-request", "refused"), answer)
        self.assertEqual(self.up.effects, 0)

    def test_other_transfer_codings_are_not_implemented(self):
        for coding in (b"gzip, chunked", b"xchunked", b"identity", b"chunked, identity"):
            answer = self.send(b"POST /s/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n")
            self.assertEqual((coding, answer.status, answer.ledger), (coding, 501, "refused"))
            self.assertIn("nothing was sent", answer.json()["detail"])
        self.assertEqual(self.up.effects, 0)

    def test_a_header_that_is_too_large_is_431(self):
        answer = self.send(b"POST /s/x HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 70_000 + b"\r\n\r\n")
        self.assertEqual((answer.status, answer.slug), (431, "header-too-large"))

    def test_what_is_legal_though_rare_is_taken(self):
        for what, raw in {
            "an empty line first": b"\r\nPOST /s/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na",
            "two equal CLs": b"POST /s/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nb",
            "chunk extensions and trailers": b"POST /s/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nc\r\n0\r\nX-T: 1\r\n\r\n",
            "TE without case": b"POST /s/d HTTP/1.1\r\nHost: x\r\ntransfer-encoding: Chunked\r\n\r\n1\r\nd\r\n0\r\n\r\n",
            "an empty value": b"POST /s/e HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
        }.items():
            with self.subTest(what):
                self.assertEqual(self.send(raw).status, 200)
        self.assertEqual(self.up.bodies(), [b"a", b"b", b"c", b"d", b""])

    def test_a_call_whose_body_does_not_arrive_whole_is_never_claimed(self):
        with socket.create_connection(("127.0.0.1", self.proxy.port)) as client:
            client.sendall(b"POST /s/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        answer = self.proxy.direct("POST", "/s/x", b"whole")
        self.assertEqual((answer.status, self.up.bodies(), len(self.proxy.records())), (200, [b"whole"], 1))

    def test_a_head_that_comes_byte_by_byte_is_read(self):
        raw = request_bytes("POST", "/s/x", "x", {"X-A": "b"}, b"body")
        with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=DEADLINE) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(raw)):
                client.sendall(raw[i : i + 1])
            self.assertEqual(read_answer(client).status, 200)
        self.assertEqual(self.up.bodies(), [b"body"])

    def test_pipelined_calls_are_answered_in_order(self):
        raw = b"".join(request_bytes("POST", f"/s/{i}", "x", (), b"%d" % i) for i in range(5))
        with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=DEADLINE) as client:
            client.sendall(raw)
            reader = client.makefile("rb")
            for i in range(5):
                head = []
                while (line := reader.readline().strip()):
                    head.append(line)
                length = [int(h.split(b":")[1]) for h in head if h.lower().startswith(b"content-length")][0]
                self.assertIn(b'"path": "/%d"' % i, reader.read(length))

    def test_answers_that_could_be_read_two_ways_are_unknown(self):
        for head in (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n",
                     b"Transfer-Encoding: gzip, chunked\r\n", b"X-A: b\r\n folded\r\nContent-Length: 0\r\n"):
            def ambiguous(_request, connection, head=head):
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n0\r\n\r\n")

            self.up.handler = ambiguous
            answer = self.proxy.direct("POST", "/s/x", head)
            self.assertEqual((answer.status, answer.slug), (502, "outcome-unknown"))

    def test_hop_by_hop_and_ledger_s_own_fields_do_not_cross(self):
        self.proxy.direct("POST", "/s/x", b"", {
            "Connection": "X-Hop, keep-alive", "X-Hop": "1", "Keep-Alive": "5", "Proxy-Authorization": "Basic eDp5", "TE": "trailers",
            "Proxy-Connection": "keep-alive", "Ledger-Key": "k", "Ledger-Agent": "a", "Ledger-Run": "r", "Ledger-Token": "t",
            "Ledger-Occurrence": "1", "X-Kept": "yes", "Via": "1.0 before", "X-Forwarded-For": "10.0.0.1"})
        [request] = self.up.requests
        for name in ("X-Hop", "Keep-Alive", "Proxy-Authorization", "TE", "Proxy-Connection", "Ledger-Key", "Ledger-Agent",
                     "Ledger-Run", "Ledger-Token", "Ledger-Occurrence", "Connection"):
            self.assertIsNone(request[name], name)
        self.assertEqual(request["X-Kept"], "yes")
        self.assertRegex(request["Via"], "^1.0 before, 1.1 ledger-")
        self.assertEqual(request["Host"], f"127.0.0.1:{self.up.port}")
        self.assertEqual((request["X-Forwarded-For"], request["X-Forwarded-Proto"]), ("10.0.0.1, 127.0.0.1", "http"))
        self.assertEqual(request["X-Forwarded-Host"], f"127.0.0.1:{self.proxy.port}")

    def test_loops_are_refused(self):
        own = f"127.0.0.1:{self.proxy.port}"
        ours = [f"http://{host}:{self.proxy.port}/x" for host in ("localhost", "localhost.", "127.1", "2130706433", "[::ffff:127.0.0.1]")]
        for url in (f"http://{own}/x", f"http://127.0.0.1:{self.proxy.admin_port}/api/stats", *ours):
            answer = self.proxy.proxied("POST", url, b"{}")
            self.assertEqual((answer.status, answer.slug, answer.ledger), (508, "loop-detected", "refused"))
        via = self.proxy.direct("POST", "/s/x", b"")["Via"].split()[-1]
        for path in ("/s/y", "/nowhere"):
            self.assertEqual(self.proxy.direct("POST", path, b"", {"Via": f"1.1 {via}"}).status, 508)

    def test_a_path_that_nothing_is_mounted_at_is_404(self):
        for path in ("/nowhere", "/", "/sx/y"):
            answer = self.proxy.direct("POST", path, b"{}")
            self.assertEqual((answer.status, answer.slug, answer.ledger), (404, "not-mounted", "refused"))


if __name__ == "__main__":
    main()
