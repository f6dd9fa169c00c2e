"""Connections and tunnels take descriptors; the store and the admin endpoint keep theirs."""
import pathlib
import resource
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import Case, eventually, exchange, guarded_route, main, read_answer, request_bytes


def limited(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def of_process(ledger):
    for line in pathlib.Path(f"/proc/{ledger.process.pid}/limits").read_text().splitlines():
        if line.startswith("Max open files"):
            return tuple(int(n) for n in line.split()[3:5])


class Descriptors(Case):
    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def clients(self, ledger, count, port=None):
        sockets = []
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port or ledger.port), timeout=15)
            self.addCleanup(client.close)
            sockets.append(client)
        return sockets

    def works(self, ledger, up, path):
        """The admin endpoint answers, and the store takes a claim."""
        self.assertEqual(ledger.admin("GET", "/healthz").status, 200)
        self.assertEqual(ledger.admin("GET", "/readyz").status, 200)
        self.assertEqual(ledger.admin("GET", "/api/records").status, 200)

    def test_the_limit_is_raised_to_the_hard_one(self):
        ledger = self.ledger(preexec_fn=limited(100, 600))
        self.assertEqual(of_process(ledger), (600, 600))

    def test_fewer_connections_than_configured_are_said_in_the_log(self):
        ledger = self.ledger(preexec_fn=limited(100, 600))
        self.assertRegex((ledger.directory / "log").read_text(), r"at most \d+ connections are taken at once, not 20000")
        enough = self.ledger("limits: { connections: 50 }", preexec_fn=limited(100, 600))
        self.assertNotIn("connections are taken at once", (enough.directory / "log").read_text())

    def test_under_thousands_of_connections_the_admin_endpoint_and_the_store_work(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up), preexec_fn=limited(100, 300))
        first = self.clients(ledger, 1)[0]
        first.sendall(request_bytes("POST", up.url + "/a", "x", (), b'{"n":0}'))
        self.assertEqual(read_answer(first).status, 200)
        self.clients(ledger, 2000)
        eventually(lambda: ledger.metric("ledger_connections") >= 50, "they are taken")
        self.works(ledger, up, "/b")
        # Who is in already goes on: the store takes its claims, and upstreams are reached.
        first.sendall(request_bytes("POST", up.url + "/a", "x", (), b'{"n":1}'))
        self.assertEqual((read_answer(first).status, up.effects), (200, 2))
        refused = exchange(("127.0.0.1", ledger.port), request_bytes("POST", up.url + "/a", "x", (), b'{"n":2}'))
        self.assertIn(refused.status, (503, 0))

    def test_under_hundreds_of_tunnels_the_admin_endpoint_and_the_store_work(self):
        up = self.upstream()
        sink = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.addCleanup(sink.close)
        ledger = self.ledger(guarded_route(up), preexec_fn=limited(100, 300))
        tunnels = []
        for client in self.clients(ledger, 400):
            target = f"127.0.0.1:{sink.getsockname()[1]}"
            try:
                client.sendall(request_bytes("CONNECT", target, target))
                tunnels.append(client.recv(1000).startswith(b"HTTP/1.1 200"))
            except OSError:
                tunnels.append(False)
        self.assertGreater(sum(tunnels), 50)
        self.assertLess(sum(tunnels), 150)
        self.works(ledger, up, "/b")

    def test_tunnels_that_clients_left_behind_do_not_take_what_is_kept(self):
        # The server keeps its side of each open, and more come for ever.
        up = self.upstream()
        sink = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.addCleanup(sink.close)
        ledger = self.ledger(guarded_route(up), preexec_fn=limited(100, 300))
        target = f"127.0.0.1:{sink.getsockname()[1]}"
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", ledger.port), timeout=15) as client:
                    client.sendall(request_bytes("CONNECT", target, target) + b"\x00")
                    client.shutdown(socket.SHUT_WR)
                    client.recv(100)
            except OSError:
                pass
        self.works(ledger, up, "/b")

    def test_the_admin_endpoint_answers_under_connections_of_its_own(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up), preexec_fn=limited(100, 300))
        self.clients(ledger, 1000, ledger.admin_port)
        self.works(ledger, up, "/b")
        self.assertEqual(ledger.charge(up).status, 200)

    def test_one_client_has_no_more_connections_than_the_limit(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up) + "\nlimits: { per_client: 3 }")
        first = self.clients(ledger, 3)
        eventually(lambda: ledger.metric("ledger_connections") == 3, "three are taken")
        refused = exchange(("127.0.0.1", ledger.port), request_bytes("POST", up.url + "/a", "x", (), b"{}"))
        self.assertEqual((refused.status, refused.slug, refused.json()["safe_to_retry"], up.effects), (503, "too-busy", True, 0))
        # Another address has its own, and a place that is left is another's.
        with socket.create_connection(("127.0.0.1", ledger.port), timeout=15, source_address=("127.0.0.2", 0)) as other:
            other.sendall(request_bytes("POST", up.url + "/a", "x", (), b"{}"))
            self.assertEqual(read_answer(other).status, 200)
        first[0].close()
        eventually(lambda: ledger.charge(up).status == 200, "there is a place")

    def test_agents_of_this_machine_are_not_limited_unless_it_is_said(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up), preexec_fn=limited(100, min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
        self.clients(ledger, 2500)
        eventually(lambda: ledger.metric("ledger_connections") == 2500, "all are taken")

    def test_a_command_under_run_has_the_limit_that_it_would_have_had(self):
        ledger = self.ledger()
        script = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
        try:
            ran = ledger.cli("run", "-c", "ledger.yaml", "--", sys.executable, "-c", script)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertIn(f"(1000, {hard})", ran.stdout, ran.stderr)


if __name__ == "__main__":
    main()
