"""The store under a call: locked, shared with a proxy that dies, or kept in memory. Nothing is sent that could
not be recorded first, and nothing is called done before it is recorded."""
import contextlib
import socket
import sqlite3

from harness import Case, DEADLINE, Gate, eventually, guarded_route, main, request_bytes


@contextlib.contextmanager
def locked(ledger):
    """Another process (a backup, an open shell) holds the store's write lock."""
    # Autocommit, so that this BEGIN is the only one; the time-out covers a commit that is just under way.
    other = sqlite3.connect(ledger.store_path, isolation_level=None, timeout=DEADLINE)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


class Locked(Case):
    def test_a_call_that_cannot_be_recorded_is_not_sent_and_says_that_a_retry_is_safe(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        with locked(ledger):
            answer = ledger.charge(up)
        problem = answer.json()
        self.assertEqual((answer.status, answer.slug, answer.ledger, problem["safe_to_retry"]), (503, "store-unavailable", "refused", True))
        self.assertIsNone(answer["x-should-retry"])
        self.assertEqual(up.effects, 0)
        # Once it can be written again, the next heartbeat renews the lease that lapsed meanwhile.
        eventually(lambda: ledger.charge(up).status == 200, "calls after the lock")
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("replayed", 1))

    def test_readiness_tells_and_liveness_does_not_depend_on_it(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        with locked(ledger):
            self.assertEqual(ledger.admin("GET", "/healthz").status, 200)
            told = ledger.admin("GET", "/readyz")
            self.assertEqual(told.status, 503)
            self.assertTrue(told.json()["detail"])
        eventually(lambda: ledger.admin("GET", "/readyz").status == 200, "readiness after the lock")

    def test_the_log_says_when_the_store_begins_to_fail_and_when_it_works_again(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        log = ledger.directory / "log"
        with locked(ledger):
            for i in range(3):
                self.assertEqual(ledger.charge(up, b'{"n":%d}' % i).status, 503)
            self.assertEqual(log.read_text().count("the store fails: "), 1, log.read_text())
        eventually(lambda: "the store works again after" in log.read_text(), "the end is said")
        self.assertIn("3 calls were refused meanwhile", log.read_text())

    def test_passing_calls_do_not_need_the_store(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        with locked(ledger):
            self.assertEqual(ledger.proxied("GET", up.url + "/x").status, 200)

    def test_the_last_byte_is_given_only_when_the_answer_is_recorded(self):
        for chunked in (False, True):
            with self.subTest(chunked=chunked):
                self.assert_held_back(chunked)

    def assert_held_back(self, chunked):
        """The answer comes while the store is locked: its client may see most of it, never the end."""
        body = b"#" * 1000  # a byte that no header has

        def whole(_request, connection):
            framed = b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + body + b"\r\n0\r\n\r\n"
            plain = b"Content-Length: 1000\r\n\r\n" + body
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + (framed if chunked else plain))

        up = self.upstream()
        gate = Gate(whole)
        up.handler = gate
        ledger = self.ledger(guarded_route(up))
        with socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as client:
            client.sendall(request_bytes("POST", up.url + "/x", "x", (), b"{}"))
            gate.wait_for_call()
            with locked(ledger):
                gate.opened.set()
                got = self.read_for(client, seconds=1)
                self.assertFalse(got.endswith(b"0\r\n\r\n") if chunked else got.endswith(b"\r\n\r\n" + body), got[-40:])
            got = read_to_end(client, got)
        self.assertEqual(got.count(b"#"), 1000)
        again = ledger.proxied("POST", up.url + "/x", b"{}")
        self.assertEqual((again.ledger, again.body, up.effects), ("replayed", body, 1))

    def read_for(self, client, seconds):
        """What comes within a time. That something does not come can only be watched for a while."""
        client.settimeout(seconds)
        got = b""
        with contextlib.suppress(TimeoutError):
            while piece := client.recv(65536):
                got += piece
        client.settimeout(DEADLINE)
        return got

    def test_an_answer_that_comes_while_the_store_is_locked_is_recorded_later(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(guarded_route(up))
        raw = request_bytes("POST", up.url + "/x", "x", (), b"{}")
        with socket.create_connection(("127.0.0.1", ledger.port)) as client:
            client.sendall(raw)
            gate.wait_for_call()
        with locked(ledger):
            gate.opened.set()
            # Longer than one try of the settle, so that it has to be made again.
            self.assertEqual(ledger.admin("GET", "/readyz").status, 503)
        eventually(lambda: ledger.records()[0]["state"] == "completed", "the settle's retry")
        again = ledger.proxied("POST", up.url + "/x", b"{}")
        # "joined" in the moment between the commit and the news of it.
        self.assertIn(again.ledger, ("replayed", "joined"))
        self.assertEqual((again.status, up.effects), (200, 1))


def read_to_end(client, got):
    """Until the answer is whole. An answer of which nothing was given yet may come with a length instead of chunks."""
    while not got.endswith((b"\r\n0\r\n\r\n", b"\r\n\r\n" + b"#" * 1000)):
        piece = client.recv(65536)
        assert piece, f"broken off: {got[-100:]}"
        got += piece
    return got


class OwnerDies(Case):
    """Two proxies on one file; the one that sent the call is killed."""

    def setUp(self):
        self.up = self.upstream()
        self.gate = Gate(self.up.count_up)
        self.up.handler = self.gate
        self.one = self.ledger(guarded_route(self.up))
        self.two = self.ledger(guarded_route(self.up), store=self.one.store)

    def kill_the_sender(self):
        self.in_parallel(lambda: self.one.charge(self.up))
        self.gate.wait_for_call()

    def assert_in_doubt(self, answer):
        self.assertEqual((answer.status, answer.slug, answer.json()["safe_to_retry"]), (409, "in-doubt", False))

    def test_a_new_call_sees_at_once_that_the_owner_is_dead(self):
        self.kill_the_sender()
        self.one.kill()
        self.assert_in_doubt(self.two.charge(self.up))
        self.gate.opened.set()
        self.assertEqual(self.up.effects, 1)

    def test_its_restart_does_not_free_the_call_either(self):
        self.kill_the_sender()
        self.one.kill()
        self.one.start()
        for proxy in (self.one, self.two):
            self.assert_in_doubt(proxy.charge(self.up))
        self.gate.opened.set()
        self.assertEqual(self.up.effects, 1)

    def test_the_other_proxy_finds_it_without_being_asked_and_a_person_can_settle_it(self):
        self.kill_the_sender()
        key = self.one.records()[0]["id"]
        self.one.kill()
        eventually(lambda: self.two.record(key)["state"] == "in_doubt", "the reaper")
        self.assertIn("?", self.two.cli("log", self.one.store_path).stdout)
        done = self.two.cli("resolve", key, "--not-executed", "--by", "ada", self.one.store_path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.gate.opened.set()
        self.assertEqual((self.two.charge(self.up).ledger, self.up.effects), ("executed", 2))

    def without_any_proxy(self):
        self.kill_the_sender()
        key = self.one.records()[0]["id"]
        self.assertEqual(self.two.stop(), 0)
        self.one.kill()
        self.gate.opened.set()
        return key

    def test_a_person_settles_it_without_any_proxy(self):
        key = self.without_any_proxy()
        done = self.one.cli("resolve", key, "--not-executed", "--by", "ada", self.one.store_path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_person_clears_it_without_any_proxy_only_as_one_in_doubt(self):
        self.without_any_proxy()
        kept = self.one.cli("clear", "--yes", self.one.store_path)
        self.assertEqual((kept.returncode, kept.stdout), (0, "cleared 0, kept 1 (1 in doubt)\n"))
        done = self.one.cli("clear", "--yes", "--in-doubt", self.one.store_path)
        self.assertEqual((done.returncode, done.stdout), (0, "cleared 1, kept 0\n"))


class Memory(Case):
    def test_a_store_in_memory_keeps_the_promise_while_it_lives(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up), store="memory:")
        self.assertEqual([ledger.charge(up).ledger for _ in range(3)], ["executed", "replayed", "replayed"])
        self.assertEqual(ledger.stop(), 0)
        ledger.start()
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("executed", 2))


if __name__ == "__main__":
    main()
