"""Who may reach what: our own addresses, `egress`, whose page and which name calls a mount, and what is shown to whom."""
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import BINARY, SANITIZED, Answer, Case, DEADLINE, eventually, exchange, guarded_route, main, read_answer, read_head, request_bytes

HERE = pathlib.Path(__file__).parent
needs_names = unittest.skipIf(SANITIZED, "a sanitizer's runtime must be preloaded first")


class Tunnels(Case):
    def connect(self, ledger, authority):
        client = socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE)
        self.addCleanup(client.close)
        client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        start = eventually(lambda: client.recv(12, socket.MSG_PEEK), "an answer")
        if start.endswith(b" 200"):  # a tunnel: what follows is its own
            read_head(client.makefile("rb", buffering=0))
            return client, Answer(200, [], b"")
        return client, read_answer(client, "CONNECT")

    def assert_refused(self, answer, status, slug):
        self.assertEqual((answer.status, answer.slug), (status, slug), answer)
        self.assertEqual(answer["x-should-retry"], "false")


class Named(Tunnels):
    """With names that lead where a test wants."""

    @classmethod
    def setUpClass(cls):
        cls.build = tempfile.TemporaryDirectory(prefix="ledger-names-")
        cls.library = pathlib.Path(cls.build.name) / "names.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", cls.library, HERE / "names.c", "-ldl"], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.build.cleanup()

    def named(self, names, config="", **more):
        """A proxy for which these names are looked up so."""
        environment = {**os.environ, "LD_PRELOAD": str(self.library), "LEDGER_NAMES": names}
        return self.ledger(config, env=environment, **more)


def released_and_not_doubted(case, ledger):
    """Nothing was sent, and no record says that something may have been."""
    case.assertNotIn("in_doubt", [r["state"] for r in ledger.records()])
    case.assertNotIn("in_flight", [r["state"] for r in ledger.records()])


@needs_names
class OwnAddresses(Named):
    def test_the_admin_endpoint_is_not_reached_through_the_proxy_by_any_name(self):
        ledger = self.named("alias.test=127.0.0.1 six.test=::ffff:127.0.0.1 mixed.test=192.0.2.1,127.0.0.1")
        for host in ("127.0.0.1", "alias.test", "ALIAS.test", "alias.test.", "six.test", "mixed.test", "localhost", "x.localhost", "127.1", "2130706433",
                     "0x7f000001", "0", "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]"):
            with self.subTest(host=host):
                _, answer = self.connect(ledger, f"{host}:{ledger.admin_port}")
                self.assert_refused(answer, 508, "loop-detected")
                for method in ("GET", "DELETE", "POST"):
                    answer = ledger.proxied(method, f"http://{host}:{ledger.admin_port}/api/records")
                    self.assert_refused(answer, 508, "loop-detected")
        released_and_not_doubted(self, ledger)

    def test_an_opened_tunnel_to_an_alias_of_an_own_address_reaches_nothing(self):
        ledger = self.named("alias.test=127.0.0.1", 'routes: [ { match: "POST https://alias.test:*/**" } ]')
        client, answer = self.connect(ledger, f"alias.test:{ledger.admin_port}")
        self.assertEqual(answer.status, 200)
        client.sendall(request_bytes("GET", "/api/records", f"alias.test:{ledger.admin_port}"))  # plain HTTP inside
        self.assert_refused(read_answer(client), 508, "loop-detected")

    def test_a_request_line_that_comes_in_two_pieces_does_not_reach_the_admin_endpoint_by_an_alias(self):
        up = self.upstream()
        ledger = self.named("alias.test=127.0.0.1", guarded_route(up))
        key = ledger.charge(up)["Ledger-Record"] or ledger.records()[0]["id"]
        client, answer = self.connect(ledger, f"alias.test:{ledger.admin_port}")
        self.assert_refused(answer, 508, "loop-detected")
        self.assertEqual(ledger.record(key)["state"], "completed")
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("replayed", 1))

    def test_every_listener_is_an_own_address_by_any_name_and_for_mounts_too(self):
        up = self.upstream()
        ledger = self.named("alias.test=127.0.0.1", f'listeners: [ {{ listen: "127.0.0.1:0", upstream: "{up.url}" }} ]')
        for port in ledger.ports:
            self.assert_refused(self.connect(ledger, f"alias.test:{port}")[1], 508, "loop-detected")
            self.assert_refused(ledger.proxied("POST", f"http://alias.test:{port}/x", b"{}"), 508, "loop-detected")
        own = ledger.ports[1]
        ledger.stop()
        ledger.config = (f'listeners: [ {{ listen: "127.0.0.1:{own}", upstream: "{up.url}" }} ]\n'
                         f'mounts: {{ /m: "http://alias.test:{own}" }}')
        ledger.start()
        self.assert_refused(ledger.direct("POST", "/m/x", b"{}"), 508, "loop-detected")
        self.assertEqual(up.effects, 0)
        released_and_not_doubted(self, ledger)

    def test_a_listener_on_every_address_is_an_own_one_by_each_of_this_machines(self):
        up = self.upstream()
        ledger = self.named("alias.test=127.0.0.9", f'listeners: [ {{ listen: "0.0.0.0:0", upstream: "{up.url}" }} ]\nauth: {{ token: t }}')
        port = int(re.search(r"listening on 0\.0\.0\.0:(\d+)", (ledger.directory / "log").read_text())[1])
        for host in ("127.0.0.9", "alias.test", "127.0.0.1", "[::ffff:127.0.0.9]", *local_addresses()):
            with self.subTest(host=host):
                self.assert_refused(ledger.proxied("POST", f"http://{host}:{port}/x", b"{}", user="a:t"), 508, "loop-detected")
        self.assertEqual(up.effects, 0)

    def test_a_guarded_call_that_leads_to_ourselves_was_not_sent_and_burns_no_tries(self):
        ledger = self.named("alias.test=127.0.0.1")
        url = f"http://alias.test:{ledger.admin_port}/charge"
        for _ in range(2):
            self.assert_refused(ledger.proxied("POST", url, b"{}"), 508, "loop-detected")
        record = ledger.records()[0]
        self.assertEqual((record["state"], record["attempts"]), ("released", 2))

    def test_a_probe_does_not_reach_ourselves(self):
        up = self.upstream(lambda _request, connection: connection.close())
        asked = self.upstream(lambda *_: (200, {"Content-Type": "application/json"}, b'{"id": 1}'))
        own_port = f'listeners: [ {{ listen: "127.0.0.1:%d", upstream: "{asked.url}" }} ]'
        ledger = self.named("alias.test=127.0.0.1", own_port % 0)
        ledger.stop()
        ledger.config = (own_port % ledger.ports[1]) + (
            f'\nroutes: [ {{ name: charge, match: "POST {up.url}/**", probe: {{ get: "http://alias.test:{ledger.ports[1]}/charge?amount=${{body:/amount}}", '
            'executed_if: "/id" } } ]')
        ledger.start()
        self.assertEqual(ledger.charge(up).slug, "outcome-unknown")
        again = ledger.charge(up)
        self.assertEqual((again.status, again.slug, asked.effects), (409, "in-doubt", 0))

    def test_ledger_run_refuses_its_own_port_and_the_admin_endpoint_of_the_config(self):
        up = self.upstream()
        ledger = self.named("alias.test=127.0.0.1")
        ledger.stop()  # `ledger run` stands alone now; somebody else has the configured ports
        code = f'''
import os, socket
host, port = os.environ["HTTP_PROXY"].split("//")[1].strip("/").rsplit("@")[-1].split(":")
for target in (int(port), {ledger.admin_port}):
    s = socket.create_connection((host, int(port)))
    s.sendall(f"GET http://alias.test:{{target}}/api/records HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(s.makefile("rb").readline().decode().split()[1])
'''
        ledger.file.write_text(f"listen: {ledger.listen}\nadmin: {{ listen: {ledger.admin_listen} }}\nstore: \"{ledger.store}\"\nstate: {ledger.directory}/state\n")
        done = subprocess.run([BINARY, "run", "-c", str(ledger.file), "--", sys.executable, "-c", code], env=ledger.popen["env"],
                              cwd=ledger.directory, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stdout.split(), ["508", "508"], done)
        self.assertEqual(up.effects, 0)


def local_addresses():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            return [s.getsockname()[0]]
        except OSError:
            return []


METADATA = ("169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "169.254.0.1", "[fe80::1]", "2852039166", "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "metadata.google.internal", "METADATA.google.internal.")


class EgressByName(Tunnels):
    def test_cloud_metadata_and_link_local_addresses_are_denied_by_default_in_every_spelling(self):
        ledger = self.ledger()
        for host in METADATA:
            with self.subTest(host=host):
                self.assert_refused(self.connect(ledger, f"{host}:80")[1], 403, "egress-denied")
                for method in ("GET", "POST"):
                    answer = ledger.proxied(method, f"http://{host}/latest/meta-data/")
                    self.assert_refused(answer, 403, "egress-denied")
                    self.assertEqual(answer.ledger, "refused")
        self.assertEqual(ledger.records(), [])  # known by the name: nothing was claimed

    def test_deny_and_allow_take_hosts_suffixes_networks_and_ports(self):
        up, other = self.upstream(), self.upstream()
        cases = [(f'deny: [127.0.0.1]', 403), ('deny: ["127.0.0.0/8"]', 403), (f'deny: ["127.0.0.1:{up.port}"]', 403), (f'deny: [":{up.port}"]', 403),
                 (f'deny: [{up.port}]', 403), (f'deny: ["*:{up.port}"]', 403), (f'deny: ["*"]', 403), (f'deny: ["127.0.0.1:{other.port}", "10.0.0.0/8", "::/0"]', 200),
                 ('allow: [api.example.com]', 403), ('allow: ["10.0.0.0/8", "::/0"]', 403), ('allow: ["127.0.0.0/8"]', 200), (f'allow: [":{up.port}"]', 200),
                 (f'allow: [":{other.port}"]', 403), ('allow: ["*"]', 200), ('allow: ["*"], deny: [127.0.0.1]', 403), ('allow: [], deny: []', 200)]
        for rules, status in cases:
            with self.subTest(rules=rules):
                ledger = self.ledger(f"egress: {{ {rules} }}")
                answers = [ledger.proxied("GET", up.url + "/x"), ledger.charge(up), self.connect(ledger, f"127.0.0.1:{up.port}")[1]]
                self.assertEqual([a.status for a in answers], [status] * 3, answers)
                if status == 403:
                    self.assertEqual([a.slug for a in answers], ["egress-denied"] * 3)
                    self.assertEqual(ledger.records(), [])
                ledger.stop()

    def test_a_name_is_judged_without_case_and_final_dot_and_by_its_suffix(self):
        up = self.upstream()
        ledger = self.ledger('egress: { deny: [localhost, "*.internal.test"] }')
        for host in ("localhost", "LOCALHOST", "localhost.", "a.internal.test", "A.b.Internal.Test."):
            for answer in (ledger.proxied("POST", f"http://{host}:{up.port}/x", b"{}"), self.connect(ledger, f"{host}:{up.port}")[1]):
                self.assert_refused(answer, 403, "egress-denied")
        self.assertEqual(ledger.proxied("GET", f"http://x.localhost:{up.port}/x").status, 200)
        self.assertEqual(up.effects, 1)

    def test_upstreams_of_mounts_and_listeners_are_allowed_and_the_same_host_named_by_a_caller_is_not(self):
        up = self.upstream()
        ledger = self.ledger(f'egress: {{ allow: [api.example.com] }}\nmounts: {{ /m: "{up.url}" }}\nlisteners: [ {{ listen: "127.0.0.1:0", upstream: "{up.url}" }} ]')
        self.assertEqual(ledger.direct("POST", "/m/x", b"{}").status, 200)
        self.assertEqual(ledger.direct("GET", "/m/x").status, 200)
        self.assertEqual(ledger.direct("GET", "/y", port=ledger.ports[1]).status, 200)
        effects = up.effects
        # Not over the connection that the mount has left open either.
        for _ in range(3):
            self.assert_refused(ledger.proxied("GET", up.url + "/m/x"), 403, "egress-denied")
        self.assertEqual(up.effects, effects)

    def test_calls_inside_a_tunnel_are_judged(self):
        up = self.upstream()
        ledger = self.ledger(f'egress: {{ deny: ["*.test"] }}\nroutes: [ {{ match: "POST https://a.test:*/**" }} ]')
        self.assert_refused(self.connect(ledger, f"a.test:{up.port}")[1], 403, "egress-denied")

    def test_a_mistake_in_a_list_is_found_with_its_place(self):
        ledger = self.ledger()
        for entry, says in (("10.0.0.0/33", "prefix length"), ("a*.example", "is no host"), ("127.1", "is no host"), ("h:99999", "port")):
            (ledger.directory / "bad.yaml").write_text(f'egress:\n  deny: ["{entry}"]\n')
            done = ledger.cli("check", "-c", "bad.yaml")
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stdout + done.stderr, r"bad\.yaml:2:\d+: .*" + says)


@needs_names
class EgressByAddress(Named):
    def test_the_address_that_a_name_leads_to_is_judged_when_it_is_connected_to(self):
        up = self.upstream()
        names = "meta.test=169.254.169.254 four.test=::ffff:127.0.0.1 two.test=10.9.8.7,127.0.0.1 in.test=10.9.8.7 nat.test=64:ff9b::a00:1"
        ledger = self.named(names, 'egress: { deny: ["10.0.0.0/8"] }')
        for host in ("meta.test", "in.test", "nat.test"):
            with self.subTest(host=host):
                self.assert_refused(self.connect(ledger, f"{host}:{up.port}")[1], 403, "egress-denied")
                self.assert_refused(ledger.proxied("GET", f"http://{host}:{up.port}/"), 403, "egress-denied")
                self.assert_refused(ledger.proxied("POST", f"http://{host}:{up.port}/", b"{}"), 403, "egress-denied")
        released_and_not_doubted(self, ledger)
        # Of several addresses the one that is allowed.
        self.assertEqual(ledger.proxied("POST", f"http://two.test:{up.port}/", b"{}").status, 200)
        ledger = self.named(names, 'egress: { deny: ["127.0.0.0/8"] }')
        self.assert_refused(ledger.proxied("GET", f"http://four.test:{up.port}/"), 403, "egress-denied")
        self.assertEqual(up.effects, 1)

    def test_an_allowed_network_takes_a_name_that_leads_into_it(self):
        up = self.upstream()
        ledger = self.named("a.test=127.0.0.1 b.test=10.9.8.7", 'egress: { allow: ["127.0.0.0/8"] }')
        self.assertEqual(ledger.proxied("POST", f"http://a.test:{up.port}/", b"{}").status, 200)
        self.assert_refused(ledger.proxied("POST", f"http://b.test:{up.port}/", b"{}"), 403, "egress-denied")

    def test_an_allowed_name_or_a_wider_network_does_not_lift_the_denial_of_metadata(self):
        names = "meta.test=169.254.169.254"
        for allow in ('["*"]', "[meta.test]", '["0.0.0.0/0"]', '["*.test"]', '[":1"]', '["169.254.169.254:2"]'):
            with self.subTest(allow=allow):
                ledger = self.named(names, f"egress: {{ allow: {allow} }}")
                self.assert_refused(ledger.proxied("GET", "http://meta.test:1/"), 403, "egress-denied")
                ledger.stop()

    def test_a_probe_may_not_go_where_calls_may_not(self):
        up = self.upstream(lambda _request, connection: connection.close())
        asked = self.upstream(lambda *_: (200, {"Content-Type": "application/json"}, b'{"id": 1}'))
        route = f'routes: [ {{ match: "POST {up.url}/**", probe: {{ get: "http://in.test:{asked.port}/charge?amount=${{body:/amount}}", executed_if: "/id" }} }} ]'
        ledger = self.named("in.test=127.0.0.2", f'egress: {{ deny: ["127.0.0.2"] }}\n{route}')
        self.assertEqual(ledger.charge(up).slug, "outcome-unknown")
        self.assertEqual((ledger.charge(up).slug, asked.effects), ("in-doubt", 0))


class WhoCallsAMount(Case):
    def setUp(self):
        self.up = self.upstream()

    def proxy(self, more=""):
        return self.ledger(f'mounts: {{ /m: "{self.up.url}" }}\nlisteners: [ {{ listen: "127.0.0.1:0", upstream: "{self.up.url}" }} ]\n{more}')

    def ways(self, ledger):
        return ((ledger.ports[0], "/m/charge"), (ledger.ports[1], "/charge"))

    def test_a_name_that_is_not_the_listeners_is_refused_before_anything_is_claimed(self):
        ledger = self.proxy()
        for port, path in self.ways(ledger):
            for host in ("evil.example", f"evil.example:{port}", "127.0.0.1:1", "localhost.evil.example", "10.1.2.3", "", "127.0.0.1.evil.example"):
                for method in ("POST", "GET"):
                    with self.subTest(host=host, path=path, method=method):
                        answer = ledger.direct(method, path, b"{}", {"Host": host}, port=port)
                        self.assertEqual((answer.status, answer.slug, answer.ledger), (403, "host-not-allowed", "refused"))
        self.assertEqual((self.up.effects, ledger.records()), (0, []))

    def test_a_page_elsewhere_is_refused_before_anything_is_claimed(self):
        ledger = self.proxy()
        for port, path in self.ways(ledger):
            for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:3000"}, {"Origin": "http://127.0.0.1"},
                            {"Sec-Fetch-Site": "cross-site"}, {"Origin": "file://"}, {"Origin": ""}, {"Origin": "chrome-extension://abc"},
                            {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "cross-site"}):
                for method in ("POST", "GET", "OPTIONS"):
                    with self.subTest(headers=headers, path=path, method=method):
                        answer = ledger.direct(method, path, b"{}", headers, port=port)
                        self.assertEqual((answer.status, answer.slug, answer.ledger), (403, "host-not-allowed", "refused"))
        self.assertEqual((self.up.effects, ledger.records()), (0, []))

    def test_a_page_elsewhere_is_refused_on_a_connection_that_has_carried_a_call_already(self):
        ledger = self.proxy()
        client = socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE)
        self.addCleanup(client.close)
        statuses = []
        for headers in ({}, {"Origin": "null"}, {}, {"Host": "evil.example"}):
            client.sendall(request_bytes("POST", "/m/charge", f"127.0.0.1:{ledger.port}", headers))
            statuses.append(read_answer(client).status)
        self.assertEqual((statuses, self.up.effects), ([200, 403, 200, 403], 1))

    def test_its_own_names_are_taken(self):
        ledger = self.proxy("hosts: [ledger, \"*.inside.example:7\"]")
        for port, path in self.ways(ledger):
            for headers in ({"Host": f"localhost:{port}"}, {"Host": "localhost"}, {"Host": "LOCALHOST."}, {"Host": f"127.0.0.1:{port}"}, {"Host": "127.0.0.1"},
                            {"Host": f"[::1]:{port}"}, {"Host": "ledger"}, {"Host": "Ledger:9999"}, {"Host": "a.inside.example:7"}, {"Host": "a.inside.example"},
                            {"Origin": f"http://127.0.0.1:{port}"}, {"Origin": f"http://localhost:{port}", "Sec-Fetch-Site": "same-origin"},
                            {"Origin": "https://ledger"}, {"Sec-Fetch-Site": "none"}):
                with self.subTest(headers=headers, path=path):
                    self.assertEqual(ledger.direct("POST", path, b"{}", headers, port=port).status, 200)
            self.assertEqual(exchange(("127.0.0.1", port), f"POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode()).status, 200)

    def test_a_listener_has_names_of_its_own(self):
        ledger = self.ledger(f'mounts: {{ /m: "{self.up.url}" }}\nlisteners: [ {{ listen: "127.0.0.1:0", upstream: "{self.up.url}", hosts: [twilio.local] }} ]')
        self.assertEqual(ledger.direct("POST", "/x", b"{}", {"Host": "twilio.local"}, port=ledger.ports[1]).status, 200)
        self.assertEqual(ledger.direct("POST", "/m/x", b"{}", {"Host": "twilio.local"}).status, 403)

    def test_any_host_would_be_no_list(self):
        ledger = self.proxy()
        (ledger.directory / "bad.yaml").write_text('hosts: ["*"]\n')
        self.assertRegex(ledger.cli("check", "-c", "bad.yaml").stderr, r"bad\.yaml:1:\d+: `hosts`: `\*` is any host")

    def test_an_own_port_is_its_upstreams_alone(self):
        other = self.upstream()
        ledger = self.proxy()
        own = ledger.ports[1]
        for method in ("GET", "POST"):
            answer = exchange(("127.0.0.1", own), request_bytes(method, other.url + "/x", f"127.0.0.1:{own}", (), b"{}"), method=method)
            self.assertEqual((answer.status, answer.slug, answer.ledger), (403, "host-not-allowed", "refused"))
        answer = exchange(("127.0.0.1", own), f"CONNECT 127.0.0.1:{other.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), method="CONNECT")
        self.assertEqual((answer.status, answer.slug), (403, "host-not-allowed"))
        # Absolute-form for the listener itself is the same as origin-form.
        answer = exchange(("127.0.0.1", own), request_bytes("POST", f"HTTP://localhost:{own}/charge?x", "whatever", (), b"{}"))
        self.assertEqual((answer.status, self.up.requests[-1].target), (200, "/charge?x"))
        self.assertEqual((other.effects, self.up.effects), (0, 1))


class ProbesStayBelowTheirPath(Case):
    def probed(self, value, template="/api/charges/${body:/reference}"):
        asked = []

        def handler(request, connection):
            if request.method == "POST":
                return connection.close()
            asked.append(request.target)
            return 200, {"Content-Type": "application/json"}, b'{"id": 1}'
        up = self.upstream(handler)
        ledger = self.ledger(guarded_route(up, f'probe: {{ get: "{template}", executed_if: "/id", headers: {{ Authorization: s3cret }} }}'))
        body = json.dumps({"reference": value, "other": "."}).encode()
        ledger.charge(up, body)
        again = ledger.charge(up, body)
        ledger.stop()
        return asked, again

    def test_a_dot_segment_in_a_value_makes_the_probe_impossible(self):
        for value in ("..", ".", "../admin", "..\\admin", "%2e%2e", "%252e%252e", "x/../../admin", "..;x", "a%2F.."):
            with self.subTest(value=value):
                asked, again = self.probed(value)
                self.assertEqual((asked, again.slug), ([], "in-doubt"))
        self.assertEqual(self.probed(".", "/api/charges/${body:/reference}${body:/other}")[0], [])

    def test_everything_else_is_one_segment(self):
        asked, again = self.probed("a/b?c#d%2Fe&f")
        self.assertEqual((set(asked), again.status), ({"/api/charges/a%2Fb%3Fc%23d%252Fe%26f"}, 200))

    def test_a_call_does_not_choose_the_host_that_is_asked(self):
        ledger = self.ledger()
        for url in ("https://${body:/host}/x", "https://api.example.com${body:/host}/x", "https://api.example.com:${body:/port}/x"):
            (ledger.directory / "bad.yaml").write_text(
                f'routes:\n  - match: POST https://a.example/x\n    probe: {{ get: "{url}", executed_if: "/id" }}\n')
            self.assertRegex(ledger.cli("check", "-c", "bad.yaml").stderr, r"bad\.yaml:3:\d+: `get`: a call may not choose the host")


class ClientCertificate(Case):
    """The certificate that we show is for those that the config names."""

    def server(self, made):
        context = made.server()
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(made.ca)
        seen = []
        up = self.upstream(lambda _request, connection: (seen.append(bool(connection.getpeercert())), (200, {}, b""))[1], tls=context)
        return up, seen

    def shown(self, config, call):
        made = self.certificates()
        certificate, key = made.leaf("me", "DNS:me")
        up, seen = self.server(made)
        more, top = config(up)
        ledger = self.ledger(f'tls: {{ roots: ["{made.ca}"], client_cert: "{certificate}", client_key: "{key}"{more} }}\n{top}')
        answer = call(ledger, up)
        self.assertEqual(answer.status, 200, answer)
        return seen

    def test_a_host_that_only_a_caller_names_is_not_shown_our_certificate(self):
        def named(ledger, up):
            ledger.proxied("GET", up.url + "/x")
            return ledger.charge(up)
        self.assertEqual(self.shown(lambda up: ("", ""), named), [False, False])
        self.assertEqual(self.shown(lambda up: ("", f'mounts: {{ /m: "https://other.example" }}\nroutes: [ {{ match: "POST https://127.0.0.1:1/**" }} ]'), named), [False, False])

    def test_hosts_of_mounts_routes_and_client_hosts_are(self):
        self.assertEqual(self.shown(lambda up: ("", f'mounts: {{ /m: "{up.url}" }}'), lambda ledger, up: ledger.direct("POST", "/m/x", b"{}")), [True])
        self.assertEqual(self.shown(lambda up: ("", f'routes: [ {{ match: "POST {up.url}/**" }} ]'), lambda ledger, up: ledger.charge(up)), [True])
        self.assertEqual(self.shown(lambda up: (f', client_hosts: ["127.0.0.1:{up.port}"]', ""), lambda ledger, up: ledger.charge(up)), [True])
        self.assertEqual(self.shown(lambda up: (', client_hosts: ["127.0.0.1:1", x.example]', ""), lambda ledger, up: ledger.charge(up)), [False])


class AsSpelled(Case):
    SPELLED = "/a/./%7Euser/b/../c%2fd//e;x=1/%C3%a9?q=%7e&q=a+b"

    def test_a_target_goes_out_spelled_as_it_came_guarded_or_not(self):
        up = self.upstream()
        ledger = self.ledger(f'mounts: {{ /m: "{up.url}/base" }}\nlisteners: [ {{ listen: "127.0.0.1:0", upstream: "{up.url}" }} ]')
        for method in ("GET", "POST"):
            self.assertEqual(ledger.proxied(method, up.url + self.SPELLED, b"{}").status, 200)
            self.assertEqual(ledger.direct(method, "/m" + self.SPELLED, b"{}").status, 200)
            self.assertEqual(ledger.direct(method, self.SPELLED, b"{2}", port=ledger.ports[1]).status, 200)
        self.assertEqual([r.target for r in up.requests], [self.SPELLED, "/base" + self.SPELLED, self.SPELLED] * 2)

    def test_another_spelling_is_the_same_call_and_takes_the_same_route(self):
        up = self.upstream()
        ledger = self.ledger(f'defaults: {{ POST: pass }}\nroutes: [ {{ name: charge, match: "POST {up.url}/v1/charges" }} ]')
        answers = [ledger.charge(up, path=path) for path in ("/v1/./charges", "/v1/charges", "/x/../v1/%63harges", "/v1/%2e/charges", "/./v1/charges")]
        self.assertEqual([(a["Ledger-Route"], a.ledger) for a in answers], [("charge", "executed")] + [("charge", "replayed")] * 4)
        self.assertEqual([r.target for r in up.requests], ["/v1/./charges"])

    def test_a_path_that_leads_out_of_its_mount_is_refused(self):
        up = self.upstream()
        ledger = self.ledger(f'mounts: {{ /stripe: "{up.url}/base", /stripe/in: "{up.url}/in" }}\nlisteners: [ {{ listen: "127.0.0.1:0", upstream: "{up.url}/base" }} ]')
        below = ("/../x", "/%2e%2e/x", "/.%2E/x", "/..", "/a/../../x", "/a/%2e%2e/%2E%2e/x", "/..%2fx", "/..%5cx", "/..\\x", "/a//../../x", "/..;/x", "/%2e%2e;a=b/x")
        for method in ("POST", "GET"):
            for path in below:
                with self.subTest(path=path, method=method):
                    answer = ledger.direct(method, "/stripe" + path, b"{}")
                    self.assertEqual((answer.status, answer.slug), (400, "bad-request"))
                    self.assertEqual(ledger.direct(method, path, b"{}", port=ledger.ports[1]).status, 400)
            for path in ("/stripe/in/../x", "/x/../stripe/x", "/./stripe/x", "/stripe/x/../in/y"):
                with self.subTest(path=path, method=method):
                    self.assertEqual(ledger.direct(method, path, b"{}").status, 400)
        self.assertEqual((up.effects, ledger.records()), (0, []))
        self.assertEqual(ledger.direct("POST", "/stripe/a/../x", b"{}").status, 200)
        self.assertEqual(up.requests[0].target, "/base/a/../x")

    def test_a_host_with_a_final_dot_is_the_same_host(self):
        up = self.upstream()
        ledger = self.ledger(f'defaults: {{ POST: pass }}\nroutes: [ {{ name: charge, match: "POST http://localhost:{up.port}/**" }} ]')
        answers = [ledger.proxied("POST", f"http://{host}:{up.port}/charge", b"{}") for host in ("localhost", "localhost.", "LocalHost.")]
        self.assertEqual(([a.ledger for a in answers], up.effects), (["executed", "replayed", "replayed"], 1))


if __name__ == "__main__":
    main()
