"""The command line, beside a running proxy and without one."""
import json
import signal
import subprocess
import threading

from harness import BINARY, Case, DEADLINE, eventually, main, reset


class Cli(Case):
    def setUp(self):
        self.up = self.upstream()
        self.proxy = self.ledger(f'routes: [ {{ name: charge_card, match: "POST {self.up.url}/v1/charges" }}, {{ name: mail, match: "POST {self.up.url}/mail" }} ]')

    def run_cli(self, *arguments, code=0, **more):
        done = self.proxy.cli(*arguments, **more)
        self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
        self.assertNotIn("\x1b", done.stdout + done.stderr)  # no colours where there is no terminal
        return done

    def storm(self):
        keys = [self.proxy.charge(self.up)["Ledger-Key"] for _ in range(5)]
        return keys[0]

    def doubtful(self):
        self.up.handler = lambda r, c: reset(c)
        key = self.proxy.charge(self.up, path="/mail")["Ledger-Key"]
        self.up.handler = self.up.count_up
        return key

    def test_log_says_in_one_line_what_became_of_a_call(self):
        self.storm()
        line = "✓ charge_card   attempts 5   executed 1   blocked 4   ← retried 4×"
        self.assertIn(line, self.run_cli("log", self.proxy.store_path).stdout)
        self.proxy.stop()
        self.assertIn(line, self.run_cli("log", self.proxy.store).stdout)
        self.assertIn(line, self.run_cli("log").stdout)  # the store of ./ledger.yaml

    def test_stats_and_show_tell_more(self):
        key = self.storm()
        stats = self.run_cli("stats", self.proxy.store_path).stdout
        self.assertIn("charge_card", stats)
        self.assertRegex(stats, r"80(\.0)?\s*%")
        shown = self.run_cli("show", self.proxy.store_path).stdout
        self.assertIn("completed", shown)
        self.assertIn(key[:8], shown)

    def test_json_lines_have_the_admin_s_fields(self):
        key = self.storm()
        [record] = [json.loads(line) for line in self.run_cli("log", "--json", self.proxy.store_path).stdout.splitlines()]
        self.assertEqual((record["id"], record["attempts"], record["blocked"], record["state"]), (key, 5, 4, "completed"))
        for command in ("show", "stats"):
            for line in self.run_cli(command, "--json", self.proxy.store_path).stdout.splitlines():
                json.loads(line)

    def test_tail_is_live_and_ends_cleanly(self):
        tail = subprocess.Popen([BINARY, "tail", self.proxy.store_path], cwd=self.proxy.directory, stdout=subprocess.PIPE, text=True)
        self.addCleanup(tail.stdout.close)
        seen = collected(tail.stdout)
        eventually(lambda: self.proxy.charge(self.up) and any("charge_card" in line for line in seen), "a line of the call")
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(DEADLINE), 0)

    def test_resolve_settles_what_is_in_doubt(self):
        key = self.doubtful()
        self.assertIn("?", self.run_cli("log", self.proxy.store_path).stdout)
        self.run_cli("resolve", key, self.proxy.store_path, code=2)
        self.run_cli("resolve", key, "--executed", "--not-executed", self.proxy.store_path, code=2)
        self.run_cli("resolve", key, "--executed", self.proxy.store_path)
        again = self.proxy.charge(self.up, path="/mail")
        self.assertEqual((again.slug, self.up.effects), ("answer-not-stored", 1))
        refused = self.run_cli("resolve", key, "--not-executed", self.proxy.store_path, code=1)
        self.assertEqual(len(refused.stderr.strip().splitlines()), 1)
        self.run_cli("resolve", "0" * 64, "--executed", self.proxy.store_path, code=1)

    def test_clear_forgets_what_is_settled_and_asks_first(self):
        self.storm()
        self.doubtful()
        self.run_cli("clear", self.proxy.store_path, code=2)
        self.assertEqual(len(self.proxy.records()), 2)
        self.run_cli("clear", self.proxy.store_path, "--yes")
        self.assertEqual([r["state"] for r in self.proxy.records()], ["in_doubt"])
        self.run_cli("clear", self.proxy.store_path, "--yes", "--in-doubt")
        self.assertEqual(self.proxy.records(), [])

    def test_explain_tells_the_key_that_the_proxy_would_use(self):
        told = json.loads(self.run_cli("explain", "--json", "POST", self.up.url + "/v1/charges", "-H", "Content-Type: application/json", "-d", '{"amount": 49.0}').stdout)
        self.assertEqual((told["route"], told["would"], self.up.effects), ("charge_card", "execute", 0))
        self.assertEqual(self.proxy.charge(self.up)["Ledger-Key"], told["key"])
        self.assertIn("charge_card", self.run_cli("explain", "POST", self.up.url + "/v1/charges").stdout)

    def test_check_finds_mistakes_with_their_place_and_the_nearest_word(self):
        self.assertIn("2 routes", self.run_cli("check").stdout)
        self.proxy.file.write_text("listen: 127.0.0.1:8080\nroutes:\n  - name: a\n    match: POST /x\n    on_duplicat: block\n    ttl: soon\n")
        done = self.run_cli("check", code=2)
        lines = done.stderr.strip().splitlines()
        self.assertEqual(len(lines), 2, lines)
        self.assertRegex(lines[0], r"ledger\.yaml:5:5: .*on_duplicat.*did you mean.*on_duplicate")
        self.assertRegex(lines[1], r"ledger\.yaml:6:\d+: .*ttl")
        self.assertEqual(self.run_cli("serve", code=2).stderr.strip().splitlines()[0], lines[0])
        self.run_cli("check", "-c", "nowhere.yaml", code=2)

    def test_mistakes_at_the_start_are_one_helpful_line(self):
        config = self.proxy.directory / "other.yaml"

        def start(text, code=1):
            config.write_text(text)
            lines = self.run_cli("serve", "-c", str(config), code=code).stderr.strip().splitlines()
            self.assertEqual(len(lines), 1, lines)
            return lines[0]

        in_use = start(f"listen: 127.0.0.1:{self.proxy.port}\nadmin: {{ listen: 127.0.0.1:0 }}\nstore: {{ url: \"memory:\" }}\n")
        self.assertIn(f"127.0.0.1:{self.proxy.port}", in_use)
        self.assertIn("in use", in_use)
        in_use = start(f"listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:{self.proxy.admin_port} }}\nstore: {{ url: \"memory:\" }}\n")
        self.assertIn("in use", in_use)
        free = "listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0 }\n"
        self.assertIn("/nowhere/x.db", start(free + 'store: { url: "sqlite:/nowhere/x.db" }\n'))
        (self.proxy.directory / "text.db").write_text("this is not a database, and has been so for a good while\n" * 40)
        self.assertIn("text.db", start(free + f'store: {{ url: "sqlite:{self.proxy.directory}/text.db" }}\n'))

    def test_usage_errors_are_exit_code_2(self):
        for arguments in (["nonsense"], ["log", "--nope"], ["explain"], ["resolve"]):
            done = self.run_cli(*arguments, code=2)
            self.assertTrue(done.stderr.strip())
        self.run_cli("--help")
        self.assertRegex(self.run_cli("--version").stdout, r"\d+\.\d+\.\d+")
        self.run_cli("log", "/nowhere/at/all.db", code=1)

    def test_a_request_cannot_write_to_the_terminal(self):
        self.proxy.charge(self.up, path="/v1/charges", user="evil\x1b[31m:x")
        for command in ("log", "show", "stats"):
            self.assertNotIn("\x1b", self.run_cli(command, self.proxy.store_path).stdout)


def collected(stream):
    """The lines of a stream, as they come."""
    lines = []
    threading.Thread(target=lambda: [lines.append(line) for line in stream], daemon=True).start()
    return lines


if __name__ == "__main__":
    main()
