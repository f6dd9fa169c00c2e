"""What people and agents are told of a call: its label, its key, whether it left, whose id an answer carries, what to do."""
import json
import sqlite3
import urllib.parse

from harness import Case, closed_port, eventually, guarded_route, main, reset


def form(**fields):
    return urllib.parse.urlencode(fields).encode()


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def advice_of(answer):
    return answer.json()["advice"]


class Records(Case):
    def counts(self, ledger, record, attempts):
        seen = lambda: (r := ledger.record(record))["attempts"] == attempts and r
        record = eventually(seen, f"{attempts} attempts")
        return [record[n] for n in ("attempts", "executed", "unsent", "blocked", "replayed", "joined")]

    def test_a_record_shows_the_label_that_the_route_makes_of_the_call(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, 'label: "to ${form:To} for ${query:job} by ${header:X-Who} at ${body:/none}"'))
        answer = ledger.proxied("POST", up.url + "/sms?job=7", form(To="+49 151 23", Body="hi"), {**FORM, "X-Who": "Zoë".encode().decode("latin-1")})
        record = ledger.record(answer["Ledger-Record"])
        self.assertEqual(record["label"], "to +49 151 23 for 7 by Zoë at -")
        self.assertEqual([r["label"] for r in ledger.records()], [record["label"]])

    def test_a_label_is_one_line_of_bounded_length_whatever_the_call_holds(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, 'label: "to ${body:/to}"'))
        for to, shown in (("a\nb\x1b[31m\x00c\x7f", "to a b [31m c "), ("é" * 500, "to " + "é" * 97 + "…"), ("x" * 500, "to " + "x" * 194 + "…")):
            answer = ledger.charge(up, json.dumps({"to": to}, ensure_ascii=True).encode())
            label = ledger.record(answer["Ledger-Record"])["label"]
            self.assertEqual(label, shown)
            self.assertLessEqual(len(label.encode()), 200)

    def test_a_label_is_no_identity(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, 'label: "for ${header:X-Who}"'))
        answers = [ledger.charge(up, headers={"X-Who": who}) for who in ("ann", "bob")]
        self.assertEqual([a.ledger for a in answers], ["executed", "replayed"])
        self.assertEqual(ledger.record(answers[1]["Ledger-Record"])["label"], "for ann")

    def test_a_record_shows_the_text_of_an_explicit_key(self):
        up = self.upstream()
        ledger = self.ledger(f'routes: [ {{ name: keyed, match: "POST {up.url}/k", key: "order-${{body:/id}}" }} ]')
        for path, body, headers, key in (("/a", b"{}", {}, None), ("/b", b"{}", {"Ledger-Key": "order 17"}, "order 17"),
                                         ("/c", b"{}", {"Idempotency-Key": "order-18"}, "order-18"), ("/k", b'{"id": 19}', {}, "order-19")):
            record = ledger.record(ledger.charge(up, body, headers, path=path)["Ledger-Record"])
            self.assertEqual((path, record["key"], record["label"]), (path, key, None))

    def test_explain_shows_the_label(self):
        ledger = self.ledger('routes: [ { name: r, match: "POST /sms", label: "to ${form:To}" } ]')
        told = ledger.admin("POST", "/api/explain", {"url": "http://h.example/sms", "headers": FORM, "body": "To=ann"})
        self.assertEqual(told.json()["label"], "to ann")

    def test_a_call_of_which_no_byte_left_is_unsent_not_executed(self):
        ledger = self.ledger("defaults: { retries: 0 }")
        url = f"http://127.0.0.1:{closed_port()}/x"
        answers = [ledger.proxied("POST", url, b"{}") for _ in range(2)]
        self.assertEqual([(a.status, a.ledger, a.slug, advice_of(a)) for a in answers], [(502, "unsent", "upstream-unreachable", "retry")] * 2)
        self.assertEqual(self.counts(ledger, answers[0]["Ledger-Record"], 2), [2, 0, 2, 0, 0, 0])
        self.assertEqual(ledger.metric('ledger_calls_total{status="unsent"}'), 2)
        stats = ledger.admin("GET", "/api/stats").json()
        self.assertEqual([stats["totals"][n] for n in ("attempts", "executed", "unsent", "blocked")], [2, 0, 2, 0])
        self.assertEqual(stats["routes"][0]["unsent"], 2)

    def test_a_call_that_left_once_and_whose_retry_did_not_is_executed_and_the_retry_unsent(self):
        up = self.upstream(lambda request, connection: reset(connection))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, timeout: 300ms, retries: 0"))
        first = ledger.charge(up)
        self.assertEqual((first.ledger, first.slug), ("executed", "outcome-unknown"))
        up.close()
        second = ledger.charge(up)
        self.assertEqual((second.ledger, second.slug), ("unsent", "outcome-unknown"))
        self.assertEqual(self.counts(ledger, first["Ledger-Record"], 2), [2, 1, 1, 0, 0, 0])

    def test_another_call_under_a_key_is_no_attempt_of_the_first(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        call = lambda body: ledger.charge(up, body, {"Ledger-Key": "order-1"})
        first, other, again = call(b'{"a":1}'), call(b'{"a":2}'), call(b'{"a":1}')
        self.assertEqual([a.ledger for a in (first, other, again)], ["executed", "mismatch", "replayed"])
        self.assertEqual([a["Ledger-Attempt"] for a in (first, other, again)], ["1", None, "2"])
        self.assertEqual((other.status, advice_of(other)), (422, "fix"))
        self.assertEqual(self.counts(ledger, first["Ledger-Record"], 2), [2, 1, 0, 1, 1, 0])
        stats = eventually(lambda: (s := ledger.admin("GET", "/api/stats").json())["totals"]["mismatched"] and s, "the counts")
        self.assertEqual([stats["totals"][n] for n in ("attempts", "executed", "blocked", "mismatched")], [2, 1, 1, 1])
        self.assertEqual(stats["routes"][0]["mismatched"], 1)

    def test_counts_and_labels_outlive_a_restart(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, 'label: "n ${body:/n}"'))
        call = lambda body: ledger.charge(up, body, {"Ledger-Key": "k"})
        record = call(b'{"n":1}')["Ledger-Record"]
        call(b'{"n":2}')
        ledger.restart()
        shown = ledger.record(record)
        self.assertEqual([shown[n] for n in ("label", "key", "attempts", "executed", "unsent")], ["n 1", "k", 1, 1, 0])
        self.assertEqual(ledger.admin("GET", "/api/stats").json()["totals"]["mismatched"], 1)

    def test_a_store_of_before_is_taken_over(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        record = ledger.charge(up)["Ledger-Record"]
        ledger.stop()
        with sqlite3.connect(ledger.store_path) as db:  # as it was before there were labels
            for column in ("unsent", "mismatched", "label", "key_text", "scope"):
                db.execute(f"ALTER TABLE records DROP COLUMN {column}")
            db.execute("PRAGMA user_version = 2")
        db.close()
        ledger.start()
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("replayed", 1))
        shown = eventually(lambda: (r := ledger.record(record))["attempts"] == 2 and r, "the counts")
        self.assertEqual([shown[n] for n in ("label", "key", "executed", "unsent")], [None, None, 1, 0])


    def test_the_log_says_which_call_is_in_doubt_and_which_one_was_forgotten(self):
        up = self.upstream(lambda request, connection: reset(connection))
        ledger = self.ledger(guarded_route(up, 'label: "to ${form:To}"'))
        record = ledger.proxied("POST", up.url + "/sms?token=secret", form(To="ann"), FORM)["Ledger-Record"]
        log = ledger.directory / "log"
        call = f"charge POST {up.url}/sms (to ann)"
        eventually(lambda: f"in doubt: {record[:8]} {call}: " in log.read_text(), "the doubt's line")
        self.assertEqual(ledger.admin("DELETE", f"/api/records/{record}", {"by": "Grace"}).status, 204)
        self.assertIn(f"{record[:8]} was deleted by Grace: {call}", log.read_text())
        self.assertNotIn("secret", log.read_text())


class Answers(Case):
    def test_an_answer_names_its_record_and_never_a_key(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        answers = [ledger.charge(up, headers={"Ledger-Key": "order-1"}), ledger.charge(up, headers={"Ledger-Key": "order-1"}),
                   ledger.charge(up, b"other", headers={"Ledger-Key": "order-1"}), ledger.proxied("GET", up.url + "/x"), ledger.charge(up, path="/big")]
        self.assertEqual([a["Ledger-Key"] for a in answers], [None] * 5)
        ids = [a["Ledger-Record"] for a in answers]
        self.assertRegex(ids[0], "^[0-9a-f]{64}$")
        self.assertEqual((ids[0], ids[0], None), (ids[1], ids[2], ids[3]))
        self.assertEqual(answers[2].json()["record"], ids[0])
        self.assertNotIn("key", answers[2].json())

    def test_an_upstream_cannot_name_a_record(self):
        up = self.upstream(lambda request, connection: (200, {"Ledger-Record": "0" * 64, "Ledger-Status": "replayed", "Ledger-Advice": "retry"}, b"{}"))
        ledger = self.ledger(guarded_route(up))
        answer = ledger.charge(up)
        self.assertEqual([v for n, v in answer.headers if n.lower() in ("ledger-status", "ledger-advice")], ["executed"])
        self.assertEqual(len([n for n, v in answer.headers if n.lower() == "ledger-record"]), 1)
        self.assertNotEqual(answer["Ledger-Record"], "0" * 64)

    def test_a_records_id_given_back_as_a_key_is_refused_with_what_to_do(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        mine = {"Authorization": "Bearer mine"}
        record = ledger.charge(up, headers=mine)["Ledger-Record"]
        for body, key in ((b'{"amount":49}', record), (b'{"amount":50}', record), (b'{"amount":50}', record.upper())):
            refused = ledger.charge(up, body, {**mine, "Ledger-Key": key})
            self.assertEqual((refused.status, refused.ledger, refused.slug, advice_of(refused)), (400, "refused", "bad-request", "fix"))
            self.assertIn("without Ledger-Key", refused.json()["detail"])
        self.assertEqual(up.effects, 1)
        # Nobody else learns that there is such a record; and what is no record's id is a key like any other.
        other = ledger.charge(up, headers={"Authorization": "Bearer other", "Ledger-Key": record})
        digest = ledger.charge(up, headers={**mine, "Ledger-Key": "ab" * 32})
        self.assertEqual([other.ledger, digest.ledger, up.effects], ["executed", "executed", 3])

    def test_each_problem_says_what_to_do(self):
        up = self.upstream()
        ledger = self.ledger("routes:\n" + "".join(f'  - {{ name: {name}, match: "POST {up.url}/{name}", {more} }}\n' for name, more in (
            ("block", "on_duplicate: block"), ("tiny", "body_max: 4B"), ("big", "response_max: 1B"), ("keyed", 'key: "${body:/id}"'))))
        ledger.charge(up, path="/block")
        ledger.charge(up, path="/big")
        for answer, advice in ((ledger.charge(up, path="/block"), "stop"), (ledger.charge(up, path="/big"), "stop"), (ledger.charge(up, path="/tiny"), "fix"),
                               (ledger.charge(up, path="/keyed"), "fix"), (ledger.direct("POST", "/nowhere"), "fix"),
                               (ledger.proxied("POST", f"http://127.0.0.1:{closed_port()}/x"), "retry")):
            self.assertEqual((answer.slug, advice_of(answer)), (answer.slug, advice))

    def test_who_is_told_of_a_doubt_is_told_to_report_it_not_to_settle_it(self):
        up = self.upstream(lambda request, connection: reset(connection))
        ledger = self.ledger(guarded_route(up))
        first, repeat = ledger.charge(up), ledger.charge(up)
        self.assertEqual([(a.slug, a.status) for a in (first, repeat)], [("outcome-unknown", 502), ("in-doubt", 409)])
        for answer in (first, repeat):
            problem = answer.json()
            self.assertEqual((problem["advice"], problem["safe_to_retry"], problem["state"]), ("ask_a_person", False, "in_doubt"))
            self.assertEqual(problem["record"], answer["Ledger-Record"])
            self.assertIn(f"stop, and report record {problem['record']} to a person", problem["detail"])
            for word in ("resolve", "settle"):
                self.assertNotIn(word, json.dumps(problem))

    def test_an_answer_that_leaves_a_doubt_says_that_nobody_may_repeat_the_call_for_it(self):
        up = self.upstream(lambda request, connection: (500, {"x-should-retry": "true"}, b"oh"))
        ledger = self.ledger(guarded_route(up))
        for answer, status in ((ledger.charge(up), "executed"), (ledger.charge(up), "in-doubt")):
            self.assertEqual((answer.status, answer.body, answer.ledger), (500, b"oh", status))
            self.assertEqual([answer["stripe-should-retry"], answer["Ledger-Advice"]], ["false", "ask_a_person"])
            self.assertEqual([v for n, v in answer.headers if n.lower() == "x-should-retry"], ["false"])
        up.handler = lambda request, connection: (400, {"x-should-retry": "true"}, b"no")
        rejected = ledger.charge(up, b"other")
        self.assertEqual((rejected["x-should-retry"], rejected["Ledger-Advice"]), ("true", None))


if __name__ == "__main__":
    main()
