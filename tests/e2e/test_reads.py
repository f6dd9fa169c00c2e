"""POSTs that only read are never answered from memory: OAuth tokens, GraphQL queries."""
import json

from harness import Case, guarded_route, main

QUERY = json.dumps({"query": "{ balance }"}).encode()
MUTATION = json.dumps({"query": "mutation { pay }"}).encode()
TOKEN = b"grant_type=client_credentials&client_id=a&client_secret=b"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Reads(Case):
    def twice(self, ledger, upstream, body, headers=()):
        return [ledger.charge(upstream, body, headers).ledger for _ in range(2)]

    def form(self, ledger, upstream, body):
        return [ledger.proxied("POST", upstream.url + "/token", body, FORM).ledger for _ in range(2)]

    def test_a_token_and_a_query_are_asked_for_each_time_and_a_mutation_is_not(self):
        upstream = self.upstream()
        ledger = self.ledger()
        self.assertEqual(self.twice(ledger, upstream, QUERY), ["passed"] * 2)
        self.assertEqual(self.form(ledger, upstream, TOKEN), ["passed"] * 2)
        self.assertEqual((ledger.records(), upstream.effects), ([], 4))
        self.assertEqual(upstream.bodies(), [QUERY, QUERY, TOKEN, TOKEN])
        self.assertEqual(self.twice(ledger, upstream, MUTATION), ["executed", "replayed"])
        self.assertEqual(self.form(ledger, upstream, TOKEN + b"&amount=49"), ["executed", "replayed"])

    def test_a_key_of_the_callers_own_guards_a_read_too(self):
        upstream = self.upstream()
        ledger = self.ledger()
        self.assertEqual(self.twice(ledger, upstream, QUERY, {"Ledger-Key": "k"}), ["executed", "replayed"])
        self.assertEqual(self.twice(ledger, upstream, QUERY, {"Idempotency-Key": "order-1"}), ["executed", "replayed"])
        self.assertEqual(upstream.effects, 2)

    def test_a_route_that_says_once_or_max_guards_reads_unless_it_lets_them_pass(self):
        for more, expected in (("policy: once", ["executed", "replayed"]), ("max: 1", ["executed", "replayed"]), ("ttl: 1h", ["passed"] * 2),
                               ("policy: once, reads: pass", ["passed"] * 2), ("reads: once", ["executed", "replayed"])):
            upstream = self.upstream()
            ledger = self.ledger(guarded_route(upstream, more))
            self.assertEqual(self.twice(ledger, upstream, QUERY), expected, more)
            explained = json.loads(ledger.cli("explain", "-c", str(ledger.file), "--json", "POST", upstream.url + "/v1/charges", "-d", QUERY.decode()).stdout)
            self.assertEqual(explained["policy"], "pass" if "passed" in expected else "once", more)


if __name__ == "__main__":
    main()
