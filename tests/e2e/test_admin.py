"""The admin endpoint, as people and Prometheus use it."""
import re

from harness import Case, Gate, eventually, main

FIELDS = """id route method url state version attempts executed replayed joined blocked agent run created_at updated_at
            expires_at status fingerprint key_source""".split()


class Admin(Case):
    def setUp(self):
        self.up = self.upstream()

    def proxy(self):
        return self.ledger(f'routes: [ {{ name: pay, match: "POST {self.up.url}/pay/**" }}, {{ name: mail, match: "POST {self.up.url}/mail" }} ]')

    def test_health_and_readiness(self):
        ledger = self.proxy()
        for path in ("/healthz", "/readyz"):
            answer = ledger.admin("GET", path)
            self.assertEqual((answer.status, answer.json()), (200, {"status": "ok"}))

    def test_a_record_has_every_field(self):
        ledger = self.proxy()
        key = ledger.charge(self.up, path="/pay/1", user="bot.run-1:x")["Ledger-Record"]
        record = ledger.record(key)
        self.assertEqual([f for f in FIELDS if f not in record], [])
        self.assertEqual([record[f] for f in ("id", "route", "method", "url", "state", "status", "agent", "run", "key_source")],
                         [key, "pay", "POST", self.up.url + "/pay/1", "completed", 200, "bot", "run-1", "fingerprint"])
        for name in ("created_at", "updated_at", "expires_at"):
            self.assertRegex(record[name], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual([h["event"] for h in record["history"]], ["claimed", "completed"])
        self.assertEqual(record["answer"]["status"], 200)

    def test_records_are_listed_newest_first_by_page_and_filter(self):
        ledger = self.proxy()
        for i in range(5):
            ledger.charge(self.up, path=f"/pay/{i}", user=f"bot-{i % 2}:x")
        ledger.charge(self.up, path="/mail")
        listed = ledger.records()
        self.assertEqual([r["url"].rsplit("/", 1)[1] for r in listed], ["mail", "4", "3", "2", "1", "0"])
        seen, cursor = [], ""
        while cursor is not None:
            page = ledger.admin("GET", f"/api/records?limit=4&cursor={cursor}").json()
            seen += page["records"]
            cursor = page["next"]
        self.assertEqual([r["id"] for r in seen], [r["id"] for r in listed])
        count = lambda query: len(ledger.admin("GET", "/api/records?" + query).json()["records"])
        self.assertEqual([count("route=pay"), count("route=mail"), count("agent=bot-1"), count("state=completed"), count("state=in_doubt")], [5, 1, 2, 6, 0])
        self.assertEqual(ledger.admin("GET", "/api/records?state=done").status, 400)

    def test_statistics_add_up(self):
        ledger = self.proxy()
        for path, times in (("/pay/1", 3), ("/pay/2", 1), ("/mail", 2)):
            for _ in range(times):
                ledger.charge(self.up, path=path)
        stats = eventually(lambda: (s := ledger.admin("GET", "/api/stats").json())["totals"]["attempts"] == 6 and s, "the counts")
        self.assertEqual([stats["totals"][n] for n in ("attempts", "executed", "blocked", "replayed")], [6, 3, 3, 3])
        rows = {r["route"]: r for r in stats["routes"]}
        self.assertEqual([rows["pay"][n] for n in ("attempts", "executed", "blocked", "joined", "in_doubt", "duplicate_rate")], [4, 2, 2, 0, 0, 0.5])

    def test_metrics_are_prometheus_text(self):
        ledger = self.proxy()
        ledger.charge(self.up)
        answer = ledger.admin("GET", "/metrics")
        self.assertTrue(answer["Content-Type"].startswith("text/plain; version=0.0.4"))
        typed = set()
        for line in answer.body.decode().splitlines():
            if line.startswith("# TYPE "):
                typed.add(line.split()[2])
            elif not line.startswith("#"):
                self.assertRegex(line, r'^[a-z_]+(\{[a-z]+="[^"]+"\})? [0-9.e+-]+$')
                self.assertIn(re.match("[a-z_]+", line)[0], typed)
        self.assertEqual(ledger.metric('ledger_calls_total{status="executed"}'), 1)

    def test_explain_tells_what_would_happen_and_sends_nothing(self):
        ledger = self.proxy()
        call = {"method": "POST", "url": self.up.url + "/pay/1", "headers": {"Content-Type": "application/json"}, "body": '{"b": 1.0, "a": 2}'}
        told = ledger.admin("POST", "/api/explain", call).json()
        self.assertEqual([told[n] for n in ("route", "policy", "canonical", "key_source", "would")], ["pay", "once", '{"a":2e0,"b":1e0}', "fingerprint", "execute"])
        self.assertEqual(self.up.effects, 0)
        sent = ledger.charge(self.up, b'{"a":2,"b":1}', path="/pay/1")
        self.assertEqual(sent["Ledger-Record"], told["key"])
        self.assertEqual(ledger.admin("POST", "/api/explain", call).json()["would"], "replay")
        get = ledger.admin("POST", "/api/explain", {"method": "GET", "url": self.up.url}).json()
        self.assertEqual((get["policy"], get["would"], get["route"]), ("pass", "pass", None))
        for bad in ({}, {"url": 5}, {"url": "ftp://x"}, []):
            self.assertEqual(ledger.admin("POST", "/api/explain", bad).status, 400)

    def test_deleting_forgets_but_not_what_is_in_flight(self):
        gate = Gate(self.up.count_up)
        self.up.handler = gate
        ledger = self.proxy()
        call = self.in_parallel(lambda: ledger.charge(self.up))
        gate.wait_for_call()
        [record] = ledger.records()
        refused = ledger.admin("DELETE", f"/api/records/{record['id']}")
        self.assertEqual((refused.status, refused["Content-Type"]), (409, "application/problem+json"))
        gate.opened.set()
        call.get()
        self.assertEqual(ledger.admin("DELETE", f"/api/records/{record['id']}").status, 204)
        self.assertEqual(ledger.admin("GET", f"/api/records/{record['id']}").status, 404)
        self.assertEqual((ledger.charge(self.up).ledger, self.up.effects), ("executed", 2))

    def test_a_page_elsewhere_cannot_use_a_browser_against_it(self):
        ledger = self.proxy()
        own = f"127.0.0.1:{ledger.admin_port}"
        key = ledger.charge(self.up)["Ledger-Record"]
        for headers, status in (({"Host": "evil.example"}, 403), ({"Host": f"evil.example:{ledger.admin_port}"}, 403), ({"Host": "127.0.0.1:1"}, 403),
                                ({"Host": own, "Origin": "https://evil.example"}, 403), ({"Host": own, "Origin": "null"}, 403),
                                ({"Host": own, "Sec-Fetch-Site": "cross-site"}, 403),
                                ({"Host": own, "Origin": f"http://{own}"}, 200), ({"Host": f"localhost:{ledger.admin_port}"}, 200)):
            self.assertEqual((headers, ledger.admin("GET", "/api/stats", headers=headers).status), (headers, status))
        self.assertEqual(ledger.admin("DELETE", f"/api/records/{key}", headers={"Origin": "https://evil.example"}).status, 403)
        self.assertEqual(ledger.record(key)["state"], "completed")

    def test_a_token_protects_all_but_the_health_checks(self):
        ledger = self.ledger(admin='token: "t0ken"')
        self.assertEqual([ledger.admin("GET", p).status for p in ("/healthz", "/readyz", "/api/stats", "/metrics")], [200, 200, 401, 401])
        self.assertEqual(ledger.admin("GET", "/api/stats", headers={"Authorization": "Bearer t0ken"}).status, 200)
        self.assertEqual(ledger.admin("GET", "/api/stats", headers={"Authorization": "Bearer wrong"}).status, 401)

    def test_mistakes_get_a_clear_answer(self):
        ledger = self.proxy()
        for method, path, status in (("GET", "/nope", 404), ("POST", "/api/stats", 405), ("GET", "/api/records/xyz", 404), ("GET", "/api/records/" + "0" * 64, 404),
                                     ("POST", "/api/records/" + "0" * 64 + "/resolve", 400), ("GET", "/api/records?limit=0", 400), ("GET", "/api/records?nope=1", 400)):
            answer = ledger.admin(method, path)
            self.assertEqual((method, path, answer.status, answer["Content-Type"]), (method, path, status, "application/problem+json"))
            self.assertTrue(answer.json()["detail"])


if __name__ == "__main__":
    main()
