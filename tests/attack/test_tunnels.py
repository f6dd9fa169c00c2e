"""A caller who wants past the guard, or the proxy down, by what it says in a tunnel."""
import pathlib
import re
import socket
import ssl
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import Case, DEADLINE, SANITIZED, eventually, exchange, main, read_answer, read_head, request_bytes

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def connect(ledger, authority, first=b""):
    client = socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE)
    client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode() + first)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 200"), head
    return client


def rest_of(client):
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


def client_hello(name, versions=b"\x02\x03\x04", padding=0):
    """A ClientHello whose SNI is these bytes, whatever they are; one record."""
    def extension(kind, data):
        return struct.pack("!HH", kind, len(data)) + data

    sni = b"" if name is None else extension(0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name)
    extensions = (sni + extension(43, versions) + extension(10, struct.pack("!HH", 2, 0x1d)) +
                  extension(13, struct.pack("!HH", 2, 0x0403)) + extension(51, struct.pack("!H", 36) + struct.pack("!HH", 0x1d, 32) + b"k" * 32))
    if padding:
        extensions += extension(21, b"\0" * padding)
    body = b"\x03\x03" + b"r" * 32 + b"\0" + struct.pack("!HH", 2, 0x1301) + b"\x01\0" + struct.pack("!H", len(extensions)) + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def records(handshake, size=16384):
    return b"".join(b"\x16\x03\x01" + struct.pack("!H", len(handshake[i:i + size])) + handshake[i:i + size]
                    for i in range(0, len(handshake), size))


class Base(Case):
    def lenient(self):
        """A server that takes for a request whatever the most forgiving one would, and counts the effects."""
        effects = []

        def talk(connection):
            connection.settimeout(DEADLINE)
            data = b""
            try:
                while piece := connection.recv(65536):
                    data += piece
                    if b"\n\r\n" in data or b"\n\n" in data or data.count(b"\n") >= 1 and b"HTTP/" not in data.upper():
                        effects.append(data)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        break
            except OSError:
                pass
            connection.close()

        return self.serve(talk), effects

    def tunnels(self, ledger):
        return {t["host"]: t for t in ledger.admin("GET", "/api/stats").json()["tunnels"]}


class HostNames(Base):
    def test_a_client_hello_that_names_no_host_name_ends_its_tunnel_and_not_the_process(self):
        tls = self.certificates()
        up = self.upstream(tls=tls.server())
        ledger = self.ledger('routes: [ { match: "POST https://*.example.test/**" } ]')
        for name in (b"a b.example.test", b"a@b.example.test", b"[.example.test", b"a\0b.example.test", b"", b".example.test",
                     b"a..example.test", b"a/b.example.test", b"a%.example.test", b"\xff.example.test", b"x" * 300 + b".example.test",
                     b"a:b.example.test", b"*.example.test", b"a.example.test#"):
            with connect(ledger, f"127.0.0.1:{up.port}", first=records(client_hello(name))) as client:
                self.assertEqual(rest_of(client), b"", name)
        self.assertEqual((ledger.process.poll(), ledger.admin("GET", "/healthz").status, up.effects), (None, 200, 0))

    def test_two_names_in_one_client_hello_end_the_tunnel(self):
        reached = []
        port = self.serve(lambda connection: (reached.append(connection.recv(65536)), connection.close()))
        ledger = self.ledger('routes: [ { match: "POST https://guarded.example.test/**" } ]')
        one = struct.pack("!BH", 0, 5) + b"other"
        two = struct.pack("!BH", 0, 20) + b"guarded.example.test"
        hello = client_hello(b"x").replace(struct.pack("!HHHBH", 0, 6, 4, 0, 1) + b"x",
                                           struct.pack("!HHH", 0, len(one + two) + 2, len(one + two)) + one + two)
        grown = len(one + two) - 4
        hello = b"\x01" + (int.from_bytes(hello[1:4], "big") + grown).to_bytes(3, "big") + hello[4:]
        at = 4 + 2 + 32 + 1 + 4 + 2
        hello = hello[:at] + struct.pack("!H", struct.unpack("!H", hello[at:at + 2])[0] + grown) + hello[at + 2:]
        with connect(ledger, f"127.0.0.1:{port}", first=records(hello)) as client:
            self.assertEqual(rest_of(client), b"")
        self.assertEqual([r for r in reached if r], [])

    def test_case_and_a_final_dot_make_no_second_call(self):
        tls = self.certificates()
        up = self.upstream(tls=tls.server("DNS:localhost"))
        ledger = self.ledger(f'routes: [ {{ match: "POST https://localhost:{up.port}/**" }} ]\ntls: {{ roots: ["{tls.ca}"] }}')
        context = ssl.create_default_context(cafile=ledger.directory / "state/ca.pem")
        context.check_hostname = False
        for authority, name in (("localhost", "localhost"), ("localhost.", "localhost"), ("LocalHost.", "LOCALHOST."), ("127.0.0.1", "localhost."),
                                ("127.0.0.1", "LOCALHOST")):
            raw = connect(ledger, f"{authority}:{up.port}")
            with context.wrap_socket(raw, server_hostname=name) as client:
                client.sendall(request_bytes("POST", "/v1", f"{authority if authority[0] in 'lL' else name}:{up.port}", (), b"{}"))
                self.assertEqual(read_answer(client).status, 200, (authority, name))
        self.assertEqual(up.effects, 1)

    def test_a_client_hello_longer_than_a_header_may_be_never_becomes_blind(self):
        reached = []
        port = self.serve(lambda connection: (reached.append(connection.recv(65536)), connection.close()))
        ledger = self.ledger('routes: [ { match: "POST https://guarded.example.test/**" } ]\nlimits: { header_max: 4KiB, header_timeout: 2s }')
        with connect(ledger, f"127.0.0.1:{port}", first=records(client_hello(b"guarded.example.test", padding=9000))[:8000]) as client:
            self.assertEqual(rest_of(client), b"")
        self.assertEqual([r for r in reached if r], [])

    def test_a_client_hello_byte_by_byte_costs_no_more_than_its_bytes(self):
        ledger = self.ledger()
        port = self.serve(lambda connection: (rest_of(connection), connection.close()))
        hello = records(client_hello(b"other.example.test", padding=9_000), size=1)

        def cpu():
            fields = open(f"/proc/{ledger.process.pid}/stat").read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        before = cpu()
        with connect(ledger, f"127.0.0.1:{port}") as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(0, len(hello), 12):
                client.sendall(hello[i:i + 12])
            client.shutdown(socket.SHUT_WR)
            rest_of(client)
        # In hundredths of a second; it was 2 s for a hello of 54 KB, growing with its square.
        self.assertLess(cpu() - before, 300 if SANITIZED else 60)


class RequestLines(Base):
    ODD = {
        "a leading empty line": b"\r\nPOST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "leading bare line feeds": b"\n\n\nPOST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "a leading space": b" POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "two spaces": b"POST  /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "a trailing space": b"POST /x HTTP/1.1 \r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "a tab": b"POST\t/x\tHTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "lower case": b"post /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "a lower-case version": b"POST /x http/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "a version of tomorrow": b"POST /x HTTP/1.2\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "no version": b"POST /x\r\n",
        "an upper-case scheme": b"POST HTTP://h/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "bare line feeds": b"POST /x HTTP/1.1\nHost: h\nContent-Length: 0\n\n",
        "a relative target": b"POST x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "a NUL": b"POST /x\0 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "a preface that goes on otherwise": b"PRI * HTTP/2.0\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    }

    def test_no_spelling_of_a_request_line_goes_by_unguarded(self):
        for what, line in self.ODD.items():
            port, effects = self.lenient()
            ledger = self.ledger()
            for _ in range(2):
                with connect(ledger, f"127.0.0.1:{port}", first=line.replace(b" h/", b" 127.0.0.1:%d/" % port).replace(b"Host: h", b"Host: 127.0.0.1:%d" % port)) as client:
                    client.shutdown(socket.SHUT_WR)
                    got = rest_of(client)
                    self.assertTrue(got == b"" or b"Ledger-Status" in got, (what, got))
            self.assertLessEqual(len(effects), 1, (what, effects))

    def test_a_request_that_comes_in_pieces_is_waited_for(self):
        up = self.upstream()
        ledger = self.ledger()
        raw = request_bytes("POST", "/x", f"127.0.0.1:{up.port}", (), b"{}")
        for at in (1, 2, 4, 5, 6, 12, 16, 17, 18):
            with connect(ledger, f"127.0.0.1:{up.port}") as client:
                client.sendall(raw[:at])
                # Longer than what was once the patience for half a method: nothing may have been sent on.
                client.settimeout(1.3)
                with self.assertRaises(TimeoutError):
                    client.recv(1)
                client.settimeout(DEADLINE)
                client.sendall(raw[at:])
                self.assertIn(read_answer(client).ledger, ("executed", "replayed"))
        self.assertEqual(up.effects, 1)

    def test_what_may_still_become_a_request_line_and_does_not_go_on_ends_the_tunnel(self):
        reached = []
        port = self.serve(lambda connection: (reached.append(connection.recv(65536)), connection.close()))
        ledger = self.ledger("limits: { header_timeout: 200ms }")
        for first in (b"P", b"POST", b"POST ", b"POST /x HTTP", b"\r\n", b"x" * 100, b"\x16\x03\x01"):
            with connect(ledger, f"127.0.0.1:{port}", first=first) as client:
                self.assertEqual(rest_of(client), b"", first)
        self.assertEqual([r for r in reached if r], [])

    def test_a_second_request_of_a_plain_tunnel_that_is_malformed_ends_it(self):
        up = self.upstream()
        ledger = self.ledger()
        with connect(ledger, f"127.0.0.1:{up.port}") as client:
            client.sendall(request_bytes("GET", "/x", f"127.0.0.1:{up.port}"))
            self.assertEqual(read_answer(client, "GET").status, 200)
            client.sendall(b"\x00POST /y HTTP/1.1\r\n\r\n")
            self.assertEqual(read_answer(client).status, 400)
            self.assertEqual(rest_of(client), b"")
        self.assertEqual(up.effects, 1)

    def test_http2_is_blind_only_to_a_host_that_no_route_names(self):
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        reached = []

        def talk(connection):
            reached.append(connection.recv(24))
            connection.sendall(b"settings")
            connection.close()

        port = self.serve(talk)
        with connect(self.ledger(), f"127.0.0.1:{port}", first=preface) as client:
            self.assertEqual(rest_of(client), b"settings")
        for scheme in ("http", "https"):
            with connect(self.ledger(f'routes: [ {{ match: "POST {scheme}://127.0.0.1:{port}/**" }} ]'), f"127.0.0.1:{port}", first=preface) as client:
                self.assertEqual(rest_of(client), b"", scheme)
        self.assertEqual([r for r in reached if r], [preface])

    def test_a_request_after_the_server_spoke_ends_the_tunnel(self):
        got = []

        def talk(connection):
            connection.sendall(b"220 ready\r\n")
            got.append(rest_of(connection))
            connection.close()

        port = self.serve(talk)
        ledger = self.ledger()
        with connect(ledger, f"127.0.0.1:{port}") as client:
            self.assertEqual(client.recv(100), b"220 ready\r\n")
            client.sendall(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual(rest_of(client), b"")
        eventually(lambda: got == [b""], "nothing of the request went on")


class Connects(Base):
    def test_a_connect_takes_a_host_and_a_port_and_nothing_else(self):
        up = self.upstream()
        ledger = self.ledger()
        for target in (f"127.0.0.1:{up.port}/x", f"http://127.0.0.1:{up.port}", f"http://127.0.0.1:{up.port}/", "http:80", f"user@127.0.0.1:{up.port}",
                       f"127.0.0.1:{up.port}?x", f"127.0.0.1:{up.port}#x", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", ":443",
                       "a b:443", "a%20b:443", "[::1:443", "127.0.0.1:+80", "127.0.0.1:8 0", "a..b:443", "*:443"):
            answer = exchange(("127.0.0.1", ledger.port), f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.assertEqual(answer.status, 400 if target != "http:80" else answer.status, target)
            self.assertNotEqual(answer.status, 200, target)
        self.assertEqual(up.effects, 0)

    def test_a_connect_with_a_body_is_refused(self):
        up = self.upstream()
        ledger = self.ledger()
        inner = request_bytes("POST", "/x", f"127.0.0.1:{up.port}", (), b"{}")
        for framing, body in ((f"Content-Length: {len(inner)}", inner), ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner))):
            raw = f"CONNECT 127.0.0.1:{up.port} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode() + body
            self.assertEqual(exchange(("127.0.0.1", ledger.port), raw).status, 400)
        self.assertEqual(up.effects, 0)


class Strict(Base):
    def test_a_tunnel_that_would_be_blind_is_refused_at_its_connect(self):
        up = self.upstream(tls=self.certificates().server())
        ledger = self.ledger('https: { strict: true }\nroutes: [ { match: "POST https://api.example.test/**" } ]')
        answer = exchange(("127.0.0.1", ledger.port), f"CONNECT 127.0.0.1:{up.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertEqual((answer.status, answer.slug), (403, "tunnel-not-opened"))
        self.assertEqual(up.effects, 0)

    def test_a_host_that_an_http_route_names_stays_open_for_plain_http_alone(self):
        up = self.upstream()
        ledger = self.ledger(f'https: {{ strict: true }}\nroutes: [ {{ match: "POST http://127.0.0.1:{up.port}/**" }} ]\nlimits: {{ header_timeout: 500ms }}')
        with connect(ledger, f"127.0.0.1:{up.port}", first=request_bytes("POST", "/x", f"127.0.0.1:{up.port}", (), b"{}")) as client:
            self.assertEqual(read_answer(client).ledger, "executed")
        for first in (records(client_hello(b"other.example.test")), b"\0\1\2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"EHLO x\r\n"):
            with connect(ledger, f"127.0.0.1:{up.port}", first=first) as client:
                self.assertEqual(rest_of(client), b"", first)
        self.assertEqual(up.effects, 1)


class Ends(Base):
    def test_a_client_that_hung_up_does_not_keep_its_tunnel(self):
        held = []

        def talk(connection):
            held.append(connection)
            connection.recv(100)  # and never ends

        port = self.serve(talk)
        ledger = self.ledger("limits: { tunnel_idle_timeout: 300ms }")
        for _ in range(20):
            client = connect(ledger, f"127.0.0.1:{port}", first=b"\0hello")
            client.close()
        eventually(lambda: ledger.metric("ledger_connections") == 0, "no tunnel is left")

    def test_a_tunnel_in_which_nothing_moves_ends_and_one_that_moves_does_not(self):
        def echo(connection):
            while piece := connection.recv(100):
                connection.sendall(piece)
            connection.close()

        port = self.serve(echo)
        ledger = self.ledger("limits: { tunnel_idle_timeout: 700ms }")
        idle = connect(ledger, f"127.0.0.1:{port}", first=b"\0")
        busy = connect(ledger, f"127.0.0.1:{port}", first=b"\0")
        self.assertEqual((idle.recv(1), busy.recv(1)), (b"\0", b"\0"))
        begun = time.monotonic()
        idle_ended = threading.Event()
        watcher = threading.Thread(target=lambda: (rest_of(idle), idle_ended.set()))
        watcher.start()
        while not idle_ended.is_set():  # what moves outlives what does not
            busy.sendall(b"x")
            self.assertEqual(busy.recv(1), b"x")
            self.assertLess(time.monotonic() - begun, DEADLINE)
        busy.sendall(b"y")
        self.assertEqual(busy.recv(1), b"y")
        watcher.join()
        idle.close(), busy.close()


    def test_a_tunnel_that_was_only_silent_ends_and_never_becomes_blind(self):
        up = self.upstream()
        for config in ("", f'routes: [ {{ match: "POST http://127.0.0.1:{up.port}/**" }} ]'):
            ledger = self.ledger(config + "\nlimits: { tunnel_idle_timeout: 300ms }")
            with connect(ledger, f"127.0.0.1:{up.port}") as client:
                self.assertEqual(client.recv(1), b"")
        self.assertEqual(up.effects, 0)

    def test_a_client_that_only_listens_is_served_as_long_as_something_moves(self):
        go = threading.Semaphore(0)

        def feed(connection):
            connection.sendall(b"0")
            for i in range(1, 8):
                go.acquire(timeout=DEADLINE)
                connection.sendall(b"%d" % i)
            connection.close()

        port = self.serve(feed)
        ledger = self.ledger("limits: { tunnel_idle_timeout: 600ms }")
        with connect(ledger, f"127.0.0.1:{port}") as client:
            begun = time.monotonic()
            for i in range(8):
                self.assertEqual(client.recv(1), b"%d" % i)
                # Longer in all than the tunnel may stand still.
                threading.Timer(0.2, go.release).start()
            self.assertGreater(time.monotonic() - begun, 0.6)
            self.assertEqual(client.recv(1), b"")


class Seen(Base):
    def test_blind_tunnels_are_counted_by_host_and_the_first_is_told(self):
        tls = self.certificates()
        up = self.upstream(tls=tls.server())
        ledger = self.ledger()
        context = ssl.create_default_context(cafile=tls.ca)
        for _ in range(3):
            with context.wrap_socket(connect(ledger, f"127.0.0.1:{up.port}"), server_hostname="127.0.0.1") as client:
                client.sendall(request_bytes("POST", "/x", f"127.0.0.1:{up.port}", (), b"{}"))
                self.assertEqual(read_answer(client).ledger, None)
        self.assertEqual(self.tunnels(ledger)["127.0.0.1"]["blind"], 3)
        self.assertIn('ledger_tunnels_total{host="127.0.0.1",kind="blind"} 3', ledger.admin("GET", "/metrics").body.decode())
        log = (ledger.directory / "log").read_text()
        self.assertEqual(len(re.findall("blind: its calls are neither seen nor guarded", log)), 1)
        explained = ledger.cli("explain", "--json", "POST", f"https://127.0.0.1:{up.port}/x", "-d", "{}")
        self.assertIn('"blind"', explained.stdout)

    def test_open_all_reads_every_tunnel_and_guards_what_is_named(self):
        tls = self.certificates()
        up = self.upstream(tls=tls.server())
        context = None
        for guard, expected, effects in (("[]", ["passed", "passed"], 2), ('["127.0.0.1"]', ["executed", "replayed"], 3)):
            ledger = self.ledger(f'https: {{ open: all, guard: {guard} }}\ntls: {{ roots: ["{tls.ca}"] }}')
            context = ssl.create_default_context(cafile=ledger.directory / "state/ca.pem")
            for status in expected:
                with context.wrap_socket(connect(ledger, f"127.0.0.1:{up.port}"), server_hostname="127.0.0.1") as client:
                    client.sendall(request_bytes("POST", "/x", f"127.0.0.1:{up.port}", (), b"{}"))
                    self.assertEqual(read_answer(client).ledger, status)
            self.assertEqual(up.effects, effects)
            seen = self.tunnels(ledger)["127.0.0.1"]
            self.assertEqual((seen["opened"], seen["blind"], seen["passed"]), (2, 0, expected.count("passed")))

    def test_a_host_that_is_never_opened_is_blind(self):
        tls = self.certificates()
        up = self.upstream(tls=tls.server())
        ledger = self.ledger('https: { open: all, never: ["127.0.0.1"] }')
        context = ssl.create_default_context(cafile=tls.ca)
        with context.wrap_socket(connect(ledger, f"127.0.0.1:{up.port}"), server_hostname="127.0.0.1") as client:
            client.sendall(request_bytes("POST", "/x", f"127.0.0.1:{up.port}", (), b"{}"))
            self.assertEqual(read_answer(client).ledger, None)
        self.assertEqual(self.tunnels(ledger)["127.0.0.1"]["blind"], 1)


if __name__ == "__main__":
    main()
