"""Where the destination deduplicates, and where nothing was sent, Ledger sends again until it knows."""
from harness import Case, Gate, closed_port, eventually, guarded_route, main, reset


class UpstreamKey(Case):
    def test_it_replaces_the_sdk_s_key_and_stays_the_same_for_a_retry(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, timeout: 300ms"))
        random = "5c7f2a44-8ef5-4b45-a7a8-111111111111"
        first = ledger.charge(up, headers={"Idempotency-Key": random, "Authorization": "Bearer x"})
        self.assertEqual(first.slug, "outcome-unknown")
        up.handler = up.count_up
        second = ledger.charge(up, headers={"Idempotency-Key": random.replace("1", "2"), "Authorization": "Bearer x"})
        self.assertEqual((second.status, second.ledger), (200, "executed"))
        keys = [r["Idempotency-Key"] for r in up.requests]
        self.assertRegex(keys[0], "^[0-9a-f]{64}$")
        self.assertEqual(keys[0], keys[1])
        self.assertEqual([up.requests[0].body, up.requests[0]["Content-Type"]], [up.requests[1].body, up.requests[1]["Content-Type"]])
        self.assertEqual(ledger.charge(up, headers={"Authorization": "Bearer x"}).ledger, "replayed")

    def test_a_mount_gives_it_to_its_calls_and_a_fresh_execution_has_a_fresh_one(self):
        up = self.upstream()
        ledger = self.ledger(f'mounts: {{ /s: {{ upstream: "{up.url}", upstream_key: Idempotency-Key }} }}')
        first = ledger.direct("POST", "/s/x", b"a")
        self.assertEqual(ledger.admin("DELETE", f"/api/records/{first['Ledger-Record']}").status, 204)
        ledger.direct("POST", "/s/x", b"a")
        keys = {r["Idempotency-Key"] for r in up.requests}
        self.assertEqual((len(keys), None in keys), (2, False))

    def test_a_retry_sends_the_first_ones_bytes_with_this_callers_credentials(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, scope: none, timeout: 300ms"))
        ledger.charge(up, b'{"a":1,"b":2}', {"Authorization": "Bearer old"}, path="/c?x=1&y=2")
        up.handler = up.count_up
        again = ledger.charge(up, b'{ "b": 2.0, "a": 1 }', {"Authorization": "Bearer new"}, path="/c?y=2&x=1")
        self.assertEqual((again.status, again.ledger, again["Ledger-Attempt"]), (200, "executed", "2"))
        self.assertEqual({(r.target, r.body, r["Content-Type"], r["Idempotency-Key"]) for r in up.requests},
                         {("/c?x=1&y=2", b'{"a":1,"b":2}', "application/json", up.requests[0]["Idempotency-Key"])})
        self.assertEqual({r["Authorization"] for r in up.requests[:-1]}, {"Bearer old"})
        self.assertEqual(up.requests[-1]["Authorization"], "Bearer new")

    def test_a_retry_that_is_rejected_or_not_sent_leaves_the_doubt(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, timeout: 300ms"))
        key = ledger.charge(up)["Ledger-Record"]
        # It closes its connection: the next one must be refused.
        up.handler = lambda r, c: c.sendall(b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad")
        rejected = ledger.charge(up)
        self.assertEqual((rejected.status, ledger.record(key)["state"]), (400, "in_doubt"))
        up.close()
        not_sent = ledger.charge(up)
        # Nothing was sent this time, but the first sending is still in question.
        self.assertEqual((not_sent.status, not_sent.slug, not_sent.json()["safe_to_retry"]), (502, "outcome-unknown", False))
        self.assertEqual(ledger.record(key)["state"], "in_doubt")
        back = self.upstream(port=up.port)
        self.assertEqual((ledger.charge(up).status, ledger.record(key)["state"]), (200, "completed"))
        self.assertEqual(len({r["Idempotency-Key"] for r in up.requests + back.requests}), 1)

    def test_a_kill_in_flight_is_sent_again_under_the_same_key(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key"))
        self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        ledger.kill()
        gate.opened.set()
        ledger.start()
        self.assertEqual([ledger.charge(up).ledger for _ in range(2)], ["executed", "replayed"])
        self.assertEqual((up.effects, len({r["Idempotency-Key"] for r in up.requests})), (2, 1))

    def test_past_the_keys_life_at_the_upstream_nothing_is_sent_again(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, upstream_key_ttl: 500ms"))
        ledger.charge(up)
        held = eventually(lambda: (a := ledger.charge(up)).ledger == "in-doubt" and a, "the key's end")
        self.assertEqual((held.status, held.slug), (409, "in-doubt"))
        sent = up.effects
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("in-doubt", sent))

    def test_every_fresh_execution_has_a_key_of_its_own(self):
        up = self.upstream(lambda r, c: (400, {}, b""))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, max: 2, in_doubt: hold"))
        ledger.charge(up)  # released
        up.handler = up.count_up
        ledger.charge(up)
        up.handler = lambda r, c: reset(c)
        key = ledger.charge(up)["Ledger-Record"]  # below max; in doubt
        self.assertEqual(ledger.charge(up).ledger, "in-doubt")
        ledger.admin("POST", f"/api/records/{key}/resolve", {"verdict": "not_executed"})
        up.handler = up.count_up
        self.assertEqual([ledger.charge(up).ledger for _ in range(2)], ["executed", "replayed"])
        self.assertEqual((up.effects, len({r["Idempotency-Key"] for r in up.requests})), (4, 4))

    def test_a_409_is_unknown_there(self):
        up = self.upstream(lambda r, c: (409, {}, b"in progress"))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, timeout: 300ms"))
        answer = ledger.charge(up)
        self.assertEqual((answer.status, answer.body), (409, b"in progress"))
        self.assertEqual(ledger.record(answer["Ledger-Record"])["state"], "in_doubt")


class SentAgain(Case):
    """Ledger itself sends again, where the upstream deduplicates and where nothing was sent."""

    def flaky(self, *answers):
        """Each handler in turn, then the counting one."""
        left = list(answers)
        up = self.upstream()
        up.handler = lambda r, c: (left.pop(0) if left else up.count_up)(r, c)
        return up

    def test_lost_answers_are_asked_for_until_the_answer_comes(self):
        up = self.flaky(lambda r, c: reset(c), lambda r, c: (500, {}, b"oops"), lambda r, c: (409, {}, b"in progress"),
                        lambda r, c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key"))
        answer = ledger.charge(up)
        self.assertEqual((answer.status, answer.ledger, answer.json()["n"]), (200, "executed", 5))
        self.assertEqual((len(up.requests), len({r["Idempotency-Key"] for r in up.requests})), (5, 1))
        record = ledger.record(answer["Ledger-Record"])
        self.assertEqual((record["state"], record["attempts"], record["executed"]), ("completed", 1, 1))
        self.assertIn("sent_again", [entry["event"] for entry in record["history"]])
        self.assertEqual(ledger.charge(up).body, answer.body)

    def test_nothing_of_an_answer_that_may_still_fail_reaches_the_client(self):
        def halves(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            reset(connection)

        up = self.flaky(halves)
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key"))
        self.assertNotIn(b"first", ledger.charge(up).body)

    def test_those_who_join_share_the_answer_that_came_in_the_end(self):
        up = self.upstream()
        gate = Gate(lambda r, c: reset(c))
        left = [gate]
        up.handler = lambda r, c: (left.pop(0) if left else up.count_up)(r, c)
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key"))
        calls = self.in_parallel(*[lambda: ledger.charge(up)] * 5)
        gate.wait_for_call()
        eventually(lambda: ledger.metric("ledger_waiters") == 4, "4 calls wait")
        gate.opened.set()
        self.assertEqual(({a.status for a in calls.get()}, len(up.requests)), ({200}, 2))

    def test_a_4xx_after_a_lost_answer_proves_nothing(self):
        up = self.flaky(lambda r, c: reset(c), lambda r, c: (400, {}, b"bad"))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key"))
        answer = ledger.charge(up)
        self.assertEqual((answer.status, ledger.record(answer["Ledger-Record"])["state"]), (400, "in_doubt"))

    def test_a_500_that_stays_is_given_after_a_few_tries(self):
        up = self.upstream(lambda r, c: (500, {}, b"oops"))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key"))
        answer = ledger.charge(up)
        self.assertEqual((answer.status, answer.body, len(up.requests)), (500, b"oops", 6))

    def test_past_the_time_out_nothing_is_sent_again(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, timeout: 250ms"))
        answer = ledger.charge(up)
        self.assertEqual((answer.slug, answer.json()["safe_to_retry"]), ("outcome-unknown", False))
        self.assertEqual(len(up.requests), 2)

    def test_where_a_route_holds_it_is_sent_once(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, "upstream_key: Idempotency-Key, in_doubt: hold"))
        self.assertEqual((ledger.charge(up).slug, len(up.requests)), ("outcome-unknown", 1))

    def test_a_destination_that_comes_up_in_time_is_reached_on_any_route(self):
        port = closed_port()
        ledger = self.ledger(f'routes: [ {{ name: charge, match: "POST http://127.0.0.1:{port}/**", retries: 10 }} ]')
        call = self.in_parallel(lambda: ledger.proxied("POST", f"http://127.0.0.1:{port}/x", b"{}"))
        eventually(lambda: ledger.metric("ledger_executions_in_flight") == 1, "the execution")
        up = self.upstream(port=port)
        self.assertEqual((call.get()[0].status, up.effects), (200, 1))

    def test_one_that_does_not_is_told_after_the_routes_retries(self):
        for retries in (0, 1):
            ledger = self.ledger(f"defaults: {{ retries: {retries} }}")
            answer = ledger.proxied("POST", f"http://127.0.0.1:{closed_port()}/x", b"{}")
            self.assertEqual((answer.slug, answer.json()["safe_to_retry"]), ("upstream-unreachable", True))

    def test_the_key_may_be_a_member_of_the_body_and_is_no_identity(self):
        up = self.flaky(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, 'upstream_key: "body:/idempotency_key"'))
        bodies = [b'{"idempotency_key": "%d", "amount": 9007199254740993, "note": 1.50 }' % i for i in range(3)]
        answers = [ledger.charge(up, body) for body in bodies]
        self.assertEqual([a.ledger for a in answers], ["executed", "replayed", "replayed"])
        sent = [r.body for r in up.requests]
        self.assertEqual((len(sent), len(set(sent))), (2, 1))
        self.assertRegex(sent[0], rb'^\{"idempotency_key": "[0-9a-f]{64}", "amount": 9007199254740993, "note": 1.50 \}$')
        added = ledger.charge(up, b'{"amount":1}')
        self.assertRegex(up.requests[-1].body, rb'^\{"idempotency_key":"[0-9a-f]{64}","amount":1\}$')
        self.assertEqual(added.ledger, "executed")
        for body in (b"[1]", b"{", b'{"idempotency_key":1,"idempotency_key":2}'):
            refused = ledger.charge(up, body)
            self.assertEqual((refused.status, refused.slug), (400, "key-missing"))

    def test_the_key_may_be_a_field_of_a_form(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up, 'upstream_key: "form:key"'))
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answers = [ledger.proxied("POST", up.url + "/x", body, form) for body in (b"amount=49&key=a&x=1", b"x=1&amount=49&key=b", b"amount=49&x=1")]
        self.assertEqual([a.ledger for a in answers], ["executed", "replayed", "replayed"])
        self.assertRegex(up.requests[0].body, rb"^amount=49&key=[0-9a-f]{64}&x=1$")


if __name__ == "__main__":
    main()
