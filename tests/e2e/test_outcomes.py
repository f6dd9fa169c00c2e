"""Never "failed" when the truth is "unknown", and never sent twice on a guess."""
import socket
import ssl
import threading

from harness import Case, DEADLINE, Gate, closed_port, eventually, guarded_route, main, request_bytes, reset, statuses


class Released(Case):
    def test_a_4xx_says_that_nothing_happened_and_the_next_call_is_sent(self):
        up = self.upstream(lambda r, c: (402, {}, b"no funds"))
        ledger = self.ledger(guarded_route(up))
        first = ledger.charge(up)
        self.assertEqual((first.status, first.body, first.ledger), (402, b"no funds", "executed"))
        up.handler = up.count_up
        second = ledger.charge(up)
        self.assertEqual((second.status, second.ledger, second["Ledger-Attempt"], up.effects), (200, "executed", "2", 2))

    def test_503_with_retry_after_releases(self):
        up = self.upstream(lambda r, c: (503, {"Retry-After": "1"}, b""))
        ledger = self.ledger(guarded_route(up))
        self.assertEqual([ledger.charge(up).ledger for _ in range(2)], ["executed", "executed"])
        self.assertEqual(up.effects, 2)

    def test_a_refused_connection_was_not_sent_and_is_safe_to_retry(self):
        up = self.upstream()
        ledger = self.ledger('routes: [ { name: r, match: "POST http://127.0.0.1/**" } ]')
        dead = f"http://127.0.0.1:{closed_port()}/x"
        answer = ledger.proxied("POST", dead, b"{}")
        problem = answer.json()
        self.assertEqual((answer.status, answer.slug, problem["safe_to_retry"], answer["x-should-retry"]), (502, "upstream-unreachable", True, None))
        self.assertIn("refused", problem["detail"])
        self.assertEqual(ledger.record(answer["Ledger-Record"])["state"], "released")
        self.assertEqual(up.effects, 0)

    def test_once_the_destination_is_there_the_same_call_goes_through(self):
        port = closed_port()
        ledger = self.ledger()
        url = f"http://127.0.0.1:{port}/x"
        dead = [ledger.proxied("POST", url, b"{}") for _ in range(2)]
        self.assertEqual([(a.status, a.slug, a.ledger) for a in dead], [(502, "upstream-unreachable", "unsent")] * 2)
        up = self.upstream(port=port)
        alive = [ledger.proxied("POST", url, b"{}") for _ in range(2)]
        self.assertEqual([(a.status, a.ledger) for a in alive], [(200, "executed"), (200, "replayed")])
        self.assertEqual((up.effects, {a["Ledger-Record"] for a in dead + alive}), (1, {dead[0]["Ledger-Record"]}))

    def test_those_who_joined_share_the_rejection(self):
        up = self.upstream()
        gate = Gate(lambda r, c: (400, {}, b"bad"))
        up.handler = gate
        ledger = self.ledger(guarded_route(up))
        calls = self.in_parallel(*[lambda: ledger.charge(up)] * 5)
        gate.wait_for_call()
        eventually(lambda: ledger.metric("ledger_waiters") == 4, "4 calls wait")
        gate.opened.set()
        answers = calls.get()
        self.assertEqual((statuses(answers), {a.status for a in answers}, up.effects), ({"executed": 1, "joined": 4}, {400}, 1))


class Unknown(Case):
    def assert_in_doubt(self, ledger, up, key):
        self.assertEqual(ledger.record(key)["state"], "in_doubt")
        again = ledger.charge(up)
        self.assertEqual((again.status, again.slug, again.ledger, up.effects), (409, "in-doubt", "in-doubt", 1))
        problem = again.json()
        self.assertEqual((problem["safe_to_retry"], problem["state"], problem["record"]), (False, "in_doubt", key))
        self.assertEqual(again["x-should-retry"], "false")

    def test_a_500_is_given_as_it_came_and_held(self):
        up = self.upstream(lambda r, c: (500, {"X-Request": "7"}, b"oops"))
        ledger = self.ledger(guarded_route(up))
        first, second = ledger.charge(up), ledger.charge(up)
        self.assertEqual((first.status, first.body, first.ledger), (500, b"oops", "executed"))
        self.assertEqual((second.status, second.body, second["X-Request"], second.ledger), (500, b"oops", "7", "in-doubt"))
        self.assertEqual(up.effects, 1)

    def test_a_408_leaves_it_in_doubt(self):
        up = self.upstream(lambda r, c: (408, {}, b""))
        ledger = self.ledger(guarded_route(up))
        key = ledger.charge(up)["Ledger-Record"]
        self.assertEqual(ledger.record(key)["state"], "in_doubt")
        again = ledger.charge(up)  # not 408: SDKs take that for "send it again"
        self.assertEqual((again.status, again.slug, again.ledger, up.effects), (409, "in-doubt", "in-doubt", 1))

    def test_a_reset_after_the_request_is_unknown(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up))
        answer = ledger.charge(up)
        problem = answer.json()
        self.assertEqual((answer.status, answer.slug, answer.ledger), (502, "outcome-unknown", "executed"))
        self.assertEqual((problem["safe_to_retry"], problem["error"]["type"], problem["message"]), (False, "outcome-unknown", problem["detail"]))
        self.assertEqual(answer["Content-Type"], "application/problem+json")
        self.assert_in_doubt(ledger, up, answer["Ledger-Record"])

    def test_garbage_for_an_answer_is_unknown(self):
        def garbage(_request, connection):
            connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

        up = self.upstream(garbage)
        ledger = self.ledger(guarded_route(up))
        answer = ledger.charge(up)
        self.assertEqual((answer.status, answer.slug), (502, "outcome-unknown"))
        self.assert_in_doubt(ledger, up, answer["Ledger-Record"])

    def test_an_answer_that_breaks_is_broken_off_here_too_and_unknown(self):
        for framing in (b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
            def broken(_request, connection, framing=framing):
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing)

            up = self.upstream(broken)
            ledger = self.ledger(guarded_route(up))
            answer = ledger.charge(up)
            self.assertTrue(answer.broken or answer.status == 502, answer)
            self.assertEqual(ledger.records()[0]["state"], "in_doubt")
            self.assertEqual((ledger.charge(up).ledger, up.effects), ("in-doubt", 1))

    def test_a_client_that_has_the_head_never_gets_an_answer_that_looks_whole(self):
        endings = {"closed": lambda c: None, "reset": reset}
        framings = {"length": b"Content-Length: 100\r\n\r\nhalf", "chunked": b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"}
        for name, end, framing in [(f"{f}, {e}", endings[e], framings[f]) for e in endings for f in framings]:
            go_on = threading.Event()

            def broken(_request, connection, end=end, framing=framing, go_on=go_on):
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing)
                go_on.wait(DEADLINE)
                end(connection)

            with self.subTest(name):
                up = self.upstream(broken)
                ledger = self.ledger(guarded_route(up))
                got = b""
                with socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as client:
                    client.sendall(request_bytes("POST", up.url + "/v1/charges", "x", {"Content-Type": "application/json"}, b'{"amount":49}'))
                    while b"half" not in got:
                        got += client.recv(4096)
                    go_on.set()
                    try:
                        while more := client.recv(4096):
                            got += more
                    except ConnectionError:
                        pass
                head, body = got.split(b"\r\n\r\n", 1)
                self.assertIn(b" 200 ", head.split(b"\r\n")[0] + b" ")
                self.assertLess(len(body), 100)
                self.assertFalse(body.endswith(b"0\r\n\r\n"), body)
                self.assert_in_doubt(ledger, up, ledger.records()[0]["id"])

    def test_those_who_joined_share_the_doubt(self):
        up = self.upstream()
        gate = Gate(lambda r, c: reset(c))
        up.handler = gate
        ledger = self.ledger(guarded_route(up))
        calls = self.in_parallel(*[lambda: ledger.charge(up)] * 4)
        gate.wait_for_call()
        eventually(lambda: ledger.metric("ledger_waiters") == 3, "3 calls wait")
        gate.opened.set()
        answers = calls.get()
        self.assertEqual((statuses(answers), up.effects), ({"executed": 1, "joined": 3}, 1))
        self.assertEqual({(a.status, a.slug, a.json()["safe_to_retry"], a["x-should-retry"]) for a in answers},
                         {(502, "outcome-unknown", False, "false")})

    def test_a_late_answer_does_not_pass_the_fence_of_a_later_execution(self):
        late, read, calls = threading.Event(), threading.Event(), []

        def handler(request, connection):
            calls.append(request)
            if len(calls) > 1:
                return 200, {}, b"second"
            late.wait(DEADLINE)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst")
            connection.recv(1)  # until the proxy has read it and closed
            read.set()
            return None

        up = self.upstream(handler)
        ledger = self.ledger(guarded_route(up, "timeout: 300ms"))
        key = ledger.charge(up)["Ledger-Record"]
        self.assertEqual(ledger.admin("POST", f"/api/records/{key}/resolve", {"verdict": "not_executed"}).status, 200)
        second = ledger.charge(up)
        self.assertEqual((second.body, second.ledger), (b"second", "executed"))
        late.set()
        self.assertTrue(read.wait(DEADLINE))
        again = ledger.charge(up)
        self.assertEqual((again.body, again.ledger, up.effects), (b"second", "replayed", 2))

    def test_the_caller_is_told_at_the_time_out_and_the_late_answer_settles_the_record(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(guarded_route(up, "timeout: 300ms"))
        answer = ledger.charge(up)
        self.assertEqual((answer.status, answer.slug, answer.json()["safe_to_retry"]), (504, "outcome-unknown", False))
        key = answer["Ledger-Record"]
        self.assert_in_doubt(ledger, up, key)
        gate.opened.set()
        eventually(lambda: ledger.record(key)["state"] == "completed", "the late answer")
        again = ledger.charge(up)
        self.assertEqual((again.ledger, again.status, up.effects), ("replayed", 200, 1))

    def test_a_kill_in_flight_is_in_doubt_at_once_after_the_restart(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(guarded_route(up))
        self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        ledger.kill()
        ledger.start()
        [record] = ledger.records()
        self.assertEqual(record["state"], "in_doubt")
        self.assert_in_doubt(ledger, up, record["id"])
        gate.opened.set()

    def test_who_waits_for_another_proxy_that_dies_is_told_at_once(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        one = self.ledger(guarded_route(up))
        two = self.ledger(guarded_route(up), store=one.store)
        self.in_parallel(lambda: one.charge(up))
        gate.wait_for_call()
        waiting = self.in_parallel(*[lambda: two.charge(up)] * 2)
        eventually(lambda: two.metric("ledger_waiters") == 1, "both calls are in the second proxy")
        one.kill()
        self.assertEqual([(a.status, a.slug, a.ledger) for a in waiting.get()], [(409, "in-doubt", "in-doubt")] * 2)
        self.assert_in_doubt(two, up, two.records()[0]["id"])
        gate.opened.set()

    def test_outcomes_are_the_routes_to_say(self):
        up = self.upstream(lambda r, c: (404 if r.target == "/gone" else 500, {}, b""))
        ledger = self.ledger(guarded_route(up, "outcomes: { completed: [404], released: [500] }"))
        self.assertEqual([ledger.charge(up, path="/gone").ledger for _ in range(2)], ["executed", "replayed"])
        self.assertEqual([ledger.charge(up, path="/x").ledger for _ in range(2)], ["executed", "executed"])


    def test_a_single_status_beats_its_class(self):
        def handler(request, _connection):
            return int(request.target[1:4]), {"Retry-After": "1"} if "later" in request.target else {}, b""

        up = self.upstream(handler)
        ledger = self.ledger(guarded_route(up, "outcomes: { completed: [409], in_doubt: [202, 4xx], released: [404, 502] }"))
        for path, expected in (("/200", "replayed"), ("/202", "in-doubt"), ("/409", "replayed"), ("/400", "in-doubt"),
                               ("/404", "executed"), ("/502", "executed"), ("/503later", "executed"), ("/503", "in-doubt"), ("/500", "in-doubt")):
            self.assertEqual((path, [ledger.charge(up, path=path).ledger for _ in range(2)]), (path, ["executed", expected]))
        named = self.ledger(guarded_route(up, "outcomes: { in_doubt: [503] }"))
        self.assertEqual([named.charge(up, path="/503later").ledger for _ in range(2)], ["executed", "in-doubt"])


class Problems(Case):
    def assert_problem(self, answer, slug, status, safe, state, route="charge", record=True):
        problem = answer.json()
        self.assertEqual((answer.status, answer["Content-Type"]), (status, "application/problem+json"))
        known = {"type", "title", "status", "detail", "safe_to_retry", "advice", "message", "error"}
        known |= ({"record"} if record else set()) | ({"route"} if route else set()) | ({"state"} if state else set())
        self.assertEqual((slug, set(problem)), (slug, known))
        self.assertEqual([problem["type"], problem["status"], problem["safe_to_retry"], problem.get("state"), problem.get("route")],
                         ["urn:ledger:" + slug, status, safe, state, route])
        self.assertTrue(problem["title"] and problem["detail"])
        self.assertEqual(problem["message"], problem["detail"])
        self.assertEqual(problem["error"], {"type": slug, "code": slug, "message": problem["detail"]})
        self.assertEqual(problem.get("record"), answer["Ledger-Record"])
        self.assertEqual(answer["Ledger-Route"], route)
        should = None if safe else "false"
        self.assertEqual((answer["x-should-retry"], answer["stripe-should-retry"]), (should, should))
        self.assertIsNotNone(answer["Via"])

    def test_every_problem_says_what_it_is_in_the_words_of_each_kind_of_reader(self):
        up = self.upstream()
        ledger = self.ledger("routes:\n" + "".join(
            f'  - {{ name: {name}, match: "POST {up.url}/{name}"{", " + more if more else ""} }}\n' for name, more in (
                ("block", "on_duplicate: block"), ("tiny", "body_max: 4B"), ("big", "response_max: 4B"),
                ("keyed", 'key: "${body:/id}"'), ("slow", "timeout: 200ms, on_in_flight: refuse"), ("charge", ""))))
        ledger.charge(up, path="/block")
        self.assert_problem(ledger.charge(up, path="/block"), "duplicate-blocked", 409, False, "completed", "block")
        self.assert_problem(ledger.charge(up, path="/tiny"), "body-too-large", 413, False, None, "tiny", record=False)
        ledger.charge(up, path="/big")
        self.assert_problem(ledger.charge(up, path="/big"), "answer-not-stored", 409, False, "completed", "big")
        self.assert_problem(ledger.charge(up, path="/keyed"), "key-missing", 400, False, None, "keyed", record=False)
        ledger.charge(up, path="/charge", headers={"Ledger-Key": "a"})
        self.assert_problem(ledger.charge(up, b"other", path="/charge", headers={"Ledger-Key": "a"}), "key-reused", 422, False, "completed")
        gate = Gate(up.count_up)
        up.handler = gate
        first = self.in_parallel(lambda: ledger.charge(up, path="/charge"))
        gate.wait_for_call()
        waited = self.in_parallel(lambda: ledger.charge(up, path="/slow"))
        gate.wait_for_call()
        self.assert_problem(waited.get()[0], "outcome-unknown", 504, False, "in_doubt", "slow")
        gate.opened.set()
        first.get()
        up.handler = lambda r, c: reset(c)
        self.assert_problem(ledger.charge(up, b"x", path="/charge"), "outcome-unknown", 502, False, "in_doubt")
        self.assert_problem(ledger.charge(up, b"x", path="/charge"), "in-doubt", 409, False, "in_doubt")
        self.assert_problem(ledger.proxied("POST", f"http://127.0.0.1:{closed_port()}/"), "upstream-unreachable", 502, True, "released", route=None)

    def test_what_is_still_in_flight_is_said_with_a_time_to_come_back(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(guarded_route(up, "on_in_flight: refuse"))
        first = self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        answer = ledger.charge(up)
        self.assert_problem(answer, "in-flight", 409, True, "in_flight")
        self.assertRegex(answer["Retry-After"], "^[1-9][0-9]*$")
        gate.opened.set()
        first.get()


class Resolved(Case):
    def doubtful(self, more=""):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(guarded_route(up, more))
        key = ledger.charge(up)["Ledger-Record"]
        up.handler = up.count_up
        return up, ledger, key

    def test_executed_without_a_response_is_not_sent_again(self):
        up, ledger, key = self.doubtful()
        answer = ledger.admin("POST", f"/api/records/{key}/resolve", {"verdict": "executed"})
        self.assertEqual((answer.status, answer.json()["state"]), (200, "completed"))
        again = ledger.charge(up)
        self.assertEqual((again.status, again.slug, up.effects), (409, "answer-not-stored", 1))
        twice = ledger.admin("POST", f"/api/records/{key}/resolve", {"verdict": "executed"})
        self.assertEqual(twice.status, 409)

    def test_executed_with_a_response_is_replayed(self):
        up, ledger, key = self.doubtful()
        response = {"status": 201, "headers": {"X-By": "hand"}, "body": {"id": "ch_1"}}
        ledger.admin("POST", f"/api/records/{key}/resolve", {"verdict": "executed", "response": response})
        again = ledger.charge(up)
        self.assertEqual((again.status, again.json(), again["X-By"], again.ledger, up.effects), (201, {"id": "ch_1"}, "hand", "replayed", 1))

    def test_not_executed_lets_the_next_call_run(self):
        up, ledger, key = self.doubtful()
        answer = ledger.admin("POST", f"/api/records/{key}/resolve", {"verdict": "not_executed"})
        self.assertEqual(answer.json()["state"], "released")
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("executed", 2))

    def test_a_recorded_500_that_was_resolved_as_executed_is_not_given_any_more(self):
        up = self.upstream(lambda r, c: (500, {}, b"oops"))
        ledger = self.ledger(guarded_route(up))
        key = ledger.charge(up)["Ledger-Record"]
        self.assertEqual(ledger.admin("POST", f"/api/records/{key}/resolve", {"verdict": "executed"}).status, 200)
        again = ledger.charge(up)
        self.assertEqual((again.status, again.slug, up.effects), (409, "answer-not-stored", 1))

    def test_only_what_is_in_doubt_can_be_resolved(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))

        def resolve(key, verdict="not_executed"):
            return ledger.admin("POST", f"/api/records/{key}/resolve", {"verdict": verdict}).status

        completed = ledger.charge(up)["Ledger-Record"]
        up.handler = lambda r, c: (400, {}, b"")
        released = ledger.charge(up, b"2")["Ledger-Record"]
        gate = Gate(up.count_up)
        up.handler = gate
        calls = self.in_parallel(lambda: ledger.charge(up, b"3"))
        gate.wait_for_call()
        [running] = [r["id"] for r in ledger.records() if r["state"] == "in_flight"]
        self.assertEqual([resolve(k) for k in (completed, released, running, "0" * 64)], [409, 409, 409, 404])
        self.assertEqual(ledger.admin("DELETE", f"/api/records/{running}").status, 409)
        gate.opened.set()
        calls.get()
        self.assertEqual((ledger.charge(up).ledger, ledger.charge(up, b"3").ledger, up.effects), ("replayed", "replayed", 3))

    def test_a_verdict_that_is_none_settles_nothing(self):
        up, ledger, key = self.doubtful()
        self.assertEqual(ledger.admin("POST", f"/api/records/{key}/resolve", {"verdict": "perhaps"}).status, 400)
        self.assertEqual((ledger.record(key)["state"], ledger.charge(up).slug, up.effects), ("in_doubt", "in-doubt", 1))

    def test_an_expired_doubt_is_forgotten_only_where_the_route_says_so(self):
        up, ledger, key = self.doubtful("in_doubt_ttl: 500ms")
        eventually(lambda: ledger.charge(up).ledger == "executed", "the doubt's expiry")
        self.assertEqual(up.effects, 2)


class Upstreams(Case):
    def setUp(self):
        self.tls = self.certificates()
        self.roots = f'tls: {{ roots: ["{self.tls.ca}"] }}'

    def test_one_whose_certificate_a_local_ca_signed_is_called_over_tls(self):
        up = self.upstream(tls=self.tls.server())
        mounts = f'mounts: {{ /s: {{ upstream: "{up.url}" }} }}'
        stranger, friend = self.ledger(mounts), self.ledger(f"{mounts}\n{self.roots}")
        refused = stranger.direct("POST", "/s/x", b"{}")
        self.assertEqual((refused.slug, refused.json()["safe_to_retry"], up.effects), ("upstream-unreachable", True, 0))
        self.assertIn("certificate", refused.json()["detail"])
        answers = [friend.direct("POST", "/s/x", b"{}") for _ in range(3)]
        self.assertEqual(([a.ledger for a in answers], up.effects), (["executed", "replayed", "replayed"], 1))

    def test_a_certificate_for_another_name_is_not_sent_anything(self):
        up = self.upstream(tls=self.tls.server("DNS:elsewhere.example"))
        ledger = self.ledger(f'mounts: {{ /s: {{ upstream: "{up.url}" }} }}\n{self.roots}')
        answers = [ledger.direct("POST", "/s/x", b"{}") for _ in range(2)]
        self.assertEqual([a.slug for a in answers], ["upstream-unreachable"] * 2)
        self.assertEqual((answers[0].json()["safe_to_retry"], up.requests), (True, []))

    def test_one_that_a_mount_calls_insecurely_is_believed_whoever_it_is_and_the_log_warns(self):
        up = self.upstream(tls=self.tls.server("DNS:elsewhere.example"))
        ledger = self.ledger(f'mounts: {{ /s: {{ upstream: "{up.url}", insecure: true }}, /v: {{ upstream: "{up.url}" }} }}')
        verified = ledger.direct("POST", "/v/x", b"{}")
        insecure = [ledger.direct("POST", "/s/x", b"{}") for _ in range(2)]
        self.assertEqual((verified.slug, [a.ledger for a in insecure]), ("upstream-unreachable", ["executed", "replayed"]))
        # The connection that nobody verified carries no verified mount's calls.
        self.assertEqual(ledger.direct("POST", "/v/y", b"{}").slug, "upstream-unreachable")
        self.assertIn("INSECURE", (ledger.directory / "log").read_text())

    def test_one_that_asks_for_a_certificate_is_shown_ours(self):
        context = self.tls.server()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.tls.ca)
        up = self.upstream(tls=context)
        cert, key = self.tls.leaf("client", "DNS:client")
        mount = f'mounts: {{ /s: {{ upstream: "{up.url}" }} }}'
        ours = f'tls: {{ roots: ["{self.tls.ca}"], client_cert: "{cert}", client_key: "{key}" }}'
        known, unknown = self.ledger(f"{mount}\n{ours}"), self.ledger(f"{mount}\n{self.roots}")
        self.assertEqual((known.direct("POST", "/s/x", b"{}").ledger, up.effects), ("executed", 1))
        self.assertIn(unknown.direct("POST", "/s/x", b"{}").status, (502, 504))
        self.assertEqual(up.effects, 1)


if __name__ == "__main__":
    main()
