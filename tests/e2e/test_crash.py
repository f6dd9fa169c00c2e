"""SIGKILL under load, again and again: nothing twice, nothing recorded is lost."""
import os
import random

from harness import SANITIZED, Case, eventually, main
from test_load import CountingUpstream, result_of, start_client

KILLS = int(os.environ.get("LEDGER_KILLS", "3" if SANITIZED else "15"))
CALLS_A_ROUND = 300


class Crash(Case):
    def test_no_kill_makes_a_second_effect_or_loses_a_recorded_answer(self):
        seed = int(os.environ.get("LEDGER_SEED", random.randrange(2**32)))
        print(f"seed {seed}", flush=True)
        chance = random.Random(seed)
        up = CountingUpstream(self)
        ledger = self.ledger()
        for kill in range(KILLS):
            client = start_client(ledger, up, kill * CALLS_A_ROUND, CALLS_A_ROUND, connections=16)
            target = up.effects + chance.randrange(1, CALLS_A_ROUND)
            eventually(lambda: up.effects >= target or client.poll() is not None, "the kill's moment")
            ledger.kill()
            ledger.start()
            answers = result_of(client)
            # What was in flight is in doubt and is told as that; everything else has its answer.
            self.assertEqual(answers["wrong"], [])
            self.assertLessEqual(set(answers["results"]), {"200 executed", "200 replayed", "200 joined", "409 in-doubt"}, answers)
        self.assertEqual(up.repeated, [])

        again = result_of(start_client(ledger, up, 0, KILLS * CALLS_A_ROUND))
        doubtful = again["results"].get("409 in-doubt", 0)
        self.assertEqual(again["results"].get("200 replayed", 0) + doubtful, KILLS * CALLS_A_ROUND, again)
        self.assertLess(doubtful, KILLS * 16 + 1)
        self.assertEqual((up.repeated, again["wrong"]), ([], []))
        in_doubt = ledger.admin("GET", "/api/records?state=in_doubt&limit=1000").json()["records"]
        self.assertEqual(len(in_doubt), doubtful)


if __name__ == "__main__":
    main()
