"""SIGTERM: what is under way ends well, what is new is refused."""
import signal
import socket

from harness import Case, DEADLINE, Gate, eventually, exchange, main, read_answer, request_bytes


class Drain(Case):
    def wait_until_refused(self, ledger):
        def refused():
            try:
                socket.create_connection(("127.0.0.1", ledger.port), timeout=1).close()
            except OSError:
                return True

        eventually(refused, "new connections are refused")

    def test_an_execution_finishes_and_its_callers_are_answered(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger()
        calls = self.in_parallel(lambda: ledger.charge(up), lambda: ledger.charge(up))
        gate.wait_for_call()
        eventually(lambda: ledger.metric("ledger_waiters") == 1, "the duplicate waits")
        ledger.process.send_signal(signal.SIGTERM)
        self.wait_until_refused(ledger)
        gate.opened.set()
        answers = calls.get()
        self.assertEqual([a.status for a in answers], [200, 200])
        self.assertEqual((ledger.process.wait(DEADLINE), up.effects), (0, 1))

    def test_a_new_call_on_an_open_connection_is_refused_and_safe_to_retry(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        ledger = self.ledger()
        with socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as client:
            client.sendall(request_bytes("GET", up.url + "/warm", "x"))
            read_answer(client)
            up.handler = gate
            call = self.in_parallel(lambda: ledger.charge(up))
            gate.wait_for_call()
            ledger.process.send_signal(signal.SIGTERM)
            self.wait_until_refused(ledger)
            client.sendall(request_bytes("POST", up.url + "/new", "x", (), b"{}"))
            answer = read_answer(client)
            self.assertEqual((answer.status, answer.slug, answer.json()["safe_to_retry"]), (503, "draining", True))
            gate.opened.set()
            self.assertEqual(call.get()[0].status, 200)
        self.assertEqual((ledger.process.wait(DEADLINE), up.effects), (0, 2))

    def test_an_idle_proxy_stops_at_once(self):
        ledger = self.ledger()
        with socket.create_connection(("127.0.0.1", ledger.port)):
            self.assertEqual(ledger.stop(), 0)

    def test_readiness_ends_with_the_drains_beginning_and_liveness_does_not(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger()
        call = self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        self.assertEqual(ledger.admin("GET", "/readyz").status, 200)
        ledger.process.send_signal(signal.SIGTERM)
        self.wait_until_refused(ledger)
        told = ledger.admin("GET", "/readyz")
        self.assertEqual((told.status, told.json()["status"]), (503, "draining"))
        self.assertEqual(ledger.admin("GET", "/healthz").status, 200)
        gate.opened.set()
        self.assertEqual((call.get()[0].status, ledger.process.wait(DEADLINE)), (200, 0))

    def log_has(self, ledger, text, count=1):
        eventually(lambda: (ledger.directory / "log").read_text().count(text) == count, f"the log says {text!r}")

    def test_sighup_is_ignored_with_a_line_in_the_log(self):
        up = self.upstream()
        ledger = self.ledger()
        for n in (1, 2):
            ledger.process.send_signal(signal.SIGHUP)
            self.log_has(ledger, "SIGHUP is ignored", n)
            self.assertEqual(ledger.charge(up, path=f"/{n}").status, 200)
        self.assertEqual(ledger.stop(), 0)

    def test_sighup_does_not_end_a_drain(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger()
        call = self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        ledger.process.send_signal(signal.SIGTERM)
        self.wait_until_refused(ledger)
        ledger.process.send_signal(signal.SIGHUP)
        self.log_has(ledger, "SIGHUP is ignored")
        gate.opened.set()
        self.assertEqual((call.get()[0].status, ledger.process.wait(DEADLINE)), (200, 0))

    def test_a_second_signal_does_not_wait(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger()
        self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        ledger.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stopping" in (ledger.directory / "log").read_text(), "the drain")
        ledger.process.send_signal(signal.SIGTERM)
        self.assertEqual(ledger.process.wait(DEADLINE), 1)
        gate.opened.set()


if __name__ == "__main__":
    main()
