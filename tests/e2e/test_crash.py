"""SIGKILL at random moments under load. The counts at the upstream are the proof: nothing twice, and nothing that was
recorded is lost.

LEDGER_KILLS=2000 kills as often (200 else, fewer under a sanitizer); LEDGER_SEED=... repeats a run's choices.
"""
import json
import os
import pathlib
import random
import sqlite3
import subprocess
import sys
import threading

from harness import SANITIZED, Case, exchange, main, request_bytes

STORM = str(pathlib.Path(__file__).with_name("storm.py"))
KILLS = int(os.environ.get("LEDGER_KILLS", "20" if SANITIZED else "200"))


def storm(*arguments, **more):
    return subprocess.Popen([sys.executable, STORM, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **more)


def finish(process, text=None):
    output, _ = process.communicate(text, timeout=240)
    return json.loads(output)


class Storm(Case):
    """Agents repeat their calls against two proxies on one file, one or both of which are killed all the time."""

    def setUp(self):
        self.seed = int(os.environ.get("LEDGER_SEED", random.randrange(2**32)))
        print(f"LEDGER_SEED={self.seed}", flush=True)
        self.chance = random.Random(self.seed)

    def start_upstream(self, kind):
        process = storm("upstream", kind, self.seed)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        self.up_port = int(process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.up_port}/v1/charges"

    def at_upstream(self):
        return json.loads(exchange(("127.0.0.1", self.up_port), request_bytes("GET", "/effects", "x"), method="GET").body)

    def kill_all_the_time(self, kills, config=""):
        """Returns what the agents saw, what each call gets afterwards, what the upstream and the store hold."""
        proxies = [self.ledger(config)]
        proxies.append(self.ledger(config, store=proxies[0].store))
        agents = storm("agents", ",".join(str(p.port) for p in proxies), self.url, self.seed, stdin=subprocess.PIPE)
        left, pause = kills, threading.Event()
        while left > 0:
            pause.wait(self.chance.uniform(0, 0.12))  # the random moment
            victims = proxies if self.chance.random() < 0.2 else [self.chance.choice(proxies)]
            for proxy in victims:
                proxy.kill()
                left -= 1
            if self.chance.random() < 0.1:  # also while it starts
                proxy = victims[0]
                with subprocess.Popen([proxy.binary, "serve", "-c", str(proxy.file)], stderr=subprocess.DEVNULL, cwd=proxy.directory) as starting:
                    pause.wait(self.chance.uniform(0, 0.06))
                    starting.kill()
                left -= 1
            for proxy in victims:
                proxy.start()
        seen = finish(agents, "")
        now = finish(storm("replay", proxies[0].port, self.url, seen["calls"]))
        self.assertEqual([proxy.stop() for proxy in proxies], [0, 0])
        store = sqlite3.connect(proxies[0].store_path)
        store.row_factory = sqlite3.Row
        rows = store.execute("SELECT state, executed, attempts, replayed, joined FROM records").fetchall()
        store.close()
        print(f"{kills} kills, {seen['calls']} calls, {seen['lost']} connections lost, {seen['results']}", flush=True)
        self.assertGreater(seen["calls"], kills)
        self.assertGreater(seen["lost"], 0)
        # Whatever was answered once is answered so for ever.
        self.assertEqual(seen["wrong"], [])
        for n, answer in seen["answers"].items():
            self.assertEqual((n, now[n]), (n, [200, "replayed", answer]))
        return seen, now, self.at_upstream(), rows

    def test_no_kill_makes_a_second_effect_or_loses_a_recorded_answer(self):
        self.start_upstream("plain")
        seen, now, upstream, rows = self.kill_all_the_time(KILLS)
        self.assertLessEqual(set(seen["results"]), {"200 executed", "200 replayed", "200 joined", "409 in-doubt"})
        effects = upstream["effects"]
        self.assertEqual({n for n in effects.values() if n != 1}, set())
        # What the store has as completed is what happened; what it does not know of may or may not have.
        replayed = [n for n, (status, ledger, _) in now.items() if (status, ledger) == (200, "replayed")]
        doubtful = [n for n, (status, ledger, _) in now.items() if (status, ledger) == (409, "in-doubt")]
        self.assertEqual(len(replayed) + len(doubtful), seen["calls"])
        for n in replayed:
            self.assertEqual((n, effects.get('{"amount":49,"n":%s}' % n)), (n, 1))
        states = [row["state"] for row in rows]
        self.assertEqual((states.count(1), states.count(3), len(states)), (len(replayed), len(doubtful), seen["calls"]))
        self.assertEqual({row["executed"] for row in rows}, {1})
        self.assertLessEqual(len(effects), seen["calls"])

    def test_at_an_honouring_upstream_every_call_happens_exactly_once_through_all_kills(self):
        self.start_upstream("honouring")
        kills = KILLS if KILLS > 200 else KILLS // 3
        seen, now, upstream, rows = self.kill_all_the_time(
            kills, f'routes: [ {{ name: charge, match: "POST {self.url}", upstream_key: Idempotency-Key }} ]')
        self.assertLessEqual(set(seen["results"]), {"200 executed", "200 replayed", "200 joined"})
        self.assertEqual({(status, ledger) for status, ledger, _ in now.values()}, {(200, "replayed")})
        # The upstream saw repeats and honoured them, and never other parameters under a key.
        self.assertEqual((upstream["keys"], upstream["statuses"].get("400")), (1, None))
        self.assertGreater(upstream["statuses"].get("200", 0), 0)
        self.assertEqual((len(upstream["effects"]), set(upstream["effects"].values())), (seen["calls"], {1}))
        self.assertEqual((len(rows), {row["state"] for row in rows}), (seen["calls"], {1}))


if __name__ == "__main__":
    main()
