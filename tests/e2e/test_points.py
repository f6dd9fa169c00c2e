"""docs/promise.md, row by row: SIGKILL at every named point of a call, and SIGSTOP there for longer than the lease."""
import json
import os
import pathlib
import signal
import socket
import threading

from harness import CRASH_BINARY, DEADLINE, Case, Gate, eventually, guarded_route, main, request_bytes
from storm import Honouring

POINTS = ("before-claim", "claimed", "connected", "sent", "head-received", "body-received", "recorded", "replied")
WITH_KEY = "upstream_key: Idempotency-Key"


class HonouringUpstream:
    """storm.Honouring for the threaded upstream, which counts effects by key."""

    def __init__(self):
        self.memory, self.effects, self.lock = Honouring(), [], threading.Lock()

    def __call__(self, request, _connection):
        key = request["Idempotency-Key"]
        with self.lock:
            early = self.memory.begin(key, request.body)
            if early is None:
                self.effects.append(request.body)
                self.memory.end(key, 200, b'{"effect":%d}' % len(self.effects))
            status, body = early or (200, b'{"effect":%d}' % len(self.effects))
        return status, {"Content-Type": "application/json"}, body


class Points(Case):
    """Killed there, and started again."""

    def die(self, point, more=""):
        """A call whose proxy dies at the point; afterwards the proxy runs again."""
        self.shop = HonouringUpstream()
        self.up = self.upstream(self.shop if more else None)
        self.proxy = self.ledger(guarded_route(self.up, more), binary=CRASH_BINARY, env={**os.environ, "LEDGER_CRASH_POINT": point})
        first = self.charge()
        self.assertEqual(self.proxy.process.wait(DEADLINE), -9, "it did not die there")
        self.proxy.popen = {}
        self.proxy.start()
        return first

    def charge(self):
        try:
            return self.proxy.charge(self.up)
        except ConnectionError:
            return None

    def assert_no_answer(self, answer):
        self.assertTrue(answer is None or answer.broken, answer)

    def assert_in_doubt(self, effects):
        again = [self.charge() for _ in range(2)]
        self.assertEqual([(a.status, a.slug, a.ledger, a.json()["safe_to_retry"]) for a in again], [(409, "in-doubt", "in-doubt", False)] * 2)
        eventually(lambda: self.up.effects == effects, "the upstream's count")
        [record] = self.proxy.records()
        self.assertEqual((record["state"], record["executed"]), ("in_doubt", 1))

    def assert_answered(self, statuses, effects=1):
        again = [self.charge() for _ in statuses]
        self.assertEqual([(a.status, a.ledger) for a in again], [(200, s) for s in statuses])
        self.assertEqual(len({a.body for a in again}), 1)
        self.assertEqual(len(self.shop.effects) or self.up.effects, effects)
        [record] = self.proxy.records()
        self.assertEqual(record["state"], "completed")
        return again[0]

    # --- without an upstream key ---

    def test_before_the_claim_nothing_is_known_and_the_repeat_executes(self):
        self.assert_no_answer(self.die("before-claim"))
        self.assertEqual((self.proxy.records(), self.up.effects), ([], 0))
        self.assert_answered(["executed", "replayed"])

    def test_claimed_the_repeat_is_told_of_the_doubt(self):
        self.assert_no_answer(self.die("claimed"))
        self.assert_in_doubt(effects=0)

    def test_connected_the_repeat_is_told_of_the_doubt(self):
        self.assert_no_answer(self.die("connected"))
        self.assert_in_doubt(effects=0)

    def test_bytes_sent_the_repeat_is_told_of_the_doubt(self):
        self.assert_no_answer(self.die("sent"))
        self.assert_in_doubt(effects=1)

    def test_headers_received_the_repeat_is_told_of_the_doubt(self):
        self.assert_no_answer(self.die("head-received"))
        self.assert_in_doubt(effects=1)

    def test_body_received_the_repeat_is_told_of_the_doubt(self):
        self.assert_no_answer(self.die("body-received"))
        self.assert_in_doubt(effects=1)

    def test_recorded_the_repeat_gets_the_answer_that_the_first_caller_did_not(self):
        self.assert_no_answer(self.die("recorded"))
        self.assert_answered(["replayed", "replayed"])

    def test_replied_the_repeat_gets_the_same_answer(self):
        first = self.die("replied")
        self.assertEqual((first.status, first.ledger, first.broken), (200, "executed", False))
        self.assertEqual(self.assert_answered(["replayed"]).body, first.body)

    def test_in_the_middle_of_a_streamed_answer_its_client_sees_no_end_and_the_repeat_the_doubt(self):
        def half(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
            assert may_end.wait(60)

        may_end = threading.Event()
        self.up = self.upstream(half)
        self.proxy = self.ledger(guarded_route(self.up))
        raw = request_bytes("POST", self.up.url + "/v1/charges", "x", {"Content-Type": "application/json"}, b'{"amount":49}')
        with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=DEADLINE) as client:
            client.sendall(raw)
            got = b""
            while b"half" not in got:
                got += client.recv(4096)
            self.proxy.kill()
            try:
                while piece := client.recv(4096):
                    got += piece
            except ConnectionError:
                pass
        self.assertLess(len(got.split(b"\r\n\r\n", 1)[1]), 8)
        may_end.set()
        self.proxy.start()
        self.assert_in_doubt(effects=1)

    # --- with one: Ledger sends again, and the upstream takes it once ---

    def with_key(self, point, statuses, requests):
        first = self.die(point, WITH_KEY)
        self.assert_answered(statuses)
        self.assertEqual((len(self.up.requests), len({r["Idempotency-Key"] for r in self.up.requests})), (requests, 1))
        return first

    def test_with_a_key_before_the_claim_the_repeat_executes(self):
        self.assert_no_answer(self.with_key("before-claim", ["executed", "replayed"], requests=1))

    def test_with_a_key_claimed_the_repeat_is_sent(self):
        self.assert_no_answer(self.with_key("claimed", ["executed", "replayed"], requests=1))

    def test_with_a_key_connected_the_repeat_is_sent(self):
        self.assert_no_answer(self.with_key("connected", ["executed", "replayed"], requests=1))

    def test_with_a_key_bytes_sent_the_repeat_is_sent_under_the_same_key(self):
        self.assert_no_answer(self.with_key("sent", ["executed", "replayed"], requests=2))

    def test_with_a_key_headers_received_the_repeat_is_sent_under_the_same_key(self):
        self.assert_no_answer(self.with_key("head-received", ["executed", "replayed"], requests=2))

    def test_with_a_key_body_received_the_repeat_is_sent_under_the_same_key(self):
        self.assert_no_answer(self.with_key("body-received", ["executed", "replayed"], requests=2))

    def test_with_a_key_recorded_the_repeat_gets_the_answer(self):
        self.assert_no_answer(self.with_key("recorded", ["replayed", "replayed"], requests=1))

    def test_with_a_key_replied_the_repeat_gets_the_same_answer(self):
        self.assertEqual(self.with_key("replied", ["replayed"], requests=1).status, 200)

    def test_a_call_that_dies_at_every_point_in_turn_still_happens_once(self):
        self.die(POINTS[0], WITH_KEY)
        for point in POINTS[1:]:
            self.proxy.stop()
            self.proxy.popen = {"env": {**os.environ, "LEDGER_CRASH_POINT": point}}
            self.proxy.start()
            self.charge()
            if point != "replied":  # by then it is recorded, and nothing is executed any more
                self.assertEqual((point, self.proxy.process.wait(DEADLINE)), (point, -9))
                self.proxy.popen = {}
                self.proxy.start()
        self.assert_answered(["replayed", "replayed"])
        self.assertEqual(len({r["Idempotency-Key"] for r in self.up.requests}), 1)

    def test_the_product_does_not_know_the_switch(self):
        self.up = self.upstream()
        self.proxy = self.ledger(guarded_route(self.up), env={**os.environ, "LEDGER_CRASH_POINT": "claimed"})
        self.assertEqual((self.charge().status, self.proxy.process.poll()), (200, None))


class Waiting(Case):
    """A repeat waits at one proxy for the execution of another, which dies; a third proxy finds that out first."""

    def kill_the_sender(self, more=""):
        shop = HonouringUpstream()
        gate = Gate(shop)
        self.up = self.upstream(gate)
        one = self.ledger(guarded_route(self.up, more))
        two, three = [self.ledger(guarded_route(self.up, more), store=one.store) for _ in range(2)]
        self.in_parallel(lambda: one.charge(self.up))
        gate.wait_for_call()
        waiting = self.in_parallel(*[lambda: two.charge(self.up)] * 2)
        eventually(lambda: two.metric("ledger_waiters") == 1, "both repeats are in the second proxy")
        one.kill()
        gate.opened.set()
        answer = three.charge(self.up)
        return [answer, *waiting.get()], shop

    def test_who_waits_for_a_dead_owner_is_told_of_the_doubt_whoever_finds_out_first(self):
        answers, _ = self.kill_the_sender()
        self.assertEqual([(a.status, a.slug, a.ledger) for a in answers], [(409, "in-doubt", "in-doubt")] * 3)

    def test_with_a_key_who_waits_for_a_dead_owner_gets_the_answer_whoever_finds_out_first(self):
        answers, shop = self.kill_the_sender(WITH_KEY)
        self.assertEqual([a.status for a in answers], [200] * 3)
        self.assertEqual((len({a.body for a in answers}), len(shop.effects)), (1, 1))


class Stopped(Case):
    """A proxy that stands still for longer than its lease, while another one on the same file is asked for the same
    calls; then it goes on as if nothing had been."""

    STOPPED_AT = POINTS[:-1]

    def test_what_wakes_up_after_its_lease_sends_nothing_and_settles_only_what_is_its_own(self):
        self.stop_at_each_point("")

    def test_with_an_upstream_key_nothing_happens_twice_either(self):
        self.stop_at_each_point(WITH_KEY)

    def body(self, point):
        return json.dumps({"point": point}).encode()

    def effects(self, point):
        return (self.shop.effects if self.with_key else self.up.bodies()).count(self.body(point))

    def stop_at_each_point(self, more):
        self.with_key = bool(more)
        self.shop = HonouringUpstream()
        self.up = self.upstream(self.shop if more else None)
        awake = self.ledger(guarded_route(self.up, more))
        asleep = {point: self.ledger(guarded_route(self.up, more), store=awake.store, binary=CRASH_BINARY,
                                     env={**os.environ, "LEDGER_CRASH_POINT": point + ":stop"}) for point in self.STOPPED_AT}
        firsts = self.in_parallel(*[lambda p=point: asleep[p].charge(self.up, self.body(p)) for point in self.STOPPED_AT])
        for point, proxy in asleep.items():
            eventually(lambda p=proxy: state_of(p) == "T", f"the stop at {point}")

        # Each waits for the other proxy's execution until its lease has lapsed.
        seconds = dict(zip(self.STOPPED_AT, self.in_parallel(*[lambda p=point: awake.charge(self.up, self.body(p)) for point in self.STOPPED_AT]).get()))
        for point in self.STOPPED_AT:
            known = {"before-claim": "executed", "recorded": "replayed"}.get(point)
            expected = (200, known) if known else (200, "executed") if self.with_key else (409, "in-doubt")
            self.assertEqual((point, seconds[point].status, seconds[point].ledger), (point, *expected))
        sent = {point: self.effects(point) for point in self.STOPPED_AT}
        unsent = {"claimed", "connected"} if not self.with_key else set()
        self.assertEqual(sent, {point: 0 if point in unsent else 1 for point in self.STOPPED_AT})

        for proxy in asleep.values():
            proxy.process.send_signal(signal.SIGCONT)
        firsts = dict(zip(self.STOPPED_AT, firsts.get()))
        for point in unsent:
            self.assertIn("lease", firsts[point].json()["detail"])
        self.assertEqual({point: self.effects(point) for point in self.STOPPED_AT}, sent)

        # Those whose answer had come, or still came, have settled what is theirs. What was not sent may go out now.
        for point in self.STOPPED_AT:
            for proxy in (awake, asleep[point]):
                last = eventually(lambda x=proxy, p=point: (a := x.charge(self.up, self.body(p))).status == 200 and a, f"{point}: an answer")
                if not self.with_key and point not in unsent | {"before-claim"}:
                    self.assertEqual((point, last.body), (point, firsts[point].body))
        self.assertEqual({point: self.effects(point) for point in self.STOPPED_AT}, {point: 1 for point in self.STOPPED_AT})
        self.assertEqual({(r["state"]) for r in awake.records()}, {"completed"})


def state_of(proxy):
    return pathlib.Path(f"/proc/{proxy.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


if __name__ == "__main__":
    main()
