"""Peers that behave badly, or only rarely so: slow and leaving clients, upstreams that speak out of turn. None of
them makes a second effect, gets somebody else's answer, or holds anything up."""
import os
import socket
import subprocess
import sys
import threading

from harness import Case, DEADLINE, Gate, SANITIZED, eventually, guarded_route, main, read_answer, read_head, request_bytes

MIB = 1024 * 1024


def head_of(client):
    """The next head, and not a byte more."""
    return read_head(client.makefile("rb", buffering=0))


class Base(Case):
    def dial(self, ledger, **more):
        client = socket.socket()
        self.addCleanup(client.close)
        for option, value in more.items():
            client.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
        client.settimeout(DEADLINE)
        client.connect(("127.0.0.1", ledger.port))
        return client


class Clients(Base):
    def test_one_that_does_not_read_its_answer_does_not_stall_the_recording(self):
        big = os.urandom(MIB) * 6
        up = self.upstream(lambda r, c: (200, {}, big))
        ledger = self.ledger(guarded_route(up))
        client = self.dial(ledger, SO_RCVBUF=4096)
        client.sendall(request_bytes("POST", up.url + "/x", "x", (), b"{}"))
        eventually(lambda: [r for r in ledger.records() if r["state"] == "completed"], "the record, while nobody reads")
        again = ledger.proxied("POST", up.url + "/x", b"{}")
        # "joined" in the moment between the commit and the news of it.
        self.assertIn(again.ledger, ("replayed", "joined"))
        self.assertEqual((again.body == big, up.effects), (True, 1))
        # The slow one still gets all of it.
        self.assertEqual(read_answer(client).body == big, True)

    def test_one_that_leaves_in_the_middle_of_its_answer_finds_it_whole_later(self):
        sent, go_on = threading.Event(), threading.Event()

        def halves(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
            sent.set()
            assert go_on.wait(60)
            connection.sendall(b"half")

        up = self.upstream(halves)
        ledger = self.ledger(guarded_route(up))
        client = self.dial(ledger)
        client.sendall(request_bytes("POST", up.url + "/x", "x", (), b"{}"))
        head_of(client)
        client.close()
        go_on.set()
        eventually(lambda: [r for r in ledger.records() if r["state"] == "completed"], "the execution's end")
        again = ledger.proxied("POST", up.url + "/x", b"{}")
        self.assertIn(again.ledger, ("replayed", "joined"))
        self.assertEqual((again.body, up.effects), (b"halfhalf", 1))

    def test_one_that_has_said_all_and_half_closed_is_answered(self):
        up = self.upstream()
        ledger = self.ledger()
        for method in ("POST", "GET"):
            client = self.dial(ledger)
            client.sendall(request_bytes(method, up.url + "/x", "x", (), b"{}" if method == "POST" else b""))
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(read_answer(client, method).status, 200)

    def test_a_waiter_that_leaves_takes_nothing_with_it(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(guarded_route(up))
        first = self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        raw = request_bytes("POST", up.url + "/v1/charges", "x", {"Content-Type": "application/json"}, b'{"amount":49}')
        with self.dial(ledger) as client:
            client.sendall(raw)
            eventually(lambda: ledger.metric("ledger_waiters") == 1, "the repeat waits")
        gate.opened.set()
        self.assertEqual((first.get()[0].ledger, up.effects), ("executed", 1))
        self.assertEqual(ledger.charge(up).ledger, "replayed")
        eventually(lambda: ledger.metric("ledger_waiters") == 0, "the waiter's end")

    def test_pipelined_repeats_are_one_effect(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        client = self.dial(ledger)
        client.sendall(request_bytes("POST", up.url + "/x", "x", (), b"{}") * 3)
        reader = client.makefile("rb")
        answers = []
        for _ in range(3):
            head = read_head(reader)
            length = next(int(line.split(":")[1]) for line in head if line.lower().startswith("content-length:"))
            answers.append((next(line.split(": ")[1] for line in head if line.startswith("Ledger-Status")), reader.read(length)))
        self.assertEqual([status for status, _ in answers], ["executed", "replayed", "replayed"])
        self.assertEqual((len({body for _, body in answers}), up.effects), (1, 1))

    def test_one_that_sends_half_a_passing_body_does_not_make_it_look_whole(self):
        ended = threading.Semaphore(0)
        got = []
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def collect():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                data = b""
                try:
                    while piece := connection.recv(65536):
                        data += piece
                except ConnectionResetError:
                    pass
                got.append(data)
                connection.close()
                ended.release()

        threading.Thread(target=collect, daemon=True).start()
        # Wakes accept(), which a close alone would not; cleanups run last first.
        self.addCleanup(server.shutdown, socket.SHUT_RDWR)
        ledger = self.ledger()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        for framing, half in (("Content-Length: 100", b"half"), ("Transfer-Encoding: chunked", b"4\r\nhalf\r\n")):
            with self.dial(ledger) as client:
                client.sendall(f"PUT {url} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode() + half)
            self.assertTrue(ended.acquire(timeout=DEADLINE), "the upstream's connection is still open")
            self.assertFalse(got[-1].endswith(b"0\r\n\r\n"), got[-1])

    def test_one_that_reads_slowly_slows_the_upstream_and_not_the_memory(self):
        progress = [0]
        size = (32 if SANITIZED else 256) * MIB

        def flood(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            block = b"x" * 65536
            while progress[0] < size:
                connection.sendall(block)
                progress[0] += len(block)

        up = self.upstream(flood)
        ledger = self.ledger()
        client = self.dial(ledger, SO_RCVBUF=4096)
        client.sendall(request_bytes("GET", up.url + "/flood", "x"))
        head_of(client)
        self.until_stalled(progress)
        # What the kernel's socket buffers hold is not ours; the rest must still be at the upstream.
        self.assertLess(progress[0], size)
        if not SANITIZED:
            with open(f"/proc/{ledger.process.pid}/statm", encoding="ascii") as statm:
                self.assertLess(int(statm.read().split()[1]) * 4096, 100 * MIB)
        client.close()

    def until_stalled(self, progress):
        """Until the flood has stood still for half a second."""
        last, still, pause = -1, 0, threading.Event()
        for _ in range(int(DEADLINE / 0.1)):
            still = still + 1 if progress[0] == last else 0
            last = progress[0]
            if still == 5 and last > 0:
                return
            pause.wait(0.1)
        self.fail(f"the upstream never had to wait: {last} bytes")

    def test_a_download_that_is_left_ends_at_the_upstream_too(self):
        left = threading.Event()

        def endless(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while True:
                    connection.sendall(b"1\r\nx\r\n" * 1000)
            except OSError:
                left.set()

        up = self.upstream(endless)
        ledger = self.ledger()
        client = self.dial(ledger)
        client.sendall(request_bytes("GET", up.url + "/endless", "x"))
        head_of(client)
        client.close()
        self.assertTrue(left.wait(DEADLINE), "the upstream still sends to nobody")

    def test_a_program_that_only_knows_http_proxy_is_guarded_and_named(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        program = ("import sys, urllib.request\n"
                   "request = urllib.request.Request(sys.argv[1], b'{}', {'Content-Type': 'application/json'})\n"
                   "print(urllib.request.urlopen(request).headers['Ledger-Status'])\n")
        environment = {**os.environ, "http_proxy": f"http://billing-bot.run-7:secret@127.0.0.1:{ledger.port}", "no_proxy": ""}
        said = [subprocess.run([sys.executable, "-c", program, up.url + "/x"], env=environment, capture_output=True,
                               text=True, timeout=DEADLINE, check=True).stdout.strip() for _ in range(3)]
        self.assertEqual((said, up.effects), (["executed", "replayed", "replayed"], 1))
        [record] = ledger.records()
        self.assertEqual((record["agent"], record["run"]), ("billing-bot", "run-7"))
        self.assertIsNone(up.requests[0]["Proxy-Authorization"])


class Requests(Base):
    def test_an_absolute_target_decides_whatever_host_says(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        answers = [ledger.proxied("POST", up.url + "/x", b"{}", {"Host": host}) for host in ("elsewhere.example", "other.example")]
        self.assertEqual([a.ledger for a in answers], ["executed", "replayed"])
        self.assertEqual(up.requests[0]["Host"], f"127.0.0.1:{up.port}")

    def test_a_client_that_stops_in_the_middle_is_told_408_and_claims_nothing(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up) + "\nlimits: { header_timeout: 300ms }")
        for started in (f"POST {up.url}/x HTTP/1.1\r\nHost: x\r\n", f"POST {up.url}/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"):
            client = self.dial(ledger)
            client.sendall(started.encode())
            answer = read_answer(client)
            self.assertEqual((answer.status, answer.slug, answer.ledger), (408, "request-timeout", "refused"))
        self.assertEqual((up.effects, ledger.records()), (0, []))

    def test_targets_that_could_be_read_two_ways_are_refused(self):
        up = self.upstream()
        ledger = self.ledger()
        own = f"127.0.0.1:{up.port}"
        for target in (f"http://user:pw@{own}/x", f"http://{own}/a b", "ftp://127.0.0.1/x", "http:///x", "http://127.0.0.1:99999/x", "http://127.0.0.1:-1/x"):
            answer = ledger.proxied("POST", target, b"{}", {"Host": own})
            self.assertEqual((target, answer.status, answer.ledger), (target, 400, "refused"))
        self.assertEqual(up.effects, 0)

    def test_a_mount_cannot_be_climbed_out_of(self):
        up = self.upstream()
        ledger = self.ledger(f'mounts: {{ /s: {{ upstream: "{up.url}/base" }} }}')
        for path in ("/s/../x", "/s/%2e%2e/x", "/s/a/../../x", "/s/%2E%2e%2f../x"):
            answer = ledger.direct("GET", path)
            if answer.status == 200:
                self.assertTrue(up.requests[-1].target.startswith("/base/"), (path, up.requests[-1].target))
        self.assertEqual(ledger.direct("GET", "/s/x").status, 200)
        self.assertEqual(up.requests[-1].target, "/base/x")

    def test_a_route_may_guard_any_method(self):
        up = self.upstream()
        ledger = self.ledger(f'routes: [ {{ name: all, match: "* {up.url}/**" }} ]')
        for method in ("GET", "PUT", "DELETE", "HEAD"):
            answers = [ledger.proxied(method, up.url + "/x") for _ in range(2)]
            self.assertEqual((method, [a.ledger for a in answers]), (method, ["executed", "replayed"]))
        self.assertEqual(up.effects, 4)


class Upstreams(Base):
    def test_interim_answers_reach_the_client_of_a_passing_call(self):
        def hints(_request, connection):
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        up = self.upstream(hints)
        ledger = self.ledger()
        client = self.dial(ledger)
        client.sendall(request_bytes("GET", up.url + "/x", "x"))
        first = head_of(client)
        self.assertTrue(first[0].startswith("HTTP/1.1 103"), first)
        self.assertIn("Link: </a.css>", first)
        self.assertEqual(read_answer(client, "GET").body, b"ok")

    def test_one_that_does_not_want_the_body_never_gets_it(self):
        # Straight sockets: the harness's server would say 100 by itself.
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        got = []

        def refuse():
            connection, _ = server.accept()
            data = b""
            while not data.endswith(b"\r\n\r\n"):
                data += connection.recv(4096)
            connection.sendall(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            while piece := connection.recv(4096):
                data += piece
            got.append(data)
            connection.close()

        worker = threading.Thread(target=refuse, daemon=True)
        worker.start()
        ledger = self.ledger()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        client = self.dial(ledger)
        client.sendall(f"PUT {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n".encode())
        self.assertEqual(read_answer(client, "PUT").status, 417)
        client.close()
        worker.join(DEADLINE)
        self.assertEqual(len(got), 1, "the upstream's connection is still open")
        self.assertIn(b"100-continue", got[0].lower())
        self.assertTrue(got[0].endswith(b"\r\n\r\n"), got[0])

    def test_an_answer_that_nobody_asked_for_is_given_to_nobody(self):
        for method in ("POST", "GET"):
            for when in ("with the first answer", "later"):
                with self.subTest(f"{method}, {when}"):
                    self.assert_not_poisoned(method, when)

    def assert_not_poisoned(self, method, when):
        """The upstream pushes a second answer onto the connection; the next call must not take it for its own."""
        later, pushed = threading.Event(), threading.Event()
        spurious = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nspurious"

        def twice(request, connection):
            if request.target == "/second":
                return 200, {}, b"right"
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"
            if when == "later":
                connection.sendall(answer)
                assert later.wait(60)
                connection.sendall(spurious)
            else:
                connection.sendall(answer + spurious)
            pushed.set()
            # Stays open, as an upstream's idle connection does.
            connection.recv(65536)

        up = self.upstream(twice)
        ledger = self.ledger()
        client = self.dial(ledger)
        bodies = []
        for target in ("/first", "/second"):
            client.sendall(request_bytes(method, up.url + target, "x", (), b"{}" if method == "POST" else b""))
            bodies.append(read_answer(client, method).body)
            later.set()
            self.assertTrue(pushed.wait(DEADLINE))
        self.assertEqual(bodies, [b"right", b"right"])

    def test_one_that_answers_before_it_has_read_everything_is_believed(self):
        def early(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly")

        up = self.upstream(early)
        ledger = self.ledger(guarded_route(up))
        answers = [ledger.proxied("POST", up.url + "/x", b"x" * 500_000) for _ in range(2)]
        self.assertEqual([(a.status, a.body, a.ledger) for a in answers], [(200, b"early", "executed"), (200, b"early", "replayed")])

    def test_an_answer_that_comes_byte_by_byte_is_whole(self):
        def trickle(_request, connection):
            for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n":
                connection.sendall(bytes([byte]))

        up = self.upstream(trickle)
        ledger = self.ledger(guarded_route(up))
        self.assertEqual([ledger.proxied("POST", up.url + "/x", b"{}").body for _ in range(2)], [b"abcde"] * 2)
        self.assertEqual((ledger.proxied("GET", up.url + "/x").body, up.effects), (b"abcde", 2))

    def test_a_chunked_answer_is_given_to_an_http_1_0_client_without_chunks(self):
        def chunked(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

        up = self.upstream(chunked)
        ledger = self.ledger(guarded_route(up))
        for method in ("POST", "GET"):
            answer = ledger.proxied(method, up.url + "/x", b"{}" if method == "POST" else b"", version="1.0")
            self.assertEqual((answer.body, answer["Transfer-Encoding"]), (b"abc", None))


if __name__ == "__main__":
    main()
