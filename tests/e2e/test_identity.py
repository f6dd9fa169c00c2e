"""What makes two calls the same."""
import gzip
import zlib

from harness import Case, Gate, main, reset

UUID = "8f14e45f-ceea-467f-a0e6-1b2c3d4e5f60"


class Identity(Case):
    def setUp(self):
        self.up = self.upstream()

    def proxy(self, more=""):
        more = f", {more}" if more else ""
        return self.ledger(f'routes: [ {{ name: r, match: "POST {self.up.url}/**"{more} }} ]')

    def effects(self, ledger, *calls, path="/x"):
        """How many effects these calls have: (body, headers) each, or a body alone, or (path, body, headers)."""
        before = self.up.effects
        for call in calls:
            call = call if isinstance(call, tuple) else (call, {})
            where, body, headers = call if len(call) == 3 else (path, *call)
            user = headers.pop("user", None) if isinstance(headers, dict) else None
            answer = ledger.proxied("POST", self.up.url + where, body, headers, user=user)
            self.assertEqual(answer.status, 200, answer)
        return self.up.effects - before

    def json(self, text):
        return (text.encode(), {"Content-Type": "application/json; charset=utf-8"})

    def test_json_is_compared_by_value(self):
        ledger = self.proxy()
        same = [('{"a":49,"b":[1,2]}', ' { "b" : [1.0, 2e0] , "a":4.9e1 }'), ('{"x":0.1}', '{"x":0.10000000000000001}'),
                ('{"price":49.99}', '{"price":49.989999999999995}'), ('{"sum":0.3}', '{"sum":0.30000000000000004}'),
                ('{"s":"\\u00e9\\/"}', '{"s":"é/"}'), ('{"z":-0}', '{"z":0.0}'), ('{"e":1e400}', '{"e":10e399}')]
        for one, other in same:
            self.assertEqual(self.effects(ledger, self.json(one), self.json(other)), 1, (one, other))
        different = [("9007199254740993", "9007199254740992"), ("[1,2]", "[2,1]"), ('"1"', "1"), ("0.000000001", "0"),
                     ('{"a":1}', '{"a":1,"b":null}'), ('"é"', '"e\u0301"'), ("true", "false")]
        for one, other in different:
            self.assertEqual(self.effects(ledger, self.json(one), self.json(other)), 2, (one, other))

    def test_exact_floats_are_the_routes_to_ask_for(self):
        ledger = self.proxy("float_digits: exact")
        self.assertEqual(self.effects(ledger, self.json("[0.1]"), self.json("[0.10000000000000001]")), 2)

    def test_what_is_not_canonical_json_is_its_exact_bytes(self):
        ledger = self.proxy()
        for text in ('{"a":1,"a":2}', "[" * 129 + "]" * 129, '{"a":1', '"\\ud800"'):
            self.assertEqual(self.effects(ledger, self.json(text), self.json(text), self.json(text + " ")), 2, text)

    def test_forms_and_queries_are_compared_by_their_fields(self):
        ledger = self.proxy()
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        self.assertEqual(self.effects(ledger, (b"a=1&b=x+y&a=2", form), (b"b=x%20y&a=1&a=2", form)), 1)
        self.assertEqual(self.effects(ledger, (b"a=2&a=1", form), (b"a=1&a=2", form)), 2)
        self.assertEqual(self.effects(ledger, ("/q?b=2&a=1", b"", {}), ("/q?a=1&b=2", b"", {}), ("/%71?a=%31&b=2", b"", {}), ("/z/../q?a=1&b=2", b"", {})), 1)

    def test_multipart_is_compared_without_its_boundary(self):
        ledger = self.proxy()

        def upload(boundary, content, filename="a.txt"):
            body = (f"--{boundary}\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\nbob\r\n--{boundary}\r\n"
                    f"Content-Disposition: form-data; name=\"f\"; filename=\"{filename}\"\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--{boundary}--\r\n")
            return body.encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}

        self.assertEqual(self.effects(ledger, upload("aaa", "hi"), upload('"b-b"'.strip('"'), "hi")), 1)
        self.assertEqual(self.effects(ledger, upload("aaa", "ho"), upload("aaa", "hu"), upload("aaa", "ho", "b.txt")), 3)

    def test_a_compressed_body_is_what_it_holds(self):
        ledger = self.proxy()
        packed = (gzip.compress(b'{"a": 5}'), {"Content-Type": "application/json", "Content-Encoding": "gzip"})
        self.assertEqual(self.effects(ledger, packed, self.json('{"a":5}')), 1)
        self.assertEqual(self.up.requests[-1].body, packed[0])
        deflated = (zlib.compress(b'{"a": 5.0}'), {"Content-Type": "application/json", "Content-Encoding": "deflate"})
        self.assertEqual(self.effects(ledger, deflated, self.json('{"a":5}')), 0)

    def test_ignored_fields_vary_freely(self):
        ledger = self.proxy('ignore: ["body:/trace", "body:/items/*/at", "form:metadata[id]", "query:ts"]')
        self.assertEqual(self.effects(ledger, self.json('{"a":1,"trace":"x","items":[{"at":1,"n":1}]}'), self.json('{"a":1,"items":[{"n":1,"at":2}]}')), 1)
        self.assertEqual(self.effects(ledger, self.json('{"items":[{"n":1}]}'), self.json('{"items":[{"n":2}]}')), 2)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        self.assertEqual(self.effects(ledger, (b"a=1&metadata%5Bid%5D=7", form), (b"a=1&metadata[id]=8", form)), 1)
        self.assertEqual(self.effects(ledger, ("/q?ts=1&a=1", b"", {}), ("/q?a=1&ts=2", b"", {})), 1)

    def test_a_keys_template_names_the_effect(self):
        ledger = self.ledger(f'routes: [ {{ name: r, match: "POST {self.up.url}/o/{{id}}", key: "order-${{path:id}}-${{body:/n}}-${{header:X-T}}" }} ]')
        headers = {"Content-Type": "application/json", "X-T": "t"}
        url = self.up.url + "/o/7"
        first = ledger.proxied("POST", url, b'{"n":1}', headers)
        self.assertEqual(first.ledger, "executed")
        self.assertEqual(ledger.proxied("POST", url, b'{"n": 1.0}', headers).ledger, "replayed")
        other = ledger.proxied("POST", url, b'{"n":1,"more":true}', headers)
        self.assertEqual((other.status, other.slug, other.ledger), (422, "key-reused", "mismatch"))
        missing = ledger.proxied("POST", url, b'{"m":1}', headers)
        self.assertEqual((missing.status, missing.slug, missing.ledger), (400, "key-missing", "refused"))
        self.assertIn("body:/n", missing.json()["detail"])
        self.assertEqual(self.up.effects, 1)

    def test_an_sdk_s_random_idempotency_key_is_not_identity_and_is_forwarded(self):
        ledger = self.proxy()
        for i, prefix in enumerate(("", "stripe-node-retry-", "stainless-python-retry-")):
            body = b'{"i":%d}' % i
            self.assertEqual(self.effects(ledger, *[(body, {"Idempotency-Key": prefix + UUID[:-1] + d}) for d in "123"]), 1)
            self.assertEqual(self.up.requests[-1]["Idempotency-Key"], prefix + UUID[:-1] + "1")

    def test_an_sdk_s_random_idempotency_key_does_not_tie_two_calls_together(self):
        ledger = self.proxy()
        for key in (UUID, "stainless-python-retry-" + UUID):
            answers = [ledger.proxied("POST", self.up.url + "/x", body, {"Idempotency-Key": key}) for body in (b"a" + key.encode(), b"b" + key.encode())]
            self.assertEqual([a.ledger for a in answers], ["executed"] * 2)
            self.assertEqual(ledger.record(answers[0]["Ledger-Record"])["key_source"], "fingerprint")
        self.assertEqual(self.up.effects, 4)

    def test_a_chosen_idempotency_key_is_explicit(self):
        ledger = self.proxy()
        for key in ("order-1", "order-" + UUID):
            first = ledger.proxied("POST", self.up.url + "/x", b"a", {"Idempotency-Key": key})
            self.assertEqual(ledger.proxied("POST", self.up.url + "/x", b"a", {"Idempotency-Key": key}).ledger, "replayed")
            other = ledger.proxied("POST", self.up.url + "/x", b"b", {"Idempotency-Key": key})
            self.assertEqual((other.status, other.slug), (422, "key-reused"))
            self.assertEqual(self.up.requests[-1]["Idempotency-Key"], key)
            self.assertEqual(ledger.record(first["Ledger-Record"])["key_source"], "idempotency-key")
        self.assertEqual(self.up.effects, 2)

    def test_the_route_settles_what_an_idempotency_key_is(self):
        for mode, key, expected in (("ignore", "order-1", 1), ("honour", UUID, 2)):
            ledger = self.proxy(f"idempotency_key: {mode}")
            self.assertEqual(self.effects(ledger, (b"a", {"Idempotency-Key": key}), (b"a", {"Idempotency-Key": key + "2"})), expected)

    def test_ledger_key_wins_and_takes_a_new_body_after_a_release(self):
        ledger = self.proxy()
        self.up.handler = lambda r, c: (400, {}, b"") if r.body == b"bad" else self.up.count_up(r, c)
        call = lambda body: ledger.proxied("POST", self.up.url + "/x", body, {"Ledger-Key": "k-1", "Idempotency-Key": "other"})
        self.assertEqual([call(b).status for b in (b"bad", b"good", b"good", b"third")], [400, 200, 200, 422])
        self.assertEqual(self.up.effects, 2)

    def test_ledger_key_wins_over_the_routes_template(self):
        ledger = self.proxy('key: "${body:/id}"')
        answers = [ledger.proxied("POST", self.up.url + "/x", b"{}", {"Ledger-Key": "k", "Content-Type": "application/json"}) for _ in range(2)]
        self.assertEqual([a.ledger for a in answers], ["executed", "replayed"])
        self.assertEqual(ledger.record(answers[0]["Ledger-Record"])["key_source"], "header")
        self.assertEqual((self.up.effects, self.up.requests[0]["Ledger-Key"]), (1, None))

    def test_a_key_names_one_call_while_it_runs_and_while_it_is_in_doubt(self):
        ledger = self.proxy()
        call = lambda body: ledger.proxied("POST", self.up.url + "/x", body, {"Ledger-Key": "k"})
        gate = Gate(lambda r, c: reset(c))
        self.up.handler = gate
        first = self.in_parallel(lambda: call(b"one"))
        gate.wait_for_call()
        running = call(b"two")
        self.assertEqual((running.status, running.slug, running.json()["state"]), (422, "key-reused", "in_flight"))
        gate.opened.set()
        self.assertEqual(first.get()[0].slug, "outcome-unknown")
        doubtful = call(b"two")
        self.assertEqual((doubtful.status, doubtful.slug, doubtful.json()["state"], doubtful.ledger), (422, "key-reused", "in_doubt", "mismatch"))
        self.assertEqual((call(b"one").slug, self.up.effects), ("in-doubt", 1))

    def test_explicit_keys_live_within_their_route_and_scope(self):
        ledger = self.ledger(f'routes: [ {{ name: a, match: "POST {self.up.url}/a/**" }}, {{ name: b, match: "POST {self.up.url}/b/**" }} ]')
        key = {"Ledger-Key": "order-1"}
        self.assertEqual(self.effects(ledger, ("/a/1", b"x", key), ("/b/1", b"x", key), ("/c/1", b"x", key), ("/c/2", b"x", key),
                                      ("/a/1", b"x", {**key, "Authorization": "Bearer other"})), 5)
        reused = ledger.proxied("POST", self.up.url + "/a/2", b"x", key)
        self.assertEqual((reused.status, reused.slug, self.up.effects), (422, "key-reused", 5))

    def test_an_intended_second_call_has_an_occurrence(self):
        ledger = self.proxy()
        self.assertEqual(self.effects(ledger, b"coffee", (b"coffee", {"Ledger-Occurrence": "2"}), (b"coffee", {"Ledger-Occurrence": "2"}), (b"coffee", {"Ledger-Occurrence": "1"})), 2)
        self.assertEqual(ledger.proxied("POST", self.up.url + "/x", b"coffee", {"Ledger-Occurrence": "zwei"}).status, 400)

    def test_credentials_scope_a_call(self):
        ledger = self.proxy()
        auth = lambda v: (b"a", {"Authorization": v})
        self.assertEqual(self.effects(ledger, auth("Bearer a"), auth("Bearer b"), auth("Bearer a")), 2)
        sig = "AWS4-HMAC-SHA256 Credential={}/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature={}"
        self.assertEqual(self.effects(ledger, auth(sig.format("AKID1", "aa")), auth(sig.format("AKID1", "bb")), auth(sig.format("AKID2", "aa"))), 2)
        self.assertEqual(self.effects(ledger, (b"k", {"X-Api-Key": "1"}), (b"k", {"X-Api-Key": "2"}), (b"k", {"X-Shopify-Access-Token": "1"})), 3)
        self.assertEqual(self.effects(ledger, (b"c", {"Cookie": "1"}), (b"c", {"Cookie": "2"})), 2)
        self.assertEqual(self.effects(ledger, (b"d", {"Cookie": "1", "X-Api-Key": "1"}), (b"d", {"Cookie": "2", "X-Api-Key": "1"})), 1)

    def test_a_scope_of_agent_run_or_none_leaves_the_credential_out(self):
        call = lambda user, auth: (b"a", {"user": user, "Authorization": auth})
        for scope, expected in (("[agent]", 2), ("[run]", 3), ("none", 1), ("[agent, run]", 3)):
            ledger = self.proxy(f"scope: {scope}")
            got = self.effects(ledger, call("bot.run-1:x", "a"), call("bot.run-1:x", "b"), call("bot.run-2:x", "a"), call("other.v2.run-3:x", "a"))
            self.assertEqual((scope, got), (scope, expected))
        ledger = self.ledger(f'mounts: {{ /m: {{ upstream: "{self.up.url}" }} }}\nroutes: [ {{ name: r, match: "POST /**", scope: [agent] }} ]')
        before = self.up.effects
        for agent in ("one", "two", "one"):
            ledger.direct("POST", "/m/a", b"z", {"Ledger-Agent": agent})
        self.assertEqual(self.up.effects - before, 2)

    def test_the_caller_is_named_by_the_proxy_s_user_or_by_the_headers_of_a_mount(self):
        ledger = self.ledger(f'mounts: {{ /m: {{ upstream: "{self.up.url}" }} }}\nroutes: [ {{ name: r, match: "POST /**", scope: [run] }} ]')
        named = lambda answer: [ledger.record(answer["Ledger-Record"])[n] or "" for n in ("agent", "run")]
        for user, expected in (("bot.run-7:x", ["bot", "run-7"]), ("bot.v2.run-8:x", ["bot.v2", "run-8"]), ("solo:x", ["solo", ""])):
            self.assertEqual(named(ledger.charge(self.up, user=user)), expected)
        self.assertEqual(self.up.effects, 3)
        answers = [ledger.direct("POST", "/m/v1/charges", b"z", {"Ledger-Agent": "bot", "Ledger-Run": run}) for run in ("run-7", "run-9", "run-7")]
        self.assertEqual(([a.ledger for a in answers], named(answers[1])), (["executed", "executed", "replayed"], ["bot", "run-9"]))
        # The run that a proxy's user names and the one that a header names are one.
        self.assertEqual(ledger.proxied("POST", self.up.url + "/v1/charges", b"z", user="bot.run-7:x").ledger, "replayed")
        self.assertEqual(self.up.effects, 5)

    def test_what_is_meant_for_the_proxy_is_never_forwarded(self):
        ledger = self.ledger(f'mounts: {{ /m: {{ upstream: "{self.up.url}" }} }}\nroutes: [ {{ name: once, match: "POST /**" }} ]')
        ours = {"Ledger-Occurrence": "2", "Ledger-Agent": "a", "Ledger-Run": "r", "Ledger-Token": "t", "Ledger-Other": "o",
                "Proxy-Authorization": "Basic Ym90LnJ1bjp4", "Proxy-Connection": "keep-alive"}
        for method in ("POST", "PUT"):
            ledger.proxied(method, self.up.url + "/x", b"{}", {**ours, "Ledger-Key": "1", "X-Mine": "m"})
            ledger.direct(method, "/m/y", b"{}", {**ours, "Ledger-Key": "2", "X-Mine": "m"})
        self.assertEqual(self.up.effects, 4)
        for request in self.up.requests:
            names = {name.lower() for name, _ in request.headers}
            self.assertEqual((request.method, {n for n in names if n.startswith(("ledger-", "proxy-"))}), (request.method, set()))
            self.assertEqual((request["X-Mine"], "via" in names), ("m", True))

    def test_of_json_rpc_only_a_tools_call_is_guarded(self):
        ledger = self.proxy()
        initialize = self.json('{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}')
        tool = self.json('{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"send_email","arguments":{"to":"bob"}}}')
        other = self.json('{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"send_email","arguments":{"to":"eve"}}}')
        call = lambda message: ledger.proxied("POST", self.up.url + "/mcp", *message)
        self.assertEqual([call(initialize).ledger for _ in range(2)], ["passed"] * 2)
        self.assertEqual([call(tool).ledger for _ in range(2)], ["executed", "replayed"])
        self.assertEqual(call(other).ledger, "executed")
        self.assertEqual(self.up.effects, 4)

    def test_headers_that_choose_the_account_or_operation_are_part_of_the_call(self):
        ledger = self.proxy("headers: [X-Shop]")
        for name in ("X-Tenant-Id", "Stripe-Account", "X-Amz-Target", "X-Shop"):
            body = name.encode()
            self.assertEqual(self.effects(ledger, (body, {name: "1"}), (body, {name: "2"}), (body, {name: "1"}), body), 3)
        self.assertEqual(self.effects(ledger, (b"o", {"X-Request-Id": "1", "User-Agent": "a"}), (b"o", {"X-Request-Id": "2"})), 1)

    def test_a_token_is_asked_for_where_auth_says_so(self):
        ledger = self.ledger(f'auth: {{ token: "s3cret" }}\nmounts: {{ /m: {{ upstream: "{self.up.url}" }} }}')
        for user, status in ((None, 407), ("bot:wrong", 407), ("bot.run:s3cret", 200)):
            answer = ledger.charge(self.up, user=user)
            self.assertEqual((user, answer.status), (user, status))
            if status == 407:
                self.assertIn("Basic", answer["Proxy-Authenticate"])
        for token, status in (("x", 401), ("s3cret", 200)):
            self.assertEqual(ledger.direct("POST", "/m/x", b"", {"Ledger-Token": token}).status, status)
        self.assertEqual(self.up.effects, 2)
        self.assertIsNone(self.up.requests[-1]["Ledger-Token"])


if __name__ == "__main__":
    main()
