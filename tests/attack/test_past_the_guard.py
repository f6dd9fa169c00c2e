"""A caller who dresses a call up as something that is not guarded: a read, the protocol's own message, another type."""
import gzip
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import Case, guarded_route, main

JSON, GRAPHQL, FORM = "application/json", "application/graphql", "application/x-www-form-urlencoded"
DISGUISES = {
    "JSON as a GraphQL document": ([("Content-Type", GRAPHQL)], b'{"amount":2}'),
    "a mutation in JSON as a GraphQL document": ([("Content-Type", GRAPHQL)], b'{"query":"mutation { charge }"}'),
    "two types": ([("Content-Type", FORM), ("Content-Type", JSON)], b"grant_type=password"),
    "a semicolon between fields": ([("Content-Type", FORM)], b"grant_type=password&scope=x;amount=5"),
    "a member of JSON-RPC": ([("Content-Type", JSON)], b'{"amount":5,"jsonrpc":"2.0"}'),
    "another method of JSON-RPC": ([("Content-Type", JSON)], b'{"jsonrpc":"2.0","method":"charge","id":1}'),
    "a batch of JSON-RPC": ([("Content-Type", JSON)], b'[{"jsonrpc":"2.0","method":"charge","id":1}]'),
    "a foreign member beside MCP's method": ([("Content-Type", JSON)], b'{"jsonrpc":"2.0","method":"ping","id":1,"amount":5}'),
    "an explicit key beside JSON-RPC": ([("Content-Type", JSON), ("Ledger-Key", "k1")], b'{"jsonrpc":"2.0","amount":6}'),
}


class Disguises(Case):
    def test_no_disguise_makes_two_effects_of_one_call(self):
        for more in ("", "policy: once"):
            up = self.upstream()
            ledger = self.ledger(guarded_route(up, more))
            for what, (headers, body) in DISGUISES.items():
                before = up.effects
                answers = [ledger.proxied("POST", up.url + "/charge", body, headers) for _ in range(2)]
                self.assertEqual((what, up.effects - before, answers[1].ledger), (what, 1, "replayed"))

    def test_a_field_in_the_url_makes_a_token_request_a_call(self):
        up = self.upstream()
        ledger = self.ledger()
        answers = [ledger.proxied("POST", up.url + "/charge?amount=9", b"grant_type=password", {"Content-Type": FORM}) for _ in range(2)]
        self.assertEqual(([a.ledger for a in answers], up.effects), (["executed", "replayed"], 1))

    def test_what_was_judged_is_not_left_out_on_the_way(self):
        up = self.upstream()
        ledger = self.ledger()
        for name, headers, body in (("Content-Type", [("Content-Type", GRAPHQL)], b"{ balance }"), ("content-type", [("Content-Type", FORM)], b"grant_type=password"),
                                    ("Content-Encoding", [("Content-Type", JSON), ("Content-Encoding", "gzip")], gzip.compress(b'{"query":"{a}"}')),
                                    ("close, Authorization", [("Authorization", "Bearer a")], b"x"), ("Cookie", [("Cookie", "sid=1")], b"x")):
            answer = ledger.proxied("POST", up.url + "/charge", body, [*headers, ("Connection", name)])
            self.assertEqual((name, answer.status, answer.slug), (name, 400, "bad-request"))
        self.assertEqual(up.effects, 0)
        self.assertEqual(ledger.proxied("GET", up.url + "/x", b"", [("Connection", "X-Mine, TE"), ("X-Mine", "1")]).status, 200)
        self.assertIsNone(up.requests[0]["X-Mine"])


if __name__ == "__main__":
    main()
