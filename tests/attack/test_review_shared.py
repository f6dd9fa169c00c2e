"""What callers share (connections, threads, memory, the log), and one of them who wants the others' part of it."""
import os
import pathlib
import re
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import Case, DEADLINE, eventually, guarded_route, main, read_answer, request_bytes


class Accounts:
    """An upstream that authenticates connections, as NTLM does: who has shown a name is that one until its end."""

    def __init__(self, legs=1):
        self.legs, self.who, self.lock = legs, {}, threading.Lock()

    def __call__(self, request, connection):
        shown = (request["Authorization"] or "").split()
        with self.lock:
            name, seen, _ = self.who.get(id(connection), ("", 0, connection))
            if shown and shown[0] in ("NTLM", "Negotiate"):
                name, seen = shown[1], seen + 1
            self.who[id(connection)] = (name, seen, connection)  # kept, so that no other gets its id
        if seen < self.legs:
            return 401, {"WWW-Authenticate": "NTLM challenge" if shown else "NTLM"}, b"who?"
        return 200, {"Content-Type": "text/plain"}, f"as {name}".encode()


class AccountsTest(Case):
    def test_nobody_gets_on_a_connection_that_another_caller_has_authenticated(self):
        up = self.upstream(Accounts())
        mounts = f"mounts: {{ /m: {{ upstream: \"{up.url}\" }} }}\n"
        for config in ("", mounts, mounts + guarded_route(up)):
            ledger = self.ledger("limits: { threads: 1 }\n" + config)
            ways = [lambda *a, **m: ledger.proxied(a[0], up.url + a[1], **m)]
            if config:
                ways.append(lambda *a, **m: ledger.direct(a[0], "/m" + a[1], **m))
            for alice in ways:
                for scheme in ("NTLM", "Negotiate"):
                    for method in ("GET", "POST"):
                        mine = alice(method, f"/me{scheme}", headers=[("Authorization", scheme + " alice")])
                        self.assertEqual((mine.status, mine.body), (200, b"as alice"))
                        for bob in ways:
                            for other in ("GET", "POST"):
                                got = bob(other, f"/secret{scheme}{method}")
                                self.assertEqual((other, got.status, got.body), (other, 401, b"who?"))

    def test_a_connection_to_a_mount_that_many_may_share_keeps_nobodys_account(self):
        up = self.upstream(Accounts())
        ledger = self.ledger(f"mounts: {{ /m: {{ upstream: \"{up.url}\" }} }}\n")
        with socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as gateway:
            statuses = []
            for headers in ([("Authorization", "NTLM alice")], []):
                gateway.sendall(request_bytes("GET", "/m/me", f"127.0.0.1:{ledger.port}", headers))
                statuses.append(read_answer(gateway, "GET").status)
        self.assertEqual(statuses, [200, 401])

    def test_one_client_on_its_own_connection_can_do_ntlm(self):
        up = self.upstream(Accounts(legs=2))
        ledger = self.ledger(f'limits: {{ threads: 1 }}\nroutes: [ {{ name: free, match: "POST {up.url}/**", policy: pass }} ]')
        with socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as client:
            got = []
            for method, shown in (("GET", ""), ("GET", "NTLM alice"), ("GET", "NTLM alice"), ("GET", ""), ("POST", "")):
                client.sendall(request_bytes(method, up.url + "/me", "x", [("Authorization", shown)] if shown else []))
                answer = read_answer(client, method)
                got.append((answer.status, answer.body))
                # Somebody in between, who must not get what is another's.
                self.assertEqual(ledger.proxied("GET", up.url + "/secret").status, 401)
        self.assertEqual(got, [(401, b"who?")] * 2 + [(200, b"as alice")] * 3)


class AdminAnswers(Case):
    def fill(self, n):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        with socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as client:
            for i in range(n):
                client.sendall(request_bytes("POST", f"{up.url}/{i}" + "a" * 60_000, "x", body=b"{}"))
                self.assertEqual(read_answer(client).status, 200)
        return ledger

    def test_a_page_of_records_is_bounded_in_bytes_and_the_next_one_goes_on(self):
        ledger = self.fill(60)
        seen, cursor, pages = [], "", 0
        while cursor is not None:
            answer = ledger.admin("GET", f"/api/records?limit=1000&cursor={cursor}")
            self.assertLess(len(answer.body), 2_200_000)
            seen += [int(re.search(r"/(\d+)a", record["url"])[1]) for record in answer.json()["records"]]
            cursor, pages = answer.json()["next"], pages + 1
        self.assertEqual((seen, pages), (list(range(59, -1, -1)), 2))

    def test_limit_and_next_are_exact_whatever_is_read_at_a_time(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        for i in range(40):
            ledger.charge(up, path=f"/{i}")
        for limit in (1, 15, 16, 17, 32, 39, 40, 41, 1000):
            seen, cursor = [], ""
            while cursor is not None:
                page = ledger.admin("GET", f"/api/records?limit={limit}&cursor={cursor}").json()
                self.assertTrue(len(page["records"]) == limit or page["next"] is None)
                seen += [int(record["url"].rsplit("/", 1)[1]) for record in page["records"]]
                cursor = page["next"]
            self.assertEqual((limit, seen), (limit, list(range(39, -1, -1))))

    def test_an_answer_that_nobody_reads_is_not_held_for_long(self):
        ledger = self.fill(30)
        descriptors = lambda: len(os.listdir(f"/proc/{ledger.process.pid}/fd"))
        ledger.admin("GET", "/healthz")
        before = eventually(lambda: descriptors(), "descriptors")
        clients = []
        for _ in range(8):
            client = socket.socket()
            self.addCleanup(client.close)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", ledger.admin_port))
            # More than the kernel takes for it.
            client.sendall(f"GET /api/records?limit=1000 HTTP/1.1\r\nHost: 127.0.0.1:{ledger.admin_port}\r\n\r\n".encode() * 8)
            clients.append(client)
        eventually(lambda: descriptors() >= before + 8 - 1, "the connections")
        eventually(lambda: descriptors() <= before, "the end of answers that are not read", 25)


class Lines(Case):
    def test_an_error_in_a_config_cannot_move_the_terminal_that_shows_it(self):
        ledger = self.ledger()
        hostile = ledger.directory / "hostile.yaml"
        for text in ('"li\\e[31msten": x\n', "routes: [ { name: a, match: \"POST \\e]0;x\\a http\" } ]\n", "\x1b[31mlisten: x\n"):
            hostile.write_text(text)
            for command in ("check", "serve", "stats"):
                done = ledger.cli(command, "-c", str(hostile))
                self.assertEqual(done.returncode, 2, done)
                self.assertNotRegex(done.stdout + done.stderr, "[\x00-\x09\x0b-\x1f\x7f]")

    def test_a_flood_of_tunnels_that_end_is_no_flood_of_lines(self):
        up = self.upstream()
        ledger = self.ledger(f'routes: [ {{ name: a, match: "POST https://127.0.0.1:{up.port}/**" }} ]')

        def flood():
            for _ in range(50):
                with socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as client:
                    client.sendall(f"CONNECT 127.0.0.1:{up.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + b"\0\1\2garbage\r\n\r\n")
                    while client.recv(4096):
                        pass

        threads = [threading.Thread(target=flood) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ledger.stop()
        text = (ledger.directory / "log").read_text()
        left_out = sum(int(n) for n in re.findall(r"(\d+) more such lines within a second were left out", text))
        self.assertEqual(text.count("tunnel to ") + left_out, 400, text)
        self.assertGreater(left_out, 0)


if __name__ == "__main__":
    main()
