"""The local CA: what it is said to be and what signs are one, and what it may sign for has bounds."""
import pathlib
import ssl
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import BINARY, main  # noqa: E402
from test_tunnel import Base, connect  # noqa: E402


class Authority(Base):
    def rotate(self, ledger, *options):
        done = ledger.cli("ca", "rotate", *options, "-c", str(ledger.file))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stderr

    def served(self, ledger):
        return ledger.admin("GET", "/ca.pem").body.decode()

    def pay(self, ledger, pem, port=None, host="127.0.0.1"):
        authority = f"{host}:{port or self.up.port}"
        return self.post(ledger, authority, context=ssl.create_default_context(cadata=pem), name=host)


class Rotation(Authority):
    def test_what_ca_pem_says_is_what_the_running_proxy_signs_with_before_and_after_its_restart(self):
        ledger = self.opened()
        ledger.restart()  # its file names the addresses that it got
        first = self.served(ledger)
        told = self.rotate(ledger)
        self.assertIn(f"127.0.0.1:{ledger.admin_port}", told)
        self.assertIn("goes on with the old one", told)
        self.assertEqual(self.served(ledger), first)
        self.assertEqual(self.pay(ledger, self.served(ledger)).ledger, "executed")
        ledger.restart()
        second = self.served(ledger)
        self.assertNotEqual(second, first)
        self.assertEqual(second, (ledger.directory / "state/ca.pem").read_text())
        self.assertEqual(self.pay(ledger, second).ledger, "replayed")

    def test_a_rotation_that_nobody_runs_beside_names_no_proxy(self):
        ledger = self.opened()
        ledger.stop()
        self.assertNotIn("goes on", self.rotate(ledger))

    def test_run_and_env_beside_a_proxy_with_another_ca_say_so(self):
        ledger = self.opened()
        config = ledger.directory / "client.yaml"
        config.write_text(ledger.file.read_text().replace("127.0.0.1:0", ledger.listen, 1).replace("127.0.0.1:0", ledger.admin_listen, 1))
        here = dict(cwd=ledger.directory, capture_output=True, text=True, timeout=60)
        self.assertEqual(subprocess.run([BINARY, "env", "-c", config], **here).returncode, 0)
        self.rotate(ledger)
        env = subprocess.run([BINARY, "env", "-c", config], **here)
        self.assertEqual((env.returncode, env.stdout), (1, ""))
        run = subprocess.run([BINARY, "run", "-c", config, "--", "sh", "-c", "echo $HTTPS_PROXY"], **here)
        self.assertEqual(run.returncode, 0)
        for told in (env, run):
            self.assertIn("signs with another CA", told.stderr)
            self.assertIn("restart it", told.stderr)
        self.assertNotIn(ledger.listen, run.stdout)
        ledger.restart()
        self.assertEqual(subprocess.run([BINARY, "env", "-c", config], **here).returncode, 0)


class Constraints(Authority):
    def constrained(self):
        """A proxy with a CA for its two routes' hosts, and its restart."""
        ledger = self.opened()
        self.rotate(ledger, "--only-named")
        ledger.restart()
        return ledger

    def test_a_ca_made_only_named_signs_for_the_routes_hosts_and_no_client_believes_it_elsewhere(self):
        ledger = self.constrained()
        pem = self.served(ledger)
        text = subprocess.run(["openssl", "x509", "-noout", "-text"], input=pem, capture_output=True, text=True, check=True).stdout
        self.assertIn("X509v3 Name Constraints: critical", text)
        self.assertIn("IP:127.0.0.1/255.255.255.255", text)
        self.assertEqual(self.pay(ledger, pem).ledger, "executed")
        self.assertNotIn("may not sign", (ledger.directory / "log").read_text())
        # A route that came later.
        other = self.upstream(tls=self.tls.server())
        ledger.config = ledger.config.replace("routes: [", f'routes: [ {{ match: "POST https://localhost:{other.port}/**" }}, ', 1)
        ledger.restart()
        self.assertIn("may not sign for localhost, which a route names", (ledger.directory / "log").read_text())
        with self.assertRaisesRegex(ssl.SSLCertVerificationError, "permitted subtree violation"):
            self.pay(ledger, pem, other.port, "localhost")
        self.assertEqual(other.effects, 0)
        self.assertEqual(self.pay(ledger, pem).ledger, "replayed")

    def test_names_stand_for_what_is_below_them_and_close_addresses(self):
        ledger = self.ledger('routes: [ { match: "POST https://api.example.test/**" }, { match: "POST https://*.shop.test/**" } ]')
        self.rotate(ledger, "--only-named")
        ledger.restart()
        self.assertNotIn("may not sign", (ledger.directory / "log").read_text())
        pem = self.served(ledger)
        for host in ("api.example.test", "eu.shop.test"):
            raw = connect(ledger, f"{host}:443")
            with ssl.create_default_context(cadata=pem).wrap_socket(raw, server_hostname=host):
                pass
        ledger.config = 'routes: [ { match: "POST https://127.0.0.1/**" }, { match: "POST https://evil.test/**" }, { match: "POST https://[::1]/**" } ]'
        ledger.restart()
        for host in ("127.0.0.1", "evil.test", "[::1]"):
            self.assertIn(f"may not sign for {host}, which a route names", (ledger.directory / "log").read_text())
            with self.assertRaisesRegex(ssl.SSLCertVerificationError, "subtree violation"):
                ssl.create_default_context(cadata=pem).wrap_socket(connect(ledger, f"{host}:443"), server_hostname=host.strip("[]"))

    def test_only_named_needs_a_route_and_goes_with_rotate(self):
        for config in ("", "https: { open: all }\nroutes: [ { match: \"POST https://api.example.test/**\" } ]"):
            ledger = self.ledger(config)
            self.assertEqual(ledger.cli("ca", "rotate", "--only-named", "-c", str(ledger.file)).returncode, 1)
        self.assertEqual(ledger.cli("ca", "show", "--only-named", "-c", str(ledger.file)).returncode, 2)

    def test_a_ca_of_ones_own_with_name_constraints_works_within_them(self):
        own = self.certificates()
        (own.directory / "own.conf").write_text(
            "[req]\ndistinguished_name=d\nx509_extensions=x\nprompt=no\n[d]\nCN=Own CA\n[x]\nbasicConstraints=critical,CA:TRUE\n"
            "keyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\nnameConstraints=critical,permitted;IP:127.0.0.1/255.255.255.255,permitted;DNS:example.test\n")
        own._openssl("req", "-x509", *own.KEY, "-keyout", "own.key", "-out", "own.pem", "-days", "2", "-config", "own.conf")
        self.up = self.upstream(tls=self.tls.server())
        ledger = self.ledger(f'routes: [ {{ match: "POST {self.up.url}/**" }}, {{ match: "POST https://localhost/**" }} ]\n'
                             f'tls: {{ roots: ["{self.tls.ca}"], ca: "{own.directory}/own.pem", ca_key: "{own.directory}/own.key" }}')
        self.assertEqual(self.pay(ledger, self.served(ledger)).ledger, "executed")
        log = (ledger.directory / "log").read_text()
        self.assertIn("may not sign for localhost, which a route names", log)
        self.assertNotIn("may not sign for 127.0.0.1", log)


if __name__ == "__main__":
    main()
