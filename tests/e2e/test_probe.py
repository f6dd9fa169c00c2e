"""`probe:` asks the upstream whether a call in doubt happened, instead of guessing or giving up."""
import json
import pathlib
import urllib.parse

from harness import Case, Gate, eventually, main, reset


class Shop:
    """Makes charges, may lose answers, and can be asked by reference."""

    def __init__(self):
        self.charges, self.asked = [], []
        self.lose = True  # the effect happens, its answer does not arrive
        self.act = True  # False: the call is lost before it has an effect
        self.answer = None  # what a probe gets, instead of the truth

    def __call__(self, request, connection):
        if request.method == "GET":
            self.asked.append(request)
            if self.answer:
                return self.answer
            reference = urllib.parse.unquote(request.target.split("reference=")[1])
            found = [c for c in self.charges if c["reference"] == reference]
            return 200, {"Content-Type": "application/json"}, json.dumps({"data": found}).encode()
        if self.act:
            self.charges.append({"id": f"ch_{len(self.charges) + 1}", "reference": json.loads(request.body)["reference"]})
        if self.lose:
            return reset(connection)
        return 200, {"Content-Type": "application/json"}, json.dumps(self.charges[-1]).encode()


class Probe(Case):
    def setUp(self):
        self.shop = Shop()
        self.up = self.upstream(self.shop)

    def proxy(self, probe="", more=""):
        return self.ledger(
            f'routes: [ {{ name: charge, match: "POST {self.up.url}/**", {more} '
            'probe: { get: "/charges?reference=${body:/reference}", executed_if: "/data/0/id"' + (f", {probe}" if probe else "") + " } } ]")

    def charge(self, ledger, reference="r-1", **headers):
        return ledger.charge(self.up, json.dumps({"amount": 49, "reference": reference}).encode(), headers)

    def test_what_happened_is_found_and_a_repeat_gets_the_object(self):
        ledger = self.proxy()
        first = self.charge(ledger, "r 1&x")
        self.assertEqual((first.slug, self.shop.asked), ("outcome-unknown", []))
        again = [self.charge(ledger, "r 1&x") for _ in range(3)]
        self.assertEqual([(a.status, a.ledger) for a in again], [(200, "replayed")] * 3)
        self.assertEqual((again[0].json()["id"], len(self.shop.charges), len(self.shop.asked)), ("ch_1", 1, 1))
        history = [e["event"] for e in ledger.record(first["Ledger-Record"])["history"]]
        self.assertEqual(history, ["claimed", "in_doubt", "probed"])

    def test_a_repeats_credentials_are_used_and_never_stored(self):
        ledger = self.proxy()
        self.charge(ledger, Authorization="Bearer sk_secret_1")
        self.charge(ledger, Authorization="Bearer sk_secret_1")
        self.assertEqual(self.shop.asked[0]["Authorization"], "Bearer sk_secret_1")
        ledger.stop()
        for file in pathlib.Path(ledger.directory).glob("ledger.db*"):
            self.assertNotIn(b"sk_secret", file.read_bytes())

    def test_not_found_counts_only_when_the_call_cannot_arrive_any_more(self):
        self.shop.act = False
        ledger = self.proxy("settle_after: 7d")
        key = self.charge(ledger)["Ledger-Record"]
        held = self.charge(ledger)
        self.assertEqual((held.slug, held.json()["safe_to_retry"], len(self.shop.asked)), ("in-doubt", False, 1))
        self.assertEqual(ledger.record(key)["state"], "in_doubt")

    def test_not_found_long_enough_after_frees_the_call(self):
        self.shop.act = False
        ledger = self.proxy("settle_after: 1ms")
        key = self.charge(ledger)["Ledger-Record"]
        self.shop.act, self.shop.lose = True, False
        eventually(lambda: self.charge(ledger).ledger == "executed", "a millisecond has passed, and the call is made")
        self.assertEqual(len(self.shop.charges), 1)
        self.assertIn("probed", [e["event"] for e in ledger.record(key)["history"]])

    def test_while_the_sending_connection_is_open_not_found_counts_for_nothing(self):
        gate = Gate(lambda r, c: reset(c))
        self.up.handler = lambda r, c: self.shop(r, c) if r.method == "GET" else gate(r, c)
        ledger = self.proxy("settle_after: 1ms", "timeout: 100ms,")
        key = self.charge(ledger)["Ledger-Record"]
        self.assertEqual(self.charge(ledger).slug, "in-doubt")
        gate.opened.set()  # it ends, without an answer
        self.shop.lose = False
        self.up.handler = self.shop

        def freed():
            answer = self.charge(ledger)
            return answer.status == 200 and answer

        self.assertEqual((eventually(freed, "the end of the connection is seen").ledger, len(self.shop.charges)), ("executed", 1))
        self.assertEqual(ledger.record(key)["state"], "completed")

    def test_what_does_not_tell_leaves_the_doubt(self):
        ledger = self.proxy("settle_after: 1ms")
        self.charge(ledger)
        for answer in ((500, {}, b""), (401, {}, b""), (200, {}, b"<html>"), (302, {"Location": "/"}, b"")):
            self.shop.answer = answer
            self.assertEqual(self.charge(ledger).slug, "in-doubt", answer)
        self.shop.answer = None
        self.assertEqual((self.charge(ledger).ledger, len(self.shop.charges)), ("replayed", 1))

    def test_with_credentials_of_its_own_ledger_asks_before_anybody_repeats(self):
        ledger = self.proxy("headers: { Authorization: Bearer of_ledger }")
        key = self.charge(ledger, Authorization="Bearer of_agent")["Ledger-Record"]
        eventually(lambda: ledger.record(key)["state"] == "completed", "the probe")
        self.assertEqual({r["Authorization"] for r in self.shop.asked}, {"Bearer of_ledger"})
        self.assertEqual((self.charge(ledger, Authorization="Bearer of_agent").json()["id"], len(self.shop.charges)), ("ch_1", 1))

    def test_it_asks_again_until_the_upstream_tells(self):
        self.shop.answer = (503, {}, b"")
        ledger = self.proxy("headers: {}")
        key = self.charge(ledger)["Ledger-Record"]
        eventually(lambda: len(self.shop.asked) >= 2, "it asks again")
        self.shop.answer = None
        eventually(lambda: ledger.record(key)["state"] == "completed", "the probe")

    def test_a_killed_proxys_call_is_asked_about_after_the_restart(self):
        gate = Gate(lambda r, c: reset(c))
        self.up.handler = lambda r, c: self.shop(r, c) if r.method == "GET" else (self.shop.charges.append({"id": "ch_1", "reference": "r-1"}), gate(r, c))[1]
        ledger = self.proxy("headers: {}")
        self.in_parallel(lambda: self.charge(ledger))
        gate.wait_for_call()
        ledger.kill()
        gate.opened.set()
        ledger.start()
        eventually(lambda: ledger.records()[0]["state"] == "completed", "the probe")
        self.assertEqual((self.charge(ledger).json()["id"], len(self.shop.charges)), ("ch_1", 1))

    def test_a_configured_answer_is_given(self):
        ledger = self.proxy("""answer: '{"status":"done"}'""")
        self.charge(ledger)
        self.assertEqual(self.charge(ledger).body, b'{"status":"done"}')
        ledger = self.proxy('answer: "/data"')
        self.charge(ledger, "r-2")
        self.assertEqual(self.charge(ledger, "r-2").json(), [{"id": "ch_2", "reference": "r-2"}])

    def test_a_call_that_lacks_the_reference_is_held_as_without_a_probe(self):
        ledger = self.proxy()
        self.up.handler = lambda r, c: reset(c)
        ledger.charge(self.up, b"{}")
        self.assertEqual((ledger.charge(self.up, b"{}").slug, len(self.up.requests)), ("in-doubt", 1))

    def test_where_keys_are_shared_between_accounts_anothers_not_found_proves_nothing(self):
        self.shop.act = False
        ledger = self.proxy("settle_after: 1ms", "scope: none,")
        self.charge(ledger, Authorization="Bearer a")
        self.assertEqual(self.charge(ledger, Authorization="Bearer b").slug, "in-doubt")


if __name__ == "__main__":
    main()
