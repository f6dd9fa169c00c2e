"""What is in doubt stays in doubt until an answer or a person settles it, whatever comes late or in between."""
import threading

from harness import Case, DEADLINE, Gate, eventually, guarded_route, main, reset, statuses

JSON = {"Content-Type": "application/json"}


class Retry(Case):
    """Routes whose upstream deduplicates by a key: there a call in doubt is sent again."""

    def doubtful(self, more="", timeout="300ms"):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, timeout: " + timeout + more))
        first = ledger.charge(up)
        self.assertEqual(first.slug, "outcome-unknown")
        return up, ledger

    def test_a_route_may_hold_all_the_same(self):
        up, ledger = self.doubtful(", in_doubt: hold")
        up.handler = up.count_up
        self.assertEqual((ledger.charge(up).slug, up.effects), ("in-doubt", 1))

    def test_repeats_at_once_are_one_retry(self):
        up, ledger = self.doubtful(timeout="2s")
        gate = Gate(up.count_up)
        up.handler = gate
        calls = self.in_parallel(*[lambda: ledger.charge(up)] * 10)
        gate.wait_for_call()
        sent = len(up.requests)
        eventually(lambda: ledger.metric("ledger_waiters") == 9, "9 calls wait")
        gate.opened.set()
        self.assertEqual((statuses(calls.get()), len(up.requests)), ({"executed": 1, "joined": 9}, sent))


class Told(Case):
    """What `serve` says of doubts in its log."""

    def doubtful(self, calls=1):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up))
        for i in range(calls):
            ledger.charge(up, b'{"n":%d}' % i, path="/v1/charges?secret=1")
        return up, ledger, ledger.directory / "log"

    def test_a_doubt_is_said_at_once_with_its_id_route_place_and_cause(self):
        up, ledger, log = self.doubtful()
        shown = ledger.records()[0]["id"][:8]
        self.assertRegex(log.read_text(), rf"warning.* in doubt: {shown} charge POST {up.url}/v1/charges: the destination closed")
        self.assertNotIn("secret", log.read_text())

    def test_a_doubt_is_said_with_its_label(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, 'label: "${body:/amount} for Ada"'))
        ledger.charge(up)
        self.assertIn("/v1/charges (49 for Ada): ", (ledger.directory / "log").read_text())

    def test_a_flood_of_doubts_is_no_flood_of_lines(self):
        _, ledger, log = self.doubtful(300)
        eventually(lambda: "were left out" in log.read_text(), "what was left out is said")
        self.assertLess(log.read_text().count(" in doubt: "), 250)
        self.assertEqual(len([r for r in ledger.records() if r["state"] == "in_doubt"]), 300)

    def test_an_owner_that_died_and_doubts_from_before_are_said_at_the_start(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(guarded_route(up))
        self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        ledger.kill()
        gate.opened.set()
        ledger.start()
        log = ledger.directory / "log"
        eventually(lambda: "1 call in doubt from before" in log.read_text(), "the start says it")
        self.assertRegex(log.read_text(), r" in doubt: [0-9a-f]{8} charge POST ")

    def test_who_resolves_and_who_deletes_is_said(self):
        _, ledger, log = self.doubtful(2)
        one, two = (r["id"] for r in ledger.records())
        resolved = ledger.admin("POST", f"/api/records/{one}/resolve", {"verdict": "executed", "by": "Ada"})
        deleted = ledger.admin("DELETE", f"/api/records/{two}", headers=[("Ledger-By", "Grace")])
        self.assertEqual((resolved.status, deleted.status), (200, 204))
        self.assertIn(f"{one[:8]} was resolved as executed by Ada", log.read_text())
        self.assertIn(f"{two[:8]} was deleted by Grace", log.read_text())


class Late(Case):
    """An execution that was given up, and answers after its record was settled otherwise."""

    def setUp(self):
        self.up = self.upstream()
        self.may_answer, self.was_read = threading.Event(), threading.Event()

        def slow_at_first(_request, connection):
            if self.up.effects > 1:
                return 200, JSON, b'"later"'
            assert self.may_answer.wait(60)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\n\"first\"")
            connection.recv(1)  # the proxy closes once it has read all of it
            self.was_read.set()

        self.up.handler = slow_at_first
        self.proxy = self.ledger(guarded_route(self.up, "timeout: 300ms"))
        answer = self.proxy.charge(self.up)
        self.assertEqual((answer.status, answer.slug), (504, "outcome-unknown"))
        self.key = answer["Ledger-Record"]

    def let_the_first_end(self):
        self.may_answer.set()
        self.assertTrue(self.was_read.wait(DEADLINE), "the late answer was not read")
        # It goes to the store in the step in which it closes; another call's claim comes behind it there.
        self.assertEqual(self.proxy.charge(self.up, path="/another").ledger, "executed")

    def test_it_does_not_pass_the_fence_after_a_delete(self):
        self.assertEqual(self.proxy.admin("DELETE", f"/api/records/{self.key}").status, 204)
        second = self.proxy.charge(self.up)
        self.assertEqual((second.ledger, second.json()), ("executed", "later"))
        self.let_the_first_end()
        again = self.proxy.charge(self.up)
        self.assertEqual((again.json(), self.up.effects), ("later", 3))

    def test_it_does_not_undo_a_persons_verdict(self):
        answer = self.proxy.admin("POST", f"/api/records/{self.key}/resolve", {"verdict": "executed"})
        self.assertEqual((answer.status, answer.json()["state"]), (200, "completed"))
        self.let_the_first_end()
        self.assertEqual(self.proxy.charge(self.up).slug, "answer-not-stored")
        self.assertEqual((self.proxy.record(self.key)["state"], self.up.effects), ("completed", 2))


class Together(Case):
    """Those who joined share the outcome, whatever it is; nobody is elected to try again."""

    def share(self, handler, more=""):
        up = self.upstream()
        gate = Gate(handler)
        up.handler = gate
        ledger = self.ledger(guarded_route(up, more))
        calls = self.in_parallel(*[lambda: ledger.charge(up)] * 5)
        gate.wait_for_call()
        eventually(lambda: ledger.metric("ledger_waiters") == 4, "4 calls wait")
        gate.opened.set()
        answers = calls.get()
        self.assertEqual((statuses(answers), up.effects), ({"executed": 1, "joined": 4}, 1))
        self.assertEqual(len({a["Ledger-Record"] for a in answers}), 1)
        return answers

    def test_a_500_is_given_to_all(self):
        self.assertEqual([(a.status, a.body) for a in self.share(lambda r, c: (500, {}, b"oops"))], [(500, b"oops")] * 5)

    def test_an_answer_that_was_too_long_to_keep_is_the_leaders_alone(self):
        answers = self.share(lambda r, c: (200, {}, b"x" * 5000), "response_max: 1KiB")
        leader = [a for a in answers if a.ledger == "executed"]
        self.assertEqual([a.body for a in leader], [b"x" * 5000])
        self.assertEqual({a.slug for a in answers if a.ledger == "joined"}, {"answer-not-stored"})

    def test_what_a_long_answer_said_of_the_call_is_told_to_all(self):
        for status, slug, state, safe in ((402, "answer-not-stored", "released", True), (500, "outcome-unknown", "in_doubt", False)):
            answers = self.share(lambda r, c, status=status: (status, {}, b"x" * 5000), "response_max: 1KiB")
            told = [a.json() for a in answers if a.ledger == "joined"]
            self.assertEqual({(a.slug, t["state"], t["safe_to_retry"]) for a, t in zip([a for a in answers if a.ledger == "joined"], told)}, {(slug, state, safe)})

    def test_a_time_out_is_told_to_all(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(guarded_route(up, "timeout: 2s"))
        calls = self.in_parallel(*[lambda: ledger.charge(up)] * 3)
        eventually(lambda: ledger.metric("ledger_waiters") == 2, "2 calls wait")
        answers = calls.get()
        gate.opened.set()
        self.assertEqual((statuses(answers), up.effects), ({"executed": 1, "joined": 2}, 1))
        self.assertEqual({(a.status, a.slug) for a in answers}, {(504, "outcome-unknown")})


class Named(Case):
    """The same explicit key with another body is refused while the first call counts."""

    def call(self, ledger, up, body):
        return ledger.proxied("POST", up.url + "/x", body, {"Ledger-Key": "order-1"})

    def assert_refused(self, answer):
        self.assertEqual((answer.status, answer.slug, answer.ledger), (422, "key-reused", "mismatch"))

    def test_in_doubt_it_is_refused(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, timeout: 300ms"))
        self.call(ledger, up, b"one")
        up.handler = up.count_up
        self.assert_refused(self.call(ledger, up, b"two"))
        self.assertEqual((self.call(ledger, up, b"one").ledger, set(up.bodies())), ("executed", {b"one"}))

    def test_after_its_expiry_the_key_takes_another_body(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, "ttl: 500ms"))
        self.call(ledger, up, b"one")
        eventually(lambda: self.call(ledger, up, b"two").status == 200, "the record's expiry")
        self.assertEqual(up.bodies(), [b"one", b"two"])


if __name__ == "__main__":
    main()
