"""CONNECT: hosts that an https route names are opened and guarded; every other tunnel is blind."""
import base64
import hashlib
import os
import socket
import ssl
import threading

from harness import SANITIZED, Case, DEADLINE, Gate, closed_port, eventually, exchange, main, read_answer, read_head, request_bytes

MIB = 1024 * 1024


def connect(ledger, authority, headers="", version="1.1", first=b""):
    """A socket through which `authority` is reached; None and the answer where it was refused."""
    client = socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE)
    client.sendall(f"CONNECT {authority} HTTP/{version}\r\nHost: {authority}\r\n{headers}\r\n".encode() + first)
    reader = client.makefile("rb", buffering=0)
    status = read_head(reader)[0].split(" ")[1]
    assert status == "200", status
    return client


class Base(Case):
    def setUp(self):
        self.tls = self.certificates()

    def opened(self, more="", header_timeout="30s", **given):
        """A TLS upstream, and a proxy with a route that names it."""
        self.up = self.upstream(tls=self.tls.server(), **given)
        config = f'routes: [ {{ name: charge, match: "POST {self.up.url}/**"{more} }}, {{ match: "GET {self.up.url}/**", policy: pass }} ]'
        limits = f"limits: {{ header_timeout: {header_timeout} }}"
        return self.ledger(f'{config}\n{limits}\ntls: {{ roots: ["{self.tls.ca}"] }}')

    def client_context(self, ledger):
        context = ssl.create_default_context(cafile=ledger.directory / "state/ca.pem")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    def tunnel(self, ledger, authority, name=None, context=None, **more):
        raw = connect(ledger, authority, **more)
        wrapped = (context or self.client_context(ledger)).wrap_socket(raw, server_hostname=name or authority.rsplit(":", 1)[0])
        self.addCleanup(wrapped.close)
        return wrapped

    def post(self, ledger, authority, path="/v1/charges", body=b'{"amount":49}', **more):
        client = self.tunnel(ledger, authority, **more)
        client.sendall(request_bytes("POST", path, authority, {"Content-Type": "application/json"}, body))
        return read_answer(client)

    def log_has(self, ledger, *words):
        eventually(lambda: all(w in (ledger.directory / "log").read_text() for w in words), f"a log line with {words}")


class Opened(Base):
    def test_five_calls_in_five_tunnels_are_one_effect(self):
        ledger = self.opened()
        authority = f"127.0.0.1:{self.up.port}"
        answers = [self.post(ledger, authority) for _ in range(5)]
        self.assertEqual([a.ledger for a in answers], ["executed"] + ["replayed"] * 4)
        self.assertEqual((len({a.body for a in answers}), self.up.effects), (1, 1))
        self.assertEqual(answers[0]["Ledger-Route"], "charge")

    def test_fifty_at_once_are_one_effect(self):
        ledger = self.opened()
        gate = Gate(self.up.count_up)
        self.up.handler = gate
        authority = f"127.0.0.1:{self.up.port}"
        calls = self.in_parallel(*[lambda: self.post(ledger, authority)] * 50)
        gate.wait_for_call()
        eventually(lambda: ledger.metric("ledger_waiters") == 49, "the others wait")
        gate.opened.set()
        self.assertEqual(({a.status for a in calls.get()}, self.up.effects), ({200}, 1))

    def test_a_mount_and_a_tunnel_share_one_key(self):
        self.up = self.upstream(tls=self.tls.server())
        ledger = self.ledger(f'routes: [ {{ name: charge, match: "POST {self.up.url}/**" }} ]\n'
                             f'mounts: {{ /s: {{ upstream: "{self.up.url}" }} }}\ntls: {{ roots: ["{self.tls.ca}"] }}')
        first = self.post(ledger, f"127.0.0.1:{self.up.port}")
        second = ledger.direct("POST", "/s/v1/charges", b'{"amount":49}', {"Content-Type": "application/json"})
        self.assertEqual((second.ledger, second["Ledger-Record"], self.up.effects), ("replayed", first["Ledger-Record"], 1))

    def test_one_tunnel_carries_many_calls(self):
        ledger = self.opened()
        client = self.tunnel(ledger, f"127.0.0.1:{self.up.port}")
        for i in range(20):
            client.sendall(request_bytes("POST", f"/v1/{i % 10}", f"127.0.0.1:{self.up.port}", (), b"{}"))
            self.assertEqual(read_answer(client).ledger, "executed" if i < 10 else "replayed")
        self.assertEqual(self.up.effects, 10)

    def test_what_passes_in_an_opened_tunnel_streams(self):
        turn = threading.Semaphore(0)

        def events(request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(3):
                connection.sendall(b"9\r\ndata: %d\n\n\r\n" % i)
                turn.acquire(timeout=DEADLINE)
            connection.sendall(b"0\r\n\r\n")

        ledger = self.opened(handler=events)
        client = self.tunnel(ledger, f"127.0.0.1:{self.up.port}")
        client.sendall(request_bytes("GET", "/events", f"127.0.0.1:{self.up.port}"))
        got = b""
        for i in range(3):
            while b"data: %d\n\n" % i not in got:
                got += client.recv(4096)
            turn.release()
        while not got.endswith(b"0\r\n\r\n"):
            got += client.recv(4096)
        self.assertIn(b"Ledger-Status: passed", got)

    def test_a_websocket_in_an_opened_tunnel_goes_both_ways(self):
        def upgrade(request, connection):
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            while piece := connection.recv(4096):
                connection.sendall(piece[::-1])

        ledger = self.opened(handler=upgrade)
        client = self.tunnel(ledger, f"127.0.0.1:{self.up.port}")
        client.sendall(request_bytes("GET", "/ws", f"127.0.0.1:{self.up.port}",
                                     {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x"}))
        got = b""
        while b"\r\n\r\n" not in got:
            got += client.recv(4096)
        self.assertTrue(got.startswith(b"HTTP/1.1 101"), got)
        client.sendall(b"abc")
        self.assertEqual(client.recv(3), b"cba")

    def test_the_proxy_urls_user_names_agent_and_run(self):
        ledger = self.opened()
        user = base64.b64encode(b"billing-bot.run-7:ignored").decode()
        self.post(ledger, f"127.0.0.1:{self.up.port}", headers=f"Proxy-Authorization: Basic {user}\r\n")
        record = ledger.records()[0]
        self.assertEqual((record["agent"], record["run"], record["url"]),
                         ("billing-bot", "run-7", f"https://127.0.0.1:{self.up.port}/v1/charges"))
        self.assertEqual(self.up.requests[0]["Proxy-Authorization"], None)

    def test_a_token_is_asked_for_before_a_tunnel(self):
        up = self.upstream(tls=self.tls.server())
        ledger = self.ledger(f'routes: [ {{ match: "POST {up.url}/**" }} ]\nauth: {{ token: secret }}\ntls: {{ roots: ["{self.tls.ca}"] }}')
        authority = f"127.0.0.1:{up.port}"
        asked = exchange(("127.0.0.1", ledger.port), f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode(), method="CONNECT")
        self.assertEqual((asked.status, asked["Proxy-Authenticate"] is not None), (407, True))
        user = base64.b64encode(b"bot:secret").decode()
        self.assertEqual(self.post(ledger, authority, headers=f"Proxy-Authorization: Basic {user}\r\n").ledger, "executed")

    def test_what_real_clients_send_with_connect_is_taken(self):
        ledger = self.opened()
        authority = f"127.0.0.1:{self.up.port}"
        for version, headers in (("1.0", ""), ("1.1", "connection: close\r\n"), ("1.1", "Proxy-Connection: Keep-Alive\r\n")):
            self.assertIn(self.post(ledger, authority, version=version, headers=headers).ledger, ("executed", "replayed"))
        client = socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE)
        client.sendall(f"CONNECT {authority} HTTP/1.0\r\n\r\n".encode())  # no Host
        self.assertIn("200", read_head(client.makefile("rb", buffering=0))[0])
        client = self.client_context(ledger).wrap_socket(client, server_hostname="127.0.0.1")
        client.sendall(request_bytes("POST", "/v1/charges", authority, {"Content-Type": "application/json"}, b'{"amount":49}'))
        self.assertEqual((read_answer(client).ledger, self.up.effects), ("replayed", 1))

    def test_tls_that_comes_with_connect_itself_is_taken(self):
        # A client that does not wait for our 200.
        ledger = self.opened()
        authority = f"127.0.0.1:{self.up.port}"
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.client_context(ledger).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        client = connect(ledger, authority, first=outgoing.read())
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.sendall(outgoing.read())
                incoming.write(client.recv(65536))
        tls.write(request_bytes("POST", "/v1/charges", authority, (), b"{}"))
        client.sendall(outgoing.read())
        answer = b""
        while b"Ledger-Status: executed" not in answer:
            incoming.write(client.recv(65536))
            try:
                answer += tls.read(65536)
            except ssl.SSLWantReadError:
                pass  # the session's ticket came alone

    def test_a_host_inside_that_is_not_the_tunnels_is_refused(self):
        ledger = self.opened()
        authority = f"127.0.0.1:{self.up.port}"
        for before in (0, 1):  # of the same call with the right host, on the same connection
            client = self.tunnel(ledger, authority)
            for _ in range(before):
                client.sendall(request_bytes("POST", "/v1/charges", authority, (), b"{}"))
                self.assertEqual(read_answer(client).ledger, "executed")
            client.sendall(request_bytes("POST", "/v1/charges", "elsewhere.example", (), b"{}"))
            answer = read_answer(client)
            self.assertEqual((answer.status, answer.slug, self.up.effects), (400, "bad-request", before))

    def test_a_call_before_the_tunnel_does_not_show_the_way_to_one_inside(self):
        up = self.upstream()
        ledger = self.ledger(f'routes: [ {{ name: charge, match: "POST {up.url}/**" }} ]\nhosts: ["127.0.0.1"]\n'
                             f'mounts: {{ /v1: {{ upstream: "http://127.0.0.1:{closed_port()}" }} }}')
        authority = f"127.0.0.1:{up.port}"
        client = socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE)
        self.addCleanup(client.close)
        client.sendall(request_bytes("POST", "/v1/charges", authority))
        self.assertEqual(read_answer(client).status, 502)
        client.sendall(request_bytes("CONNECT", authority, authority))
        self.assertIn(" 200 ", read_head(client.makefile("rb", buffering=0))[0])
        client.sendall(request_bytes("POST", "/v1/charges", authority))
        self.assertEqual((read_answer(client)["Ledger-Route"], up.effects), ("charge", 1))

    def test_an_address_with_the_name_of_a_guarded_host_is_opened(self):
        # Of a client that looks names up itself.
        up = self.upstream(tls=self.tls.server())
        ledger = self.ledger(f'routes: [ {{ name: charge, match: "POST https://localhost:{up.port}/**" }} ]\ntls: {{ roots: ["{self.tls.ca}"] }}')
        client = self.tunnel(ledger, f"127.0.0.1:{up.port}", name="localhost")
        client.sendall(request_bytes("POST", "/v1/charges", f"localhost:{up.port}", (), b"{}"))
        answer = read_answer(client)
        self.assertEqual((answer.ledger, answer["Ledger-Route"], up.effects), ("executed", "charge", 1))

    def test_plain_http_in_a_tunnel_has_the_key_of_an_absolute_form_call(self):
        up = self.upstream()
        ledger = self.ledger(f'routes: [ {{ name: charge, match: "POST {up.url}/**" }} ]')
        first = ledger.charge(up)
        with connect(ledger, f"127.0.0.1:{up.port}") as client:
            for _ in range(2):
                client.sendall(request_bytes("POST", "/v1/charges", f"127.0.0.1:{up.port}", {"Content-Type": "application/json"}, b'{"amount":49}'))
                answer = read_answer(client)
                self.assertEqual((answer.ledger, answer["Ledger-Record"]), ("replayed", first["Ledger-Record"]))
        self.assertEqual(up.effects, 1)

    def test_a_request_line_that_comes_byte_by_byte_is_plain_http(self):
        up = self.upstream()
        ledger = self.ledger()
        with connect(ledger, f"127.0.0.1:{up.port}") as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in request_bytes("POST", "/slow", f"127.0.0.1:{up.port}", (), b"{}"):
                client.sendall(bytes([byte]))
            self.assertEqual(read_answer(client).ledger, "executed")

    def test_without_a_ca_a_guarded_host_is_refused_and_all_else_works(self):
        up = self.upstream()
        ledger = self.ledger('state: /proc/no/such/place\nroutes: [ { match: "POST https://api.stripe.com/v1/charges" } ]', own_state=False)
        answer = exchange(("127.0.0.1", ledger.port), b"CONNECT api.stripe.com:443 HTTP/1.1\r\nHost: api.stripe.com:443\r\n\r\n", method="CONNECT")
        self.assertEqual(answer.status, 501)
        self.assertEqual(ledger.charge(up).ledger, "executed")
        self.log_has(ledger, "refused", "/proc/no/such/place")


class Tls(Base):
    def test_versions_and_protocols(self):
        ledger = self.opened()
        authority = f"127.0.0.1:{self.up.port}"
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.client_context(ledger)
            context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(["h2", "http/1.1"])
            client = self.tunnel(ledger, authority, context=context)
            self.assertEqual((client.version(), client.selected_alpn_protocol()), (version.name.replace("_", "."), "http/1.1"))
        context = self.client_context(ledger)
        context.set_alpn_protocols(["h2"])
        with self.assertRaises(ssl.SSLError):
            self.tunnel(ledger, authority, context=context)
        self.log_has(ledger, "TLS handshake with the client", "no application protocol")

    def test_sessions_are_resumed(self):
        ledger = self.opened()
        authority = f"127.0.0.1:{self.up.port}"
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.client_context(ledger)
            context.minimum_version = context.maximum_version = version
            first = self.tunnel(ledger, authority, context=context)
            first.sendall(request_bytes("POST", "/v1", authority, (), b"{}"))
            read_answer(first)  # TLS 1.3's ticket came with it
            again = context.wrap_socket(connect(ledger, authority), server_hostname="127.0.0.1", session=first.session)
            self.addCleanup(again.close)
            self.assertTrue(again.session_reused, version)

    def test_the_certificate_is_one_that_strict_clients_take(self):
        ledger = self.opened()
        client = self.tunnel(ledger, f"127.0.0.1:{self.up.port}")
        certificate = client.getpeercert()
        self.assertEqual(certificate["subjectAltName"], (("IP Address", "127.0.0.1"),))
        days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - ssl.cert_time_to_seconds(certificate["notBefore"])) / 86400
        self.assertLess(days, 200)

    def test_64_tunnels_at_once_to_a_new_host_sign_one_certificate(self):
        ledger = self.ledger('routes: [ { match: "POST https://*.example.test/**" } ]')
        context = self.client_context(ledger)
        start = threading.Barrier(64)

        def one():
            raw = connect(ledger, "new.example.test:443")
            start.wait(DEADLINE)
            with context.wrap_socket(raw, server_hostname="new.example.test") as client:
                return client.getpeercert()["serialNumber"]

        serials = self.in_parallel(*[one] * 64).get()
        self.assertEqual((len(set(serials)), ledger.metric("ledger_certificates_signed_total")), (1, 1))

    def test_a_thousand_hosts_stay_within_the_cache(self):
        ledger = self.ledger('routes: [ { match: "POST https://*.example.test/**" } ]')
        context = self.client_context(ledger)

        def visit(host):
            with context.wrap_socket(connect(ledger, f"{host}.example.test:443"), server_hostname=f"{host}.example.test"):
                pass

        for i in range(600):
            visit(f"a{i}")
        before = ledger.metric("process_resident_memory_bytes")
        for i in range(600, 1000):
            visit(f"a{i}")
        self.assertEqual(ledger.metric("ledger_certificates_signed_total"), 1000)
        if not SANITIZED:
            self.assertLess(ledger.metric("process_resident_memory_bytes") - before, 2 * MIB)
        visit("a999")
        self.assertEqual(ledger.metric("ledger_certificates_signed_total"), 1000)
        visit("a0")  # was let go
        self.assertEqual(ledger.metric("ledger_certificates_signed_total"), 1001)

    def test_a_restart_keeps_the_ca_and_a_rotation_makes_another(self):
        ledger = self.opened()
        file = ledger.directory / "state/ca.pem"
        first = file.read_text()
        ledger.restart()
        self.assertEqual(file.read_text(), first)
        self.assertEqual(ledger.admin("GET", "/ca.pem").body.decode(), first)
        path = ledger.cli("ca", "path", "-c", str(ledger.file))
        self.assertEqual((path.returncode, path.stdout), (0, f"{file}\n"))
        self.assertEqual(ledger.cli("ca", "rotate", "-c", str(ledger.file)).returncode, 0)
        self.assertNotEqual(file.read_text(), first)
        ledger.restart()
        self.assertEqual(self.post(ledger, f"127.0.0.1:{self.up.port}").ledger, "executed")
        key = ledger.directory / "state/ca-key.pem"
        self.assertEqual((key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777), (0o600, 0o700))
        self.assertNotIn("PRIVATE", file.read_text())
        self.assertNotIn("PRIVATE", (ledger.directory / "log").read_text())

    def test_a_ca_of_ones_own_signs(self):
        self.up = self.upstream(tls=self.tls.server())
        ledger = self.ledger(f'routes: [ {{ match: "POST {self.up.url}/**" }} ]\n'
                             f'tls: {{ roots: ["{self.tls.ca}"], ca: "{self.tls.ca}", ca_key: "{self.tls.directory}/ca.key" }}')
        context = ssl.create_default_context(cafile=self.tls.ca)
        self.assertEqual(self.post(ledger, f"127.0.0.1:{self.up.port}", context=context).ledger, "executed")
        self.assertFalse((ledger.directory / "state").exists())


class Wrong(Base):
    def test_a_client_that_does_not_trust_the_ca_is_named_in_the_log(self):
        ledger = self.opened()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=self.tls.ca)
            context.minimum_version = context.maximum_version = version
            with self.assertRaises(ssl.SSLCertVerificationError):
                self.tunnel(ledger, f"127.0.0.1:{self.up.port}", context=context)
        eventually(lambda: (ledger.directory / "log").read_text().count("unknown ca") == 2, "both are in the log")
        self.assertEqual(self.up.effects, 0)

    def test_an_upstream_whose_certificate_is_bad_is_unreachable_and_no_call_is_lost(self):
        for alternatives, days, reason in (("IP:127.0.0.1", -1, "expired"), ("DNS:elsewhere.example", 2, "mismatch")):
            up = self.upstream(tls=self.tls.server(alternatives, days=days))
            ledger = self.ledger(f'routes: [ {{ match: "POST {up.url}/**" }} ]\ntls: {{ roots: ["{self.tls.ca}"] }}')
            answers = [self.post(ledger, f"127.0.0.1:{up.port}") for _ in range(2)]
            self.assertEqual([(a.status, a.slug, a.json()["safe_to_retry"]) for a in answers], [(502, "upstream-unreachable", True)] * 2)
            self.assertIn(reason, answers[0].json()["detail"])
            self.assertEqual((ledger.records()[0]["state"], up.requests), ("released", []))

    def test_an_upstream_that_speaks_plain_http_is_unreachable(self):
        def refuse(connection):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            connection.close()

        port = self.serve(refuse)
        ledger = self.ledger(f'routes: [ {{ match: "POST https://127.0.0.1:{port}/**" }} ]')
        answer = self.post(ledger, f"127.0.0.1:{port}")
        self.assertEqual((answer.status, answer.slug), (502, "upstream-unreachable"))
        self.assertIn("plain HTTP", answer.json()["detail"])

    def test_an_upstream_that_says_nothing_to_tls_is_told_after_one_time_out(self):
        calls = []

        def silent(connection):
            calls.append(connection)
            while connection.recv(4096):
                pass

        url = f"https://127.0.0.1:{self.serve(silent)}"
        ledger = self.ledger(f'routes: [ {{ match: "POST {url}/**" }} ]\nlimits: {{ connect_timeout: 200ms }}')
        answer = ledger.proxied("POST", url + "/x", b"{}")
        self.assertEqual((answer.slug, answer.json()["safe_to_retry"]), ("upstream-unreachable", True))
        self.assertIn("in the TLS handshake", answer.json()["detail"])
        self.assertEqual(len(calls), 1)

    def test_plain_http_to_a_guarded_https_port_is_told(self):
        ledger = self.opened()
        with connect(ledger, f"127.0.0.1:{self.up.port}") as client:
            client.sendall(request_bytes("POST", "/v1", f"127.0.0.1:{self.up.port}", (), b"{}"))
            answer = read_answer(client)
        # The upstream saw plain HTTP on its TLS port, and gave no answer: whether it acted is not known to us.
        self.assertEqual((answer.status, answer.slug, self.up.effects), (502, "outcome-unknown", 0))

    def test_what_is_neither_tls_nor_http_ends_the_tunnel_to_an_opened_host(self):
        reached = []
        port = self.serve(lambda connection: reached.append(connection))
        ledger = self.ledger(f'routes: [ {{ match: "POST https://127.0.0.1:{port}/**" }} ]')
        for garbage in (b"\x00garbage", b"EHLO me\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"):
            with connect(ledger, f"127.0.0.1:{port}", first=garbage) as client:
                self.assertEqual(client.recv(100), b"", garbage)
        self.log_has(ledger, "neither TLS nor HTTP", "HTTP/2", "ClientHello is malformed")
        self.assertEqual(reached, [])

    def test_a_message_to_a_guarded_host_that_stops_in_the_middle_never_goes_through_unguarded(self):
        ledger = self.opened(header_timeout="1500ms")
        outgoing = ssl.MemoryBIO()
        tls = self.client_context(ledger).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        for first in (outgoing.read()[:100], b"\x16", b"POST /v1/charges HT", b"POST /" + b"a" * 70_000):
            with connect(ledger, f"127.0.0.1:{self.up.port}", first=first) as client:
                # Longer than what could still be another protocol's greeting is waited for: an answer, or the end.
                got = client.recv(100)
                self.assertTrue(got == b"" or got.startswith(b"HTTP/1.1 4"), got)
        self.assertNotIn("blind:", (ledger.directory / "log").read_text())
        self.log_has(ledger, "did not go on")

    def test_a_client_that_gives_up_in_the_handshake_is_in_the_log(self):
        ledger = self.opened()
        outgoing = ssl.MemoryBIO()
        tls = self.client_context(ledger).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        client = connect(ledger, f"127.0.0.1:{self.up.port}", first=outgoing.read())
        client.recv(1)
        client.close()
        self.log_has(ledger, "TLS handshake with the client")
        self.assertEqual(self.post(ledger, f"127.0.0.1:{self.up.port}").ledger, "executed")

    def test_a_target_that_refuses_or_is_none_is_told(self):
        ledger = self.ledger()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        answer = exchange(("127.0.0.1", ledger.port), f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertEqual((answer.status, answer.slug), (502, "upstream-unreachable"))
        answer = exchange(("127.0.0.1", ledger.port), b"CONNECT nonsense HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(answer.status, 400)

    def test_a_tunnel_to_ourselves_is_a_loop(self):
        ledger = self.ledger()
        answer = exchange(("127.0.0.1", ledger.port), f"CONNECT localhost:{ledger.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertEqual((answer.status, answer.slug), (508, "loop-detected"))


class Blind(Base):
    def test_a_server_may_speak_first_and_half_closes_are_kept(self):
        def echo(connection):
            connection.sendall(b"I speak first\n")
            data = b""
            while piece := connection.recv(65536):
                data += piece
            connection.sendall(data[::-1])
            connection.close()

        port = self.serve(echo)
        ledger = self.ledger()
        with connect(ledger, f"127.0.0.1:{port}", version="1.0") as client:
            reader = client.makefile("rb", buffering=0)
            self.assertEqual(reader.readline(), b"I speak first\n")
            data = os.urandom(2 * MIB)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            got = b""
            while piece := client.recv(65536):
                got += piece
            self.assertEqual(got, data[::-1])

    def test_a_line_that_is_no_request_is_let_through(self):
        def banner(connection):
            self.assertEqual(connection.recv(100), b"HELLO you\r\n")
            connection.sendall(b"hi")
            connection.close()

        port = self.serve(banner)
        ledger = self.ledger()
        with connect(ledger, f"127.0.0.1:{port}") as client:
            client.sendall(b"HELLO ")  # could be a method: the rest is waited for
            client.sendall(b"you\r\n")
            self.assertEqual(client.recv(10), b"hi")

    def test_tls_to_a_host_that_no_route_names_is_the_upstreams_own(self):
        up = self.upstream(tls=self.tls.server())
        ledger = self.ledger('routes: [ { match: "POST https://api.stripe.com/**" } ]')
        context = ssl.create_default_context(cafile=self.tls.ca)
        client = self.tunnel(ledger, f"127.0.0.1:{up.port}", context=context)
        client.sendall(request_bytes("POST", "/v1", f"127.0.0.1:{up.port}", (), b"{}"))
        answer = read_answer(client)
        self.assertEqual((answer.ledger, up.effects, ledger.records()), (None, 1, []))

    def test_a_gigabyte_each_way_is_unchanged_and_memory_stays_flat(self):
        size = (32 if SANITIZED else 1024) * MIB
        block = os.urandom(MIB)

        def both(connection):
            digest, got = hashlib.sha256(), 0
            sender = threading.Thread(target=lambda: [connection.sendall(block) for _ in range(size // MIB)])
            sender.start()
            while got < size:
                piece = connection.recv(MIB)
                digest.update(piece)
                got += len(piece)
            sender.join()
            connection.sendall(digest.digest())
            connection.close()

        expected = hashlib.sha256()
        for _ in range(size // MIB):
            expected.update(block)
        port = self.serve(both)
        ledger = self.ledger()
        with connect(ledger, f"127.0.0.1:{port}") as client:
            before = ledger.metric("process_resident_memory_bytes")
            sender = threading.Thread(target=lambda: [client.sendall(block) for _ in range(size // MIB)])
            sender.start()
            digest, got, tail = hashlib.sha256(), 0, b""
            while got < size + 32:
                piece = client.recv(MIB)
                self.assertTrue(piece, "broken off")
                digest.update(piece[:max(0, size - got)])
                tail += piece[max(0, size - got):]
                got += len(piece)
            sender.join()
            grown = ledger.metric("process_resident_memory_bytes") - before
        self.assertEqual((digest.digest(), tail), (expected.digest(), expected.digest()))
        if not SANITIZED:
            self.assertLess(grown, 4 * MIB)


if __name__ == "__main__":
    main()
