"""An agent on the proxy's own machine reaches the admin endpoint. It may look; it may change nothing."""
import pathlib
import stat
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import Case, guarded_route, main, reset

NOBODY = {"Authorization": None}


class AdminToken(Case):
    def test_an_agent_cannot_have_its_charge_executed_twice_by_deleting_the_record(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        ledger.charge(up)
        record = ledger.records()[0]["id"]
        for headers in (NOBODY, {"Authorization": "Bearer "}, {"Authorization": "Bearer " + "0" * 64}, {"Authorization": "Basic " + "0" * 64}):
            refused = ledger.admin("DELETE", f"/api/records/{record}", headers=headers)
            self.assertEqual((refused.status, refused.slug, refused["WWW-Authenticate"]), (401, "token-required", "Bearer"))
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("replayed", 1))

    def test_an_agent_cannot_settle_its_own_doubt(self):
        up = self.upstream(lambda request, connection: reset(connection))
        ledger = self.ledger(guarded_route(up))
        ledger.charge(up)
        record = ledger.records()[0]["id"]
        for verdict in ("not_executed", "executed"):
            refused = ledger.admin("POST", f"/api/records/{record}/resolve", {"verdict": verdict}, NOBODY)
            self.assertEqual(refused.status, 401)
        self.assertEqual((ledger.charge(up).slug, up.effects), ("in-doubt", 1))
        self.assertEqual(ledger.record(record)["state"], "in_doubt")

    def test_no_spelling_of_a_path_or_method_gets_past_the_token(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        ledger.charge(up)
        record = ledger.records()[0]["id"]
        for method, path in (("DELETE", f"/api/records/{record}?x=/api/explain"), ("DELETE", f"/api%2Frecords/{record}"), ("DELETE", f"//api/records/{record}"),
                             ("DELETE", f"/api/explain/../records/{record}"), ("DELETE", f"/api/records/{record}#/api/explain"),
                             ("delete", f"/api/records/{record}"), ("PUT", f"/api/records/{record}"), ("POST", f"/api/records/{record}?_method=DELETE")):
            answer = ledger.admin(method, path, headers={**NOBODY, "X-HTTP-Method-Override": "DELETE"})
            self.assertEqual((method, path, answer.status in (400, 401, 404)), (method, path, True))
        self.assertEqual(ledger.record(record)["state"], "completed")

    def test_the_401_says_where_the_token_is_and_not_what_it_is(self):
        ledger = self.ledger()
        refused = ledger.admin("DELETE", "/api/records/" + "0" * 64, headers=NOBODY)
        file = ledger.directory / "state/admin-token"
        self.assertIn(str(file), refused.json()["detail"])
        self.assertNotIn(ledger.admin_token.encode(), refused.body)
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        self.assertGreaterEqual(len(ledger.admin_token), 43)
        for path in ("/", "/metrics", "/api/stats"):
            self.assertNotIn(ledger.admin_token.encode(), ledger.admin("GET", path).body)

    def test_with_the_token_a_person_can(self):
        up = self.upstream(lambda request, connection: reset(connection))
        ledger = self.ledger(guarded_route(up))
        ledger.charge(up)
        record = ledger.records()[0]["id"]
        shown = {"Authorization": f"Bearer {ledger.admin_token}", "Ledger-By": "ann"}
        settled = ledger.admin("POST", f"/api/records/{record}/resolve", {"verdict": "executed"}, shown)
        self.assertEqual((settled.status, settled.json()["history"][-1]["detail"]), (200, "executed, by ann"))
        self.assertEqual(ledger.admin("DELETE", f"/api/records/{record}", headers=shown).status, 204)

    def test_the_token_stays_across_restarts_and_a_configured_one_takes_its_place(self):
        ledger = self.ledger()
        token = ledger.admin_token
        ledger.restart()
        self.assertEqual(ledger.admin_token, token)
        missing = "/api/records/" + "0" * 64
        ledger.admin_extra = 'token: "t0ken"'
        ledger.restart()
        shown = lambda text: ledger.admin("DELETE", missing, headers={"Authorization": f"Bearer {text}"}).status
        self.assertEqual((shown(token), shown("t0ken")), (401, 404))
        self.assertEqual(ledger.admin("GET", "/api/stats").status, 401)
        self.assertIn("admin.token", ledger.admin("GET", "/api/stats").json()["detail"])

    def test_explain_tells_an_agent_nothing_of_other_peoples_calls(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        ledger.charge(up)
        call = {"method": "POST", "url": up.url + "/v1/charges", "headers": {"Content-Type": "application/json"}, "body": '{"amount":49}'}
        told = ledger.admin("POST", "/api/explain", call, NOBODY)
        self.assertEqual((told.status, "would" in told.json(), told.json()["route"]), (200, False, "charge"))
        self.assertNotIn("replay", told.body.decode())
        self.assertEqual(ledger.admin("POST", "/api/explain", call).json()["would"], "replay")

    def test_reads_can_ask_for_it_too(self):
        ledger = self.ledger(admin="reads: token")
        shown = {"Authorization": f"Bearer {ledger.admin_token}"}
        for path in ("/", "/metrics", "/api/stats", "/api/records"):
            self.assertEqual((path, ledger.admin("GET", path).status, ledger.admin("GET", path, headers=shown).status), (path, 401, 200))
        self.assertEqual([ledger.admin("GET", path).status for path in ("/healthz", "/readyz")], [200, 200])


if __name__ == "__main__":
    main()
