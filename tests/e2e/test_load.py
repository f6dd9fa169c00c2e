"""Many calls at once: every effect exactly once, and memory stays flat."""
import json
import pathlib
import subprocess
import sys

from harness import SANITIZED, Case, exchange, main, request_bytes

LOAD = str(pathlib.Path(__file__).with_name("load.py"))
COUNT = 1_000 if SANITIZED else 10_000
CONNECTIONS = 64


class CountingUpstream:
    def __init__(self, case):
        self.process = subprocess.Popen([sys.executable, LOAD, "upstream"], stdout=subprocess.PIPE, text=True)
        case.addCleanup(self.close)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, path):
        return json.loads(exchange(("127.0.0.1", self.port), request_bytes("GET", path, "x"), method="GET").body)

    @property
    def effects(self):
        return self.ask("/count")

    @property
    def repeated(self):
        return self.ask("/repeated")


def start_client(ledger, upstream, first, count, connections=CONNECTIONS):
    return subprocess.Popen([sys.executable, LOAD, "client", str(ledger.port), upstream.url + "/v1/charges", str(first), str(count), str(connections)],
                            stdout=subprocess.PIPE, text=True)


def result_of(client):
    output, _ = client.communicate(timeout=240)
    return json.loads(output)


def resident(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


class Load(Case):
    def test_ten_thousand_calls_and_ten_thousand_duplicates_are_ten_thousand_effects(self):
        up = CountingUpstream(self)
        ledger = self.ledger()
        first = result_of(start_client(ledger, up, 0, COUNT))
        self.assertEqual((first["results"], first["wrong"], first["retries"]), ({"200 executed": COUNT}, [], 0))
        after_first = resident(ledger.process.pid)
        second = result_of(start_client(ledger, up, 0, COUNT))
        self.assertEqual((second["results"], second["wrong"], second["retries"]), ({"200 replayed": COUNT}, [], 0))
        self.assertEqual((up.effects, up.repeated), (COUNT, []))
        third = result_of(start_client(ledger, up, COUNT, COUNT))
        self.assertEqual(third["results"], {"200 executed": COUNT})
        if not SANITIZED:
            self.assertLess(resident(ledger.process.pid) - after_first, 16 * 1024 * 1024)


if __name__ == "__main__":
    main()
