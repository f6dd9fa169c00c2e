"""The command line, beside a running proxy and without one."""
import json
import os
import pty
import signal
import subprocess
import threading

from harness import BINARY, Case, DEADLINE, closed_port, eventually, main, reset


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
        keys = [self.proxy.charge(self.up)["Ledger-Record"] for _ in range(5)]
        return keys[0]

    def doubtful(self, **more):
        self.up.handler = lambda r, c: reset(c)
        key = self.proxy.charge(self.up, path="/mail", **more)["Ledger-Record"]
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
        self.run_cli("resolve", key, "--executed", "--by", "ada", self.proxy.store_path)
        again = self.proxy.charge(self.up, path="/mail")
        self.assertEqual((again.slug, self.up.effects), ("answer-not-stored", 1))
        refused = self.run_cli("resolve", key, "--not-executed", "--by", "ada", self.proxy.store_path, code=1)
        self.assertEqual(len(refused.stderr.strip().splitlines()), 1)
        self.run_cli("resolve", "0" * 64, "--executed", "--by", "ada", self.proxy.store_path, code=1)

    def test_resolve_wants_to_know_who_says_so_where_nobody_can_be_asked(self):
        key = self.doubtful()
        refused = self.run_cli("resolve", key, "--not-executed", self.proxy.store_path, code=2)
        self.assertIn("--by", refused.stderr)
        self.assertEqual(len(refused.stderr.strip().splitlines()), 1)
        self.assertEqual(self.proxy.record(key)["state"], "in_doubt")

    def at_a_terminal(self, *arguments, reply):
        """What the command shows on a terminal of its own where somebody types `reply`, and its exit code."""
        master, slave = pty.openpty()
        process = subprocess.Popen([BINARY, *arguments], cwd=self.proxy.directory, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        os.write(master, reply.encode())
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError:
            pass  # the other side is closed
        os.close(master)
        return shown.decode(), process.wait(DEADLINE)

    def test_resolve_shows_the_record_on_a_terminal_and_asks(self):
        key = self.doubtful(user="billing-bot.run-7:x")
        shown, code = self.at_a_terminal("resolve", key[:8], "--not-executed", self.proxy.store_path, reply="n\n")
        self.assertEqual((code, self.proxy.record(key)["state"]), (1, "in_doubt"), shown)
        for part in (key, "mail", f"POST {self.up.url}/mail", "billing-bot", "[y/N]"):
            self.assertIn(part, shown)
        shown, code = self.at_a_terminal("resolve", key[:8], "--not-executed", self.proxy.store_path, reply="y\n")
        self.assertEqual((code, self.proxy.record(key)["state"]), (0, "released"), shown)

    def test_doubts_tell_a_person_which_call_it_was_and_what_to_do(self):
        key = self.doubtful(user="billing-bot.run-7:x")
        self.storm()
        told = self.run_cli("doubts", self.proxy.store_path).stdout
        [line] = [line for line in told.splitlines() if line.startswith(key[:8])]
        for part in ("mail", "billing-bot", "run-7", "Z"):
            self.assertIn(part, line)
        self.assertNotIn("charge_card", told)
        self.assertIn("--executed", told)
        self.assertIn("--not-executed", told)
        [record] = [json.loads(line) for line in self.run_cli("doubts", "--json").stdout.splitlines()]
        self.assertEqual((record["id"], record["agent"], record["state"]), (key, "billing-bot", "in_doubt"))
        self.assertTrue(record["why"])
        self.run_cli("resolve", key[:8], "--executed", "--by", "ada")
        self.assertEqual(self.run_cli("doubts").stdout, "")

    def test_every_line_of_a_record_has_the_first_digits_of_its_id(self):
        key, doubt = self.storm(), self.doubtful()
        for command in ("show", "doubts"):
            self.assertIn(doubt[:8], self.run_cli(command, self.proxy.store_path).stdout)
        self.assertIn(key[:8], self.run_cli("show", self.proxy.store_path).stdout)
        shown = subprocess.run(f"{BINARY} tail {self.proxy.store_path} | head -n 2", shell=True, capture_output=True, text=True).stdout
        self.assertIn(f"{key[:8]}   ✓ charge_card", shown)
        self.assertIn(f"{doubt[:8]}   ? mail", shown)

    def test_the_log_has_one_line_a_route_however_many_records_it_has(self):
        for amount in range(3):
            for _ in range(2):
                self.proxy.charge(self.up, body=b'{"amount":%d}' % amount)
        for path in ("/a", "/b", "/a"):
            self.proxy.charge(self.up, path=path)
        self.doubtful()
        lines = [" ".join(line.split()) for line in self.run_cli("log").stdout.splitlines()]
        place = self.up.url.removeprefix("http://")
        self.assertEqual(lines, ["✓ charge_card attempts 6 executed 3 blocked 3 ← retried 3×",
                                 f"✓ POST {place}/a attempts 2 executed 1 blocked 1 ← retried 1×",
                                 f"✓ POST {place}/b attempts 1 executed 1 blocked 0",
                                 "? mail attempts 1 executed 1 blocked 0 in doubt 1"], lines)

    def test_an_unsent_call_is_not_executed_and_a_mismatch_is_no_retry(self):
        url = f"http://127.0.0.1:{closed_port()}/v1/charges"
        self.assertEqual(self.proxy.proxied("POST", url, b"x").slug, "upstream-unreachable")
        for amount in (1, 2, 3):
            self.proxy.charge(self.up, body=b'{"amount":%d}' % amount, headers={"Ledger-Key": "order-17"})
        lines = [" ".join(line.split()) for line in self.run_cli("log").stdout.splitlines()]
        self.assertEqual(lines, [f"↺ POST {url.removeprefix('http://')} attempts 1 executed 0 blocked 0 unsent 1",
                                 "✓ charge_card attempts 1 executed 1 blocked 0 mismatched 2"])
        stats = json.loads(self.run_cli("stats", "--json").stdout)["totals"]
        self.assertEqual((stats["executed"], stats["unsent"], stats["mismatched"], stats["blocked"]), (1, 1, 2, 0))
        filtered = json.loads(self.run_cli("stats", "--json", "--since", "1h").stdout)["totals"]
        self.assertEqual(filtered, stats)
        shown = " ".join(self.run_cli("stats").stdout.split())
        self.assertIn("unsent", shown)
        self.assertIn("mismatched", shown)

    def test_a_doubt_is_told_by_its_label_or_its_key_and_its_history_says_who_settled_it(self):
        self.proxy = self.ledger(f'routes: [ {{ name: mail, match: "POST {self.up.url}/mail" }}, {{ name: send_sms, match: "POST {self.up.url}/sms", label: "to ${{form:To}}" }} ]')
        self.up.handler = lambda r, c: reset(c)
        sms = self.proxy.proxied("POST", self.up.url + "/sms", b"To=%2B4917&Body=hi", [("Content-Type", "application/x-www-form-urlencoded")])["Ledger-Record"]
        keyed = self.proxy.charge(self.up, path="/mail", headers={"Ledger-Key": "order-17"})["Ledger-Record"]
        told = {line[:8]: line for line in self.run_cli("doubts").stdout.splitlines()}
        self.assertIn("send_sms: to +4917", told[sms[:8]])
        self.assertIn("mail: key order-17", told[keyed[:8]])
        labels = {r["id"]: (r["label"], r["key"]) for r in map(json.loads, self.run_cli("doubts", "--json").stdout.splitlines())}
        self.assertEqual((labels[sms][0], labels[keyed][1]), ("to +4917", "order-17"))
        shown, _ = self.at_a_terminal("resolve", sms[:8], "--executed", reply="n\n")
        self.assertIn("to +4917", shown)
        self.run_cli("resolve", sms[:8], "--executed", "--by", "ada")
        self.assertIn("ada", self.run_cli("show", sms[:8]).stdout)
        self.assertIn("to +4917", self.run_cli("show", sms[:8]).stdout)
        shown, code = self.at_a_terminal("resolve", keyed[:8], "--executed", "--by", "grace", reply="y\n")
        self.assertEqual(code, 0, shown)
        self.assertIn("grace", json.dumps(self.proxy.record(keyed)["history"]))

    def test_filters_take_route_agent_run_state_and_since(self):
        self.proxy.charge(self.up, user="bot.run-1:x")
        self.proxy.charge(self.up, body=b"{}", user="bot.run-2:x")
        doubt = self.doubtful(user="other.run-1:x")

        def ids(*filters, command="log"):
            return {json.loads(line)["id"][:8] for line in self.run_cli(command, "--json", *filters).stdout.splitlines()}

        every = ids()
        self.assertEqual(len(every), 3)
        for command in ("log", "show"):
            self.assertEqual(len(ids("--route", "charge_card", command=command)), 2)
            self.assertEqual(len(ids("--agent", "bot", command=command)), 2)
            self.assertEqual(len(ids("--run", "run-1", command=command)), 2)
            self.assertEqual(ids("--state", "in_doubt", command=command), {doubt[:8]})
            self.assertEqual(ids("--agent", "bot", "--run", "run-1", "--state", "in_doubt", command=command), set())
            self.assertEqual(ids("--since", "10m", command=command), every)
            self.assertEqual(ids("--since", "0s", command=command), set())
            self.assertEqual(ids("--since", "2001-02-03T04:05:06+02:00", command=command), every)
            self.assertEqual(ids("--since", "2999-02-03T04:05:06Z", command=command), set())
        self.assertEqual(ids("--agent", "bot", command="doubts"), set())
        self.assertEqual(ids("--agent", "other", command="doubts"), {doubt[:8]})
        stats = json.loads(self.run_cli("stats", "--json", "--agent", "bot").stdout)
        self.assertEqual((stats["totals"]["attempts"], stats["totals"]["in_doubt"]), (2, 0))
        for command in ("log", "show", "tail", "stats", "doubts", "clear"):
            more = ("--yes",) if command == "clear" else ()
            self.assertIn("did you mean `completed`?", self.run_cli(command, "--state", "complete", *more, code=2).stderr)
        self.run_cli("clear", "--yes", "--run", "run-2")
        self.assertEqual(len(ids()), 2)
        self.run_cli("clear", "--yes", "--agent", "")
        self.assertEqual(len(ids()), 2)

    def test_help_and_version_are_subcommands_too(self):
        self.assertEqual(self.run_cli("help").stdout, self.run_cli("--help").stdout)
        self.assertIn("--not-executed", self.run_cli("help", "resolve").stdout)
        self.assertIn("did you mean `resolve`?", self.run_cli("help", "reslove", code=2).stderr)
        self.assertEqual(self.run_cli("version").stdout, self.run_cli("-V").stdout)
        self.assertEqual(self.run_cli("version").stdout, self.run_cli("--version").stdout)

    def test_explain_reads_a_body_the_same_way_here_and_at_the_admin_endpoint_and_says_how(self):
        for body, kind, assumed in (("amount=49&b=%20", "form", "Content-Type: application/x-www-form-urlencoded"),
                                    ('{"b":1,"a":2}', "json", "Content-Type: application/json"),
                                    ("[1]", "json", "Content-Type: application/json"),
                                    ("hello", "form", "Content-Type: application/x-www-form-urlencoded")):
            url = self.up.url + "/v1/charges"
            here = json.loads(self.run_cli("explain", "--json", "POST", url, "-d", body).stdout)
            there = self.proxy.admin("POST", "/api/explain", {"method": "POST", "url": url, "body": body}).json()
            self.assertEqual((here["body_kind"], here["assumed"]), (kind, assumed))
            # Only a running proxy knows how many tunnels were blind.
            self.assertEqual(here, {name: value for name, value in there.items() if name != "blind_tunnels"})
            self.assertIn(assumed, self.run_cli("explain", "POST", url, "-d", body).stdout)
            # And as the proxy reads a call that says so.
            called = self.proxy.proxied("POST", url, body.encode(), [tuple(assumed.split(": "))])
            self.assertEqual(called["Ledger-Record"], here["key"])
            # An empty one stands for a call that has none.
            here = json.loads(self.run_cli("explain", "--json", "POST", url, "-d", body, "-H", "Content-Type:").stdout)
            there = self.proxy.admin("POST", "/api/explain", {"method": "POST", "url": url, "body": body, "headers": {"Content-Type": ""}}).json()
            called = self.proxy.proxied("POST", url, body.encode())
            self.assertEqual((here["body_kind"], here["assumed"], here["key"]), ("raw", None, called["Ledger-Record"]))
            self.assertEqual(there["key"], here["key"])

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
        self.assertEqual(self.proxy.charge(self.up)["Ledger-Record"], told["key"])
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
