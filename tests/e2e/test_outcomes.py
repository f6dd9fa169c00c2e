"""Never "failed" when the truth is "unknown", and never sent twice on a guess."""
import pathlib
import socket
import ssl
import subprocess
import tempfile

from harness import Case, Gate, eventually, main, reset, statuses


def route(upstream, more=""):
    return f'routes: [ {{ name: charge, match: "POST {upstream.url}/**"{", " + more if more else ""} }} ]'


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Released(Case):
    def test_a_4xx_says_that_nothing_happened_and_the_next_call_is_sent(self):
        up = self.upstream(lambda r, c: (402, {}, b"no funds"))
        ledger = self.ledger(route(up))
        first = ledger.charge(up)
        self.assertEqual((first.status, first.body, first.ledger), (402, b"no funds", "executed"))
        up.handler = up.count_up
        second = ledger.charge(up)
        self.assertEqual((second.status, second.ledger, second["Ledger-Attempt"], up.effects), (200, "executed", "2", 2))

    def test_503_with_retry_after_releases(self):
        up = self.upstream(lambda r, c: (503, {"Retry-After": "1"}, b""))
        ledger = self.ledger(route(up))
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
        self.assertEqual(ledger.record(answer["Ledger-Key"])["state"], "released")
        self.assertEqual(up.effects, 0)

    def test_those_who_joined_share_the_rejection(self):
        up = self.upstream()
        gate = Gate(lambda r, c: (400, {}, b"bad"))
        up.handler = gate
        ledger = self.ledger(route(up))
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
        self.assertEqual((problem["safe_to_retry"], problem["state"], problem["key"]), (False, "in_doubt", key))
        self.assertEqual(again["x-should-retry"], "false")

    def test_a_500_is_given_as_it_came_and_held(self):
        up = self.upstream(lambda r, c: (500, {"X-Request": "7"}, b"oops"))
        ledger = self.ledger(route(up))
        first, second = ledger.charge(up), ledger.charge(up)
        self.assertEqual((first.status, first.body, first.ledger), (500, b"oops", "executed"))
        self.assertEqual((second.status, second.body, second["X-Request"], second.ledger), (500, b"oops", "7", "in-doubt"))
        self.assertEqual(up.effects, 1)

    def test_a_408_leaves_it_in_doubt(self):
        up = self.upstream(lambda r, c: (408, {}, b""))
        ledger = self.ledger(route(up))
        key = ledger.charge(up)["Ledger-Key"]
        self.assertEqual(ledger.record(key)["state"], "in_doubt")
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("in-doubt", 1))

    def test_a_reset_after_the_request_is_unknown(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(route(up))
        answer = ledger.charge(up)
        problem = answer.json()
        self.assertEqual((answer.status, answer.slug, answer.ledger), (502, "outcome-unknown", "executed"))
        self.assertEqual((problem["safe_to_retry"], problem["error"]["type"], problem["message"]), (False, "outcome-unknown", problem["detail"]))
        self.assertEqual(answer["Content-Type"], "application/problem+json")
        self.assert_in_doubt(ledger, up, answer["Ledger-Key"])

    def test_garbage_for_an_answer_is_unknown(self):
        def garbage(_request, connection):
            connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

        up = self.upstream(garbage)
        ledger = self.ledger(route(up))
        answer = ledger.charge(up)
        self.assertEqual((answer.status, answer.slug), (502, "outcome-unknown"))
        self.assert_in_doubt(ledger, up, answer["Ledger-Key"])

    def test_an_answer_that_breaks_is_broken_off_here_too_and_unknown(self):
        for framing in (b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
            def broken(_request, connection, framing=framing):
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing)

            up = self.upstream(broken)
            ledger = self.ledger(route(up))
            answer = ledger.charge(up)
            self.assertTrue(answer.broken or answer.status == 502, answer)
            self.assertEqual(ledger.records()[0]["state"], "in_doubt")
            self.assertEqual((ledger.charge(up).ledger, up.effects), ("in-doubt", 1))

    def test_the_caller_is_told_at_the_time_out_and_the_late_answer_settles_the_record(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(route(up, "timeout: 300ms"))
        answer = ledger.charge(up)
        self.assertEqual((answer.status, answer.slug, answer.json()["safe_to_retry"]), (504, "outcome-unknown", False))
        key = answer["Ledger-Key"]
        self.assert_in_doubt(ledger, up, key)
        gate.opened.set()
        eventually(lambda: ledger.record(key)["state"] == "completed", "the late answer")
        again = ledger.charge(up)
        self.assertEqual((again.ledger, again.status, up.effects), ("replayed", 200, 1))

    def test_a_kill_in_flight_is_in_doubt_at_once_after_the_restart(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(route(up))
        self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        ledger.kill()
        ledger.start()
        [record] = ledger.records()
        self.assertEqual(record["state"], "in_doubt")
        self.assert_in_doubt(ledger, up, record["id"])
        gate.opened.set()

    def test_outcomes_are_the_routes_to_say(self):
        up = self.upstream(lambda r, c: (404 if r.target == "/gone" else 500, {}, b""))
        ledger = self.ledger(route(up, "outcomes: { completed: [404], released: [500] }"))
        self.assertEqual([ledger.charge(up, path="/gone").ledger for _ in range(2)], ["executed", "replayed"])
        self.assertEqual([ledger.charge(up, path="/x").ledger for _ in range(2)], ["executed", "executed"])


class Resolved(Case):
    def doubtful(self, more=""):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(route(up, more))
        key = ledger.charge(up)["Ledger-Key"]
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

    def test_an_expired_doubt_is_forgotten_only_where_the_route_says_so(self):
        up, ledger, key = self.doubtful("in_doubt_ttl: 500ms")
        eventually(lambda: ledger.charge(up).ledger == "executed", "the doubt's expiry")
        self.assertEqual(up.effects, 2)


class UpstreamKey(Case):
    def test_it_replaces_the_sdk_s_key_and_stays_the_same_for_a_retry(self):
        up = self.upstream(lambda r, c: reset(c))
        ledger = self.ledger(route(up, "upstream_key: Idempotency-Key"))
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
        self.assertEqual(ledger.admin("DELETE", f"/api/records/{first['Ledger-Key']}").status, 204)
        ledger.direct("POST", "/s/x", b"a")
        keys = {r["Idempotency-Key"] for r in up.requests}
        self.assertEqual((len(keys), None in keys), (2, False))

    def test_a_409_is_unknown_there(self):
        up = self.upstream(lambda r, c: (409, {}, b"in progress"))
        ledger = self.ledger(route(up, "upstream_key: Idempotency-Key"))
        key = ledger.charge(up)["Ledger-Key"]
        self.assertEqual(ledger.record(key)["state"], "in_doubt")


class Certificates(Case):
    def certificate(self, subject_alt_name):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="ledger-tls-"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", directory / "key.pem", "-out", directory / "cert.pem", "-days", "2",
                        "-subj", "/CN=test", "-addext", f"subjectAltName={subject_alt_name}"],
                       check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
        return directory / "cert.pem", context

    def test_a_verified_upstream_is_called_over_tls(self):
        file, context = self.certificate("IP:127.0.0.1")
        up = self.upstream(tls=context)
        ledger = self.ledger(f'mounts: {{ /s: {{ upstream: "{up.url}" }} }}\ntls: {{ roots: ["{file}"] }}')
        answers = [ledger.direct("POST", "/s/x", b"{}") for _ in range(3)]
        self.assertEqual(([a.ledger for a in answers], up.effects), (["executed", "replayed", "replayed"], 1))

    def test_a_certificate_that_does_not_verify_was_not_sent_anything(self):
        file, context = self.certificate("DNS:elsewhere.example")
        up = self.upstream(tls=context)
        for roots in ("", f'\ntls: {{ roots: ["{file}"] }}'):
            ledger = self.ledger(f'mounts: {{ /s: {{ upstream: "{up.url}" }} }}{roots}')
            answer = ledger.direct("POST", "/s/x", b"{}")
            self.assertEqual((answer.status, answer.slug, answer.json()["safe_to_retry"]), (502, "upstream-unreachable", True))
            self.assertIn("certificate", answer.json()["detail"])
        self.assertEqual(up.effects, 0)


if __name__ == "__main__":
    main()
