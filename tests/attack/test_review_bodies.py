"""What a call's body or headers say costs nobody else time, and sends nobody's credentials elsewhere."""
import gzip
import json
import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import Case, closed_port, eventually, guarded_route, main, request_bytes

JSON = {"Content-Type": "application/json"}


class Work(Case):
    def setUp(self):
        self.up = self.upstream()

    def send(self, ledger, body, headers):
        """Sends a call and leaves its answer for later."""
        sock = socket.create_connection(("127.0.0.1", ledger.port))
        self.addCleanup(sock.close)
        sock.sendall(request_bytes("POST", self.up.url + "/c", "h", headers.items(), body))
        return sock

    def encoded_without_end(self, digits):
        return b'{"id":"%' + b"25" * digits + b'"}'

    def probing(self):
        return self.ledger(
            f'limits: {{ threads: 1 }}\nroutes: [ {{ name: c, match: "POST {self.up.url}/**", '
            f'probe: {{ get: "{self.up.url}/find/${{body:/id}}", executed_if: "/x" }} }} ]')

    def test_a_probes_value_that_is_encoded_without_end_holds_up_nobody(self):
        for digits in (30_000, 200_000):  # on the connection's own thread, and aside
            ledger = self.probing()
            long = self.in_parallel(lambda: ledger.charge(self.up, self.encoded_without_end(digits)))
            others = 0
            while others == 0 or long.threads[0].is_alive():
                others += 1
                other = ledger.charge(self.up, json.dumps({"n": others, "a": "x" * 80_000}).encode(), path="/other")
                self.assertEqual((other.status, other.ledger), (200, "executed"))
            self.assertEqual(long.get()[0].ledger, "executed")

    def test_a_call_whose_probe_cannot_be_asked_is_made_all_the_same(self):
        answer = self.probing().charge(self.up, self.encoded_without_end(200_000))
        self.assertEqual((answer.status, answer.ledger, self.up.effects), (200, "executed", 1))

    def test_a_body_that_is_being_read_does_not_keep_the_process_from_its_end(self):
        ledger = self.probing()
        sock = self.send(ledger, self.encoded_without_end(200_000), JSON)
        sock.shutdown(socket.SHUT_WR)
        ledger.charge(self.up, b"{}", path="/light")  # on the same thread: the long one is there before
        self.assertEqual(ledger.stop(), 0)

    def test_a_body_whose_turn_to_be_read_does_not_come_in_time_gets_503_and_may_come_again(self):
        ledger = self.ledger("limits: { header_timeout: 500ms, body_max: 32MiB, memory: 1GiB }\n" + guarded_route(self.up))
        bomb = gzip.compress(b'{"a":"' + b"x" * (24 * 1024 * 1024) + b'"}', 1)
        answers = self.in_parallel(*[lambda: ledger.charge(self.up, bomb, {"Content-Encoding": "gzip"})] * 12).get()
        late = [a for a in answers if a.status != 200]
        self.assertTrue(late)
        self.assertEqual({(a.status, a.slug, a.json()["safe_to_retry"], a["Retry-After"]) for a in late}, {(503, "too-busy", True, "1")})
        eventually(lambda: ledger.charge(self.up, bomb, {"Content-Encoding": "gzip"}).ledger == "replayed", "its turn")
        self.assertEqual(self.up.effects, 1)

    def test_a_boundary_has_70_octets_at_most(self):
        ledger = self.ledger(guarded_route(self.up))
        for length, kind in ((70, "multipart"), (71, "raw")):
            boundary = "-" * length
            body = f'--{boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--{boundary}--\r\n'
            asked = {"method": "POST", "url": self.up.url + "/v1/charges", "body": body,
                     "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}
            answer = ledger.admin("POST", "/api/explain", asked)
            self.assertEqual((answer.status, answer.json().get("body_kind")), (200, kind), length)

    def test_two_occurrences_that_differ_are_refused(self):
        ledger = self.ledger(guarded_route(self.up))
        both = [("Ledger-Occurrence", "2"), ("Ledger-Occurrence", "3")]
        answer = ledger.charge(self.up, headers=both)
        self.assertEqual((answer.status, answer.slug, self.up.effects), (400, "bad-request", 0))
        self.assertEqual(ledger.charge(self.up, headers=both[:1] * 2).ledger, "executed")


class Credentials(Case):
    def check(self, match, get):
        file = pathlib.Path(self.quiet.directory) / "checked.yaml"
        file.write_text(f'routes: [ {{ name: c, match: "{match}", probe: {{ get: "{get}", executed_if: "/x", headers: {{ Authorization: "Bearer of_ledger" }} }} }} ]\n')
        done = self.quiet.cli("check", "-c", str(file))
        return done.returncode, done.stdout + done.stderr

    def test_a_probes_credentials_go_to_no_host_that_a_call_chooses(self):
        self.quiet = self.ledger()
        path = "/find/${body:/id}"
        for match in ("POST /charge", "POST http://*.localhost:*/charge", "POST *.h.test/charge"):
            code, text = self.check(match, path)
            self.assertNotEqual(code, 0, match)
            self.assertIn("checked.yaml:1:", text)
            self.assertIn("`probe`: a call would choose the host", text)
        origin = f"http://127.0.0.1:{closed_port()}"
        for match, get in (("POST /charge", origin + path), (f"POST {origin}/charge", path)):
            self.assertEqual(self.check(match, get)[0], 0, match)


if __name__ == "__main__":
    main()
