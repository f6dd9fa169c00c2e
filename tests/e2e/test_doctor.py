"""ledger doctor: whoever does not come through the proxy is seen, and told what to set."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

from harness import BINARY, DEADLINE, Case, eventually, main

CURL = shutil.which("curl")


class Doctor(Case):
    """PATH has nothing but what a test puts there."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ledger-doctor-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = self.directory / "bin"
        self.path.mkdir()
        (self.directory / "tmp").mkdir()
        self.configure()

    def configure(self, more=""):
        (self.directory / "ledger.yaml").write_text(f"state: {self.directory}/state\n{more}\n")

    def client(self, name, script):
        file = self.path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def curl(self, before="", options=""):
        """curl, after the shell's `before` and with more options."""
        if not CURL:
            self.skipTest("curl is not installed")
        self.client("curl", f'{before}\nexec {CURL} {options} "$@"')

    def environment(self, **more):
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        return {**kept, "PATH": str(self.path), "TMPDIR": str(self.directory / "tmp"), "HOME": str(self.directory), **more}

    def doctor(self, *arguments, code=0, **more):
        done = subprocess.run([BINARY, "doctor", *arguments], cwd=self.directory, env=self.environment(**more),
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        self.assertNotIn("\x1b", done.stdout + done.stderr)
        self.assertEqual(os.listdir(self.directory / "tmp"), [])
        return done

    def found(self, code=0, **more):
        """The clients that were found, by name."""
        lines = [json.loads(line) for line in self.doctor("--json", code=code, **more).stdout.splitlines()]
        return {line["client"]: line for line in lines if line["program"]}

    def verdicts(self, name, **more):
        found = self.found(**more)[name]
        return found["http"], found["https"]

    def test_what_comes_through_is_said_and_what_is_not_there_too(self):
        self.curl()
        self.client("python3", f'exec {sys.executable} "$@"')
        said = self.doctor().stdout
        self.assertRegex(said, r"✓ curl +through +through\n")
        self.assertRegex(said, r"✓ python urllib\.request +through +through\n")
        self.assertRegex(said, r"- not found: wget, .*\bgo\n")
        found = self.found()
        self.assertEqual((found["curl"]["http"], found["curl"]["https"]), ("through", "through"))
        self.assertEqual(found["curl"]["program"], str(self.path / "curl"))
        self.assertNotIn("advice", found["curl"])

    def test_a_client_that_ignores_the_proxy_bypasses_us(self):
        self.curl(options="--noproxy '*'")
        said = self.doctor(code=1).stdout
        self.assertRegex(said, r"✗ curl +bypassed +bypassed\n +→ look for noproxy")
        self.assertIn("Unguarded and unseen: curl", said)
        self.assertEqual(self.verdicts("curl", code=1), ("bypassed", "bypassed"))

    def test_one_scheme_may_bypass_alone(self):
        self.curl(before="unset HTTPS_PROXY https_proxy ALL_PROXY all_proxy")
        self.assertEqual(self.verdicts("curl", code=1), ("through", "bypassed"))

    def test_no_proxy_takes_clients_past_us(self):
        self.curl()
        self.assertEqual(self.verdicts("curl", code=1, NO_PROXY="*"), ("bypassed", "bypassed"))
        self.configure('routes: [ { match: "POST https://api.example.com/**" } ]')
        done = self.doctor(code=1, NO_PROXY="localhost,.example.com")
        self.assertRegex(done.stdout, r"✓ curl +through +through\n")
        self.assertIn("api.example.com", done.stderr)

    def test_a_client_that_does_not_trust_the_ca_refuses_it(self):
        self.curl(before="unset CURL_CA_BUNDLE SSL_CERT_FILE")
        found = self.found(code=1)["curl"]
        self.assertEqual((found["http"], found["https"]), ("through", "refused_ca"))
        self.assertIn("certificate", found["https_reason"])
        self.assertIn(f"{self.directory}/state/ca-bundle.pem", found["advice"])

    def test_a_failure_is_neither_and_gives_its_reason(self):
        self.client("curl", 'echo "curl: cannot do it" >&2; exit 7')
        found = self.found(code=1)["curl"]
        self.assertEqual((found["http"], found["https"], found["http_reason"]), ("failed", "failed", "curl: cannot do it"))
        self.curl(options="--proxy-header 'Proxy-Authorization: x' --connect-to ::127.0.0.1:1 --proxy http://127.0.0.1:1")
        self.assertEqual(self.verdicts("curl", code=1), ("failed", "failed"))

    def test_the_config_s_token_and_ca_are_the_ones_used(self):
        self.configure("auth: { token: secret }")
        self.curl()
        self.assertEqual(self.verdicts("curl"), ("through", "through"))
        subject = subprocess.run(["openssl", "x509", "-noout", "-subject", "-in", self.directory / "state/ca.pem"],
                                 capture_output=True, text=True, check=True).stdout
        self.assertIn("Ledger local CA", subject)

    def test_a_client_that_hangs_is_ended_with_all_that_it_started(self):
        self.client("curl", f"echo $$ >> {self.directory}/pids\n/bin/sleep 600 & echo $! >> {self.directory}/pids; wait")
        doctor = subprocess.Popen([BINARY, "doctor"], cwd=self.directory, env=self.environment(), stdout=subprocess.DEVNULL)
        pids = self.directory / "pids"
        eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2, "the client's start")
        doctor.send_signal(signal.SIGINT)
        self.assertEqual(doctor.wait(DEADLINE), 1)
        for pid in pids.read_text().split():
            eventually(lambda: not running(int(pid)), "the client's end")
        self.assertEqual(os.listdir(self.directory / "tmp"), [])

    def test_nothing_to_find_is_no_failure(self):
        self.assertIn("0 of 0 clients found", self.doctor().stdout)

    def test_usage(self):
        self.doctor("--nope", code=2)
        self.doctor("-c", "nowhere.yaml", code=2)
        self.configure("listn: x")
        self.doctor(code=2)


def running(pid):
    try:
        return "Z" != pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


if __name__ == "__main__":
    main()
