"""However a call spells its method, its target or its request line: never two effects, and never past a guard."""
import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import Case, DEADLINE, exchange, guarded_route, main, read_answer, request_bytes

OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")


class Methods(Case):
    def call(self, ledger, method, url, headers=(), body=b"{}"):
        return ledger.proxied(method, url, body, headers)

    def assert_bad(self, answer):
        self.assertEqual((answer.status, answer.slug, answer.ledger), (400, "bad-request", "refused"))

    def test_a_guarded_method_in_another_case_is_a_400(self):
        up = self.upstream()
        ledger = self.ledger(f'defaults: {{ DELETE: once }}\nmounts: {{ /m: "{up.url}" }}')
        for method in ("post", "Post", "pOST", "patch", "Patch", "delete"):
            self.assert_bad(self.call(ledger, method, up.url + "/charge"))
            self.assert_bad(ledger.direct(method, "/m/charge", b"{}"))
        self.assertEqual((up.effects, ledger.records()), (0, []))
        # What nobody guards passes, in any case.
        self.assertEqual([self.call(ledger, method, up.url + "/x").ledger for method in ("get", "Put", "PUT")], ["passed"] * 3)

    def test_the_methods_of_routes_count_too(self):
        up = self.upstream()
        ledger = self.ledger('defaults: { POST: pass, PATCH: pass }\nroutes:\n'
                             f'  - {{ match: "POST|Frob {up.url}/v1/**" }}\n  - {{ match: "* {up.url}/all/**" }}\n'
                             f'  - {{ match: "PUT {up.url}/p/**", policy: pass }}\n')
        for method, path in (("post", "/v1/x"), ("Post", "/v1/x"), ("FROB", "/v1/x"), ("frob", "/v1/x"), ("put", "/all/x"), ("get", "/all/x")):
            with self.subTest(method=method, path=path):
                self.assert_bad(self.call(ledger, method, up.url + path))
        self.assertEqual(up.effects, 0)
        self.assertEqual([self.call(ledger, method, up.url + path).ledger for method, path in (
            ("Frob", "/v1/x"), ("POST", "/v1/x"), ("PUT", "/all/x"), ("post", "/elsewhere"), ("put", "/p/x"))],
            ["executed", "executed", "executed", "passed", "passed"])

    def test_a_method_override_is_judged_as_the_method_that_it_names(self):
        for header in OVERRIDES:
            up = self.upstream()
            ledger = self.ledger(f'routes: [ {{ name: charge, match: "POST {up.url}/v1/**" }}, {{ name: gone, match: "DELETE {up.url}/v1/**" }} ]')
            for method in ("GET", "PUT", "HEAD"):
                answers = [self.call(ledger, method, up.url + "/v1/x", {header: "POST"}) for _ in range(2)]
                self.assertEqual([(a["Ledger-Route"], a.ledger) for a in answers], [("charge", "executed"), ("charge", "replayed")])
            self.assertEqual(self.call(ledger, "POST", up.url + "/v1/x", {header: "DELETE"})["Ledger-Route"], "gone")
            self.assertEqual(self.call(ledger, "GET", up.url + "/elsewhere", {header: "PATCH"}).ledger, "executed")
            self.assertEqual(up.effects, 5)
            ledger.stop()

    def test_no_override_takes_a_call_past_its_guard(self):
        for header in OVERRIDES:
            up = self.upstream()
            ledger = self.ledger(f'routes: [ {{ name: reads, match: "GET {up.url}/**", policy: pass }}, {{ name: charge, match: "POST {up.url}/**" }} ]')
            answers = [self.call(ledger, "POST", up.url + "/v1/x", {header: "GET"}) for _ in range(3)]
            self.assertEqual([(a["Ledger-Route"], a.ledger) for a in answers], [("charge", "executed")] + [("charge", "replayed")] * 2)
            self.assertEqual(up.effects, 1)
            ledger.stop()

    def test_an_override_that_is_no_method_or_two_that_differ_or_another_case_is_a_400(self):
        up = self.upstream()
        ledger = self.ledger(f'mounts: {{ /m: "{up.url}" }}')
        for headers in ([("X-HTTP-Method-Override", "")], [("X-HTTP-Method-Override", "PO ST")], [("X-Method-Override", "POST, GET")],
                        [("X-HTTP-Method", "POST"), ("X-HTTP-Method", "GET")], [("X-HTTP-Method", "GET"), ("X-Method-Override", "POST")],
                        [("X-HTTP-Method-Override", "post")], [("x-method-override", "Post")]):
            for method in ("GET", "POST"):
                with self.subTest(headers=headers, method=method):
                    self.assert_bad(self.call(ledger, method, up.url + "/charge", headers))
                    self.assert_bad(ledger.direct(method, "/m/charge", b"{}", headers))
        self.assertEqual((up.effects, ledger.records()), (0, []))
        self.assertEqual(self.call(ledger, "GET", up.url + "/x", [("X-HTTP-Method", "PUT"), ("X-Method-Override", "PUT")]).ledger, "passed")

    def test_an_override_is_part_of_what_the_call_before_it_on_its_connection_was(self):
        up = self.upstream()
        ledger = self.ledger()
        client = socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE)
        self.addCleanup(client.close)
        got = []
        for headers in ((), {"X-HTTP-Method": "POST"}, {"X-HTTP-Method": "POST"}, {"X-HTTP-Method": "PUT"}, ()):
            client.sendall(request_bytes("GET", up.url + "/x", "x", headers))
            got.append(read_answer(client, "GET").ledger)
        self.assertEqual(got, ["passed", "executed", "replayed", "passed", "passed"])

    def test_a_body_that_would_pass_does_not_pass_as_another_method(self):
        bodies = (b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}', b'{"query":"{ orders { id } }"}')
        for header in OVERRIDES:
            up = self.upstream()
            ledger = self.ledger("defaults: { DELETE: once }")
            for body in bodies:
                answers = [self.call(ledger, "POST", up.url + "/api", {header: "DELETE", "Content-Type": "application/json"}, body) for _ in range(2)]
                self.assertEqual([a.ledger for a in answers], ["executed", "replayed"])
                self.assertEqual(self.call(ledger, "POST", up.url + "/api", {header: "POST", "Content-Type": "application/json"}, body).ledger, "passed")
            ledger.stop()

    def test_two_overrides_that_name_other_methods_are_two_calls(self):
        for header in OVERRIDES:
            up = self.upstream()
            ledger = self.ledger()
            answers = [self.call(ledger, "POST", up.url + "/item", {header: method}) for method in ("DELETE", "PUT", "DELETE")]
            self.assertEqual([a.ledger for a in answers], ["executed", "executed", "replayed"])
            ledger.stop()


class RequestLines(Case):
    """Two effects of one charge would be a way past the guard."""

    def test_no_spelling_of_the_request_line_makes_two_effects(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up) + "\ndefaults: { POST: pass }")
        host = f"127.0.0.1:{up.port}"
        rest = f"Host: {host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        lines = {
            "plain": (f"POST {up.url}/charge HTTP/1.1\r\n", 200),
            "again": (f"POST {up.url}/charge HTTP/1.1\r\n", 200),
            "an upper-case scheme": (f"POST HTTP://{host}/charge HTTP/1.1\r\n", 200),
            "a mixed scheme": (f"POST hTTp://{host}/charge HTTP/1.1\r\n", 200),
            "HTTP/1.0": (f"POST {up.url}/charge HTTP/1.0\r\n", 200),
            "an empty line first": (f"\r\nPOST {up.url}/charge HTTP/1.1\r\n", 200),
            "two empty lines first": (f"\r\n\r\nPOST {up.url}/charge HTTP/1.1\r\n", None),
            "a bare LF first": (f"\nPOST {up.url}/charge HTTP/1.1\r\n", 400),
            "a space first": (f" POST {up.url}/charge HTTP/1.1\r\n", 400),
            "two spaces": (f"POST  {up.url}/charge HTTP/1.1\r\n", 400),
            "two spaces behind": (f"POST {up.url}/charge  HTTP/1.1\r\n", 400),
            "a trailing space": (f"POST {up.url}/charge HTTP/1.1 \r\n", 400),
            "a tab": (f"POST\t{up.url}/charge HTTP/1.1\r\n", 400),
            "a tab behind": (f"POST {up.url}/charge\tHTTP/1.1\r\n", 400),
            "no version": (f"POST {up.url}/charge\r\n", 400),
            "a lower-case version": (f"POST {up.url}/charge http/1.1\r\n", 400),
            "HTTP/2.0": (f"POST {up.url}/charge HTTP/2.0\r\n", 400),
            "HTTP/1.2": (f"POST {up.url}/charge HTTP/1.2\r\n", 400),
            "a lower-case method": (f"post {up.url}/charge HTTP/1.1\r\n", 400),
            "a user": (f"POST http://u:p@{host}/charge HTTP/1.1\r\n", 400),
            "another scheme": (f"POST ftp://{host}/charge HTTP/1.1\r\n", 400),
            "one slash": (f"POST http:/{host}/charge HTTP/1.1\r\n", 400),
            "a backslash": (f"POST http:\\\\{host}/charge HTTP/1.1\r\n", 400),
            "a fragment": (f"POST {up.url}/charge#x HTTP/1.1\r\n", None),
            "a NUL": (f"POST {up.url}/charge\0 HTTP/1.1\r\n", 400),
        }
        for name, (line, status) in lines.items():
            with self.subTest(name):
                answer = exchange(("127.0.0.1", ledger.port), (line + rest).encode())
                if status is not None:
                    self.assertEqual(answer.status, status, answer)
                else:
                    self.assertIn(answer.status, (200, 400), answer)
                self.assertNotEqual(answer.ledger, "passed")
                self.assertEqual(up.effects, 1)


if __name__ == "__main__":
    main()
