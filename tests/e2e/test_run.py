"""`ledger run -- CMD` and `ledger env`: programs that know nothing of Ledger come through it."""
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import unittest

from harness import BINARY, Case, DEADLINE, eventually, main, reset

PYTHON = """
import sys, urllib.request
for _ in range(5):
    request = urllib.request.Request(sys.argv[1], data=b"amount=49")
    print(urllib.request.urlopen(request).read().decode())
"""

NODE = """
const https = require('node:https');
const url = process.argv[2];
const once = (agent) => new Promise((done, failed) => {
  const request = https.request(url, { method: 'POST', agent, headers: { 'content-type': 'text/plain;charset=UTF-8' } },
    (answer) => { answer.on('data', (d) => console.log(String(d))); answer.on('end', done); });
  request.on('error', failed);
  request.end('amount=49');
});
(async () => {
  for (let i = 0; i < 2; i++) console.log(await (await fetch(url, { method: 'POST', body: 'amount=49' })).text());
  await once(undefined);
  const own = new https.Agent({ keepAlive: true });
  for (let i = 0; i < 2; i++) await once(own);
  own.destroy();
})();
"""


class Run(Case):
    def setUp(self):
        self.tls = self.certificates()
        self.up = self.upstream(tls=self.tls.server())
        self.url = f"https://localhost:{self.up.port}/v1/charges"
        self.directory = self.tls.directory
        self.config = self.directory / "ledger.yaml"
        self.write("listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0 }")

    def write(self, top, store="sqlite:ledger.db"):
        self.config.write_text(
            f'{top}\nstore: {{ url: "{store}" }}\nstate: state\ntls: {{ roots: ["{self.tls.ca}"] }}\n'
            f'routes: [ {{ name: charge, match: "POST https://localhost:{self.up.port}/**" }} ]\n')

    def environment(self, **more):
        clean = {k: v for k, v in os.environ.items() if "PROXY" not in k.upper() and "CERT" not in k and "CA_" not in k and k != "NODE_OPTIONS"}
        return {**clean, **more}

    def run_it(self, *command, options=(), **environment):
        return subprocess.run([BINARY, "run", "-c", str(self.config), *options, "--", *map(str, command)], cwd=self.directory,
                              env=self.environment(**environment), capture_output=True, text=True, timeout=60)

    def script(self, name, text):
        (self.directory / name).write_text(text)
        return self.directory / name

    def assert_one_effect(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual((len(lines), len(set(lines))), (5, 1), done.stdout)
        self.assertEqual(self.up.effects, 1)
        self.assertEqual(done.stderr, "✓ charge   attempts 5   executed 1   blocked 4   ← retried 4×\n")

    def test_five_calls_of_an_unmodified_python_program_are_one_effect(self):
        self.assert_one_effect(self.run_it("python3", self.script("agent.py", PYTHON), self.url))

    @unittest.skipUnless(shutil.which("node"), "skipped by name: node is not installed")
    def test_five_calls_of_an_unmodified_node_program_are_one_effect_by_fetch_and_by_any_agent(self):
        self.assert_one_effect(self.run_it("node", self.script("agent.cjs", NODE), self.url))

    @unittest.skipUnless(shutil.which("curl"), "skipped by name: curl is not installed")
    def test_curl_and_its_repeat_in_another_run(self):
        call = ("curl", "-sS", self.url, "-d", "amount=49")
        first = self.run_it(*call, options=("--agent", "bot", "--run", "a"))
        second = self.run_it(*call, options=("--agent", "bot", "--run", "b"))
        self.assertEqual((first.stdout, self.up.effects), (second.stdout, 1), first.stderr + second.stderr)
        self.assertEqual(second.stderr, "✓ charge   attempts 1   executed 0   blocked 1   ← retried 1×\n")
        shown = subprocess.run([BINARY, "log", "--json", "ledger.db"], cwd=self.directory, capture_output=True, text=True).stdout
        self.assertIn('"agent":"bot","run":"a"', shown)

    def test_the_exit_code_is_the_commands(self):
        self.assertEqual(self.run_it("sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(self.run_it("sh", "-c", "kill -KILL $$").returncode, 128 + 9)
        missing = self.run_it("no-such-command")
        self.assertEqual((missing.returncode, missing.stderr), (127, "ledger: cannot run no-such-command: there is no such command\n"))
        self.assertEqual(self.run_it(self.script("plain", "")).returncode, 126)

    def test_signals_go_on_to_the_command(self):
        script = self.script("trap.sh", "trap 'echo got it; exit 5' TERM\necho ready\nwhile :; do read x; done\n")
        process = subprocess.Popen([BINARY, "run", "-c", str(self.config), "--", "sh", str(script)], cwd=self.directory,
                                   env=self.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGTERM)
        process.stdin.close()
        self.assertEqual(process.stdout.read(), "got it\n")
        self.assertEqual(process.wait(DEADLINE), 5)
        process.stdout.close()

    def test_files_that_the_user_trusts_already_stay_trusted(self):
        other = self.script("other.pem", self.tls.ca.read_text().replace("BEGIN", "BEGIN"))
        done = self.run_it("sh", "-c", 'cat "$REQUESTS_CA_BUNDLE"; echo "$NODE_EXTRA_CA_CERTS $NO_PROXY $https_proxy"',
                           REQUESTS_CA_BUNDLE=str(other), NO_PROXY="internal.example")
        self.assertIn(other.read_text(), done.stdout)
        self.assertIn((self.directory / "state/ca.pem").read_text(), done.stdout)
        self.assertRegex(done.stdout.splitlines()[-1], rf"^{self.directory}/state/ca.pem internal\.example,\S+ http://127.0.0.1:\d+$")

    def test_the_command_needs_no_dashes_before_it_and_keeps_every_word_of_its_own(self):
        words = ["--agent", "x", "-c", "y", "--", "[1,2]", "{}", "", "log", "--help", "a b"]
        show = self.script("words.py", "import sys\nprint(sys.argv[1:])\n")
        for dashes in ([], ["--"]):
            done = subprocess.run([BINARY, "run", "-c", str(self.config), "--agent", "bot", *dashes, "python3", str(show), *words],
                                  cwd=self.directory, env=self.environment(), capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (0, f"{words}\n"), done.stderr)
        done = subprocess.run([BINARY, "-c", str(self.config), "run", "sh", "-c", "exit 7"], cwd=self.directory, env=self.environment(), timeout=60)
        self.assertEqual(done.returncode, 7)

    def test_metadata_addresses_are_in_no_proxy_beside_the_users_own(self):
        def lists(**environment):
            done = self.run_it("sh", "-c", 'echo "$NO_PROXY"; echo "$no_proxy"', **environment)
            return [line.split(",") for line in done.stdout.splitlines()]

        metadata = {"169.254.169.254", "fd00:ec2::254", "metadata.google.internal", "100.100.100.200"}
        for found in lists():
            self.assertLessEqual(metadata, set(found))
        for found in lists(NO_PROXY="internal.example"):
            self.assertLessEqual(metadata | {"internal.example"}, set(found))
        upper, lower = lists(NO_PROXY="a.example,169.254.169.254", no_proxy="b.example")
        self.assertEqual((upper[0], lower[0], upper.count("169.254.169.254")), ("a.example", "b.example", 1))
        # httpx, and so the SDKs of OpenAI and Anthropic, would not start: it takes what follows a colon for a port.
        self.assertNotIn("[", "".join(upper + lower))
        # `*` means everything only where it stands alone.
        self.assertEqual(lists(NO_PROXY="*"), [["*"], ["*"]])

    def test_what_asks_a_metadata_address_goes_past_the_proxy(self):
        script = self.script("ask.py", "import urllib.request as u\nprint([bool(u.proxy_bypass(h)) for h in ('169.254.169.254', 'metadata.google.internal', 'api.example.com')])\n")
        self.assertEqual(self.run_it("python3", script).stdout, "[True, True, False]\n")

    TOKEN = "p%41ss%w&rd%"
    CLIENTS = {
        "curl": ["curl", "-sS", "{url}", "-d", "amount=49"],
        "requests": ["python3", "-c", "import requests, sys; print(requests.post(sys.argv[1], data='amount=49').text)", "{url}"],
        "urllib": ["python3", "-c", "import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1], data=b'amount=49').read().decode())", "{url}"],
        "node": ["node", "-e", "fetch(process.argv[1], { method: 'POST', body: 'amount=49' }).then((r) => r.text()).then(console.log)", "{url}"],
    }

    def each_client(self):
        for name, command in self.CLIENTS.items():
            there = shutil.which(command[0]) and (name != "requests" or importlib.util.find_spec("requests"))
            if there:
                yield name, [word.format(url=self.url) if word == "{url}" else word for word in command]

    def test_a_token_with_percent_signs_works_with_an_agent_and_without_one(self):
        self.write(f"listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nauth: {{ token: \"{self.TOKEN}\" }}")
        for name, command in self.each_client():
            for options, agent in (((), None), (("--agent", "b%41t 100%"), "b%41t 100%"), (("--run", "r%2e1"), None)):
                with self.subTest(name, options=options):
                    done = self.run_it(*command, options=options)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertIn('"n"', done.stdout, done.stderr)
                    shown = subprocess.run([BINARY, "log", "--json", "-n", "1", "ledger.db"], cwd=self.directory, capture_output=True, text=True).stdout
                    record = json.loads(shown)
                    self.assertEqual((record["agent"], record["run"]), (agent, "r%2e1" if "--run" in options else None))
                    subprocess.run([BINARY, "clear", "--yes", "ledger.db"], cwd=self.directory, check=True, capture_output=True)

    def test_a_token_is_read_as_it_was_sent(self):
        ledger = self.ledger(f"auth: {{ token: \"{self.TOKEN}\" }}", store="memory:")
        up = self.upstream()
        for token, status in ((self.TOKEN, 200), ("p%2541ss%25w&rd%25", 200), ("pAss%w&rd%", 407), ("", 407), ("x", 407)):
            answer = ledger.proxied("POST", up.url + "/", token.encode(), user=f"bot:{token}")
            self.assertEqual(answer.status, status, token)
        self.assertEqual(ledger.direct("GET", "/nowhere", headers={"Ledger-Token": self.TOKEN}).status, 404)

    def blind_url(self):
        """An https upstream that no route names: its tunnels are blind."""
        up = self.upstream(tls=self.tls.server())
        return up, f"https://127.0.0.1:{up.port}/v1/charges"

    CURL = ("curl", "-sS", "-m", "20", "-d", "amount=49")

    @unittest.skipUnless(shutil.which("curl"), "skipped by name: curl is not installed")
    def test_the_summary_names_the_hosts_whose_tunnels_went_by_unseen(self):
        up, url = self.blind_url()
        done = self.run_it(*self.CURL, "--cacert", self.tls.ca, url)
        self.assertEqual((done.returncode, up.effects), (0, 1), done.stderr)
        self.assertIn("unseen and unguarded: 127.0.0.1 (1 tunnel)", done.stderr)
        self.assertNotIn("unseen and unguarded: 127.0.0.1", self.run_it(*self.CURL, self.url).stderr)

    @unittest.skipUnless(shutil.which("curl"), "skipped by name: curl is not installed")
    def test_the_summary_names_them_too_where_another_proxy_runs(self):
        ledger = self.ledger(f'tls: {{ roots: ["{self.tls.ca}"] }}')
        self.config.write_text(ledger.file.read_text().replace("127.0.0.1:0", ledger.listen, 1).replace("127.0.0.1:0", ledger.admin_listen, 1))
        up, url = self.blind_url()
        for _ in range(2):
            done = self.run_it(*self.CURL, "--cacert", self.tls.ca, url)
            self.assertIn("unseen and unguarded: 127.0.0.1 (1 tunnel)", done.stderr)

    @unittest.skipUnless(shutil.which("curl"), "skipped by name: curl is not installed")
    def test_strict_refuses_tunnels_that_would_be_blind(self):
        up, url = self.blind_url()
        done = self.run_it(*self.CURL, "--cacert", self.tls.ca, url, options=("--strict",))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("403", done.stderr)
        self.assertEqual(up.effects, 0)
        self.assertEqual(self.run_it(*self.CURL, self.url, options=("--strict",)).returncode, 0)
        self.assertEqual(self.up.effects, 1)

    def test_strict_beside_a_running_proxy_that_is_not_is_refused(self):
        ledger = self.ledger("")
        self.config.write_text(ledger.file.read_text().replace("127.0.0.1:0", ledger.listen, 1).replace("127.0.0.1:0", ledger.admin_listen, 1))
        done = self.run_it("touch", "ran", options=("--strict",))
        self.assertEqual(done.returncode, 2)
        self.assertIn("https: { strict: true }", done.stderr)
        self.assertFalse((self.directory / "ran").exists())
        # What counts is how the proxy runs, not what the file says by now.
        self.config.write_text(self.config.read_text() + "https: { strict: true }\n")
        self.assertEqual(self.run_it("touch", "ran", options=("--strict",)).returncode, 2)
        ledger.config = "https: { strict: true }"
        ledger.restart()
        self.assertEqual(self.run_it("touch", "ran", options=("--strict",)).returncode, 0)

    def test_the_summary_has_a_line_a_route_and_names_what_is_in_doubt(self):
        script = self.script("two.py", """
import sys, urllib.request
for amount in (b"1", b"2", b"2"):
    try:
        print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], data=amount)).read())
    except OSError as error:
        print(error)
""")
        self.up.handler = lambda request, connection: reset(connection) if request.body == b"2" else self.up.count_up(request, connection)
        done = self.run_it("python3", script, self.url)
        lines = [" ".join(line.split()) for line in done.stderr.splitlines()]
        self.assertRegex(lines[0], r"^ledger: in doubt: [0-9a-f]{8} charge ")  # when it came to that
        self.assertEqual(lines[1], "? charge attempts 3 executed 2 blocked 1 ← retried 1× in doubt 1")
        self.assertIn("ledger doubts", lines[2])
        self.assertRegex(lines[3], r"^[0-9a-f]{8} \? charge attempts 2 executed 1 blocked 1")

    def test_a_no_proxy_that_takes_guarded_calls_past_us_is_told(self):
        done = self.run_it("true", no_proxy="internal.example, localhost")
        self.assertIn("no_proxy has `localhost`: calls to localhost, which a route guards, go past Ledger", done.stderr)
        self.assertNotIn("go past", self.run_it("true", NO_PROXY="internal.example").stderr)

    def test_a_running_proxy_is_found(self):
        ledger = self.ledger(f'tls: {{ roots: ["{self.tls.ca}"] }}\nroutes: [ {{ name: charge, match: "POST https://localhost:{self.up.port}/**" }} ]', store="memory:")
        self.config.write_text(ledger.file.read_text().replace("127.0.0.1:0", ledger.listen, 1).replace("127.0.0.1:0", ledger.admin_listen, 1))
        done = self.run_it("python3", self.script("agent.py", PYTHON), self.url, options=("--agent", "bot.v2",))
        self.assertEqual((done.returncode, self.up.effects), (0, 1), done.stderr)
        record = ledger.records()[0]
        self.assertEqual((record["agent"], record["run"]), ("bot.v2", None))
        self.assertIn("/api/records", done.stderr)

    @unittest.skipUnless(shutil.which("curl"), "skipped by name: curl is not installed")
    def test_env_sets_a_shell_up_for_a_running_proxy(self):
        ledger = self.ledger(f'tls: {{ roots: ["{self.tls.ca}"] }}\nroutes: [ {{ name: charge, match: "POST https://localhost:{self.up.port}/**" }} ]')
        self.config.write_text(ledger.file.read_text().replace("127.0.0.1:0", ledger.listen, 1).replace("127.0.0.1:0", ledger.admin_listen, 1))
        shell = f'eval "$({BINARY} env -c {self.config} --agent bot --run 7)"; for i in 1 2 3; do curl -sS {self.url} -d amount=49; done'
        done = subprocess.run(["sh", "-c", shell], cwd=self.directory, env=self.environment(), capture_output=True, text=True, timeout=60)
        self.assertEqual((done.stderr, self.up.effects, ledger.records()[0]["agent"]), ("", 1, "bot"))
        ledger.stop()
        gone = subprocess.run([BINARY, "env", "-c", str(self.config)], cwd=self.directory, env=self.environment(), capture_output=True, text=True)
        self.assertEqual((gone.returncode, gone.stdout), (1, ""))
        self.assertIn("ledger serve", gone.stderr)


if __name__ == "__main__":
    main()
