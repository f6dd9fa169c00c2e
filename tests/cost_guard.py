#!/usr/bin/env python3
"""What a call costs must not grow unseen: instructions (valgrind's callgrind) and allocations, never times.

usage: cost_guard.py instructions|allocations [--update]
The limits are tests/cost_limits.txt; --update writes what was measured and a tenth there.
"""
import mmap
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "e2e"))
from harness import BINARY, Upstream, read_answer, request_bytes
import socket

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(BINARY).parent
COST = os.environ.get("LEDGER_COST", str(BUILD / "cost"))
ALLOCATIONS = os.environ.get("LEDGER_ALLOCATIONS_SO", str(BUILD / "allocations.so"))
LIMITS = HERE / "cost_limits.txt"
SKIP = 77
HEAD_ROOM = 1.10
CONFIG = """
listen: 127.0.0.1:0
admin: {{ listen: "127.0.0.1:0" }}
state: {folder}/state
store: {{ url: "sqlite:{folder}/cost.db", durability: full }}
limits: {{ threads: 1 }}
listeners: [{{ listen: "127.0.0.1:0", upstream: "{upstream}" }}]
routes:
  - {{ name: once, match: "POST /once/**", policy: once }}
  - {{ name: pass, match: "POST /**", policy: pass }}
"""


def body(mark):
    text = f'{{"amount":4900,"currency":"usd","items":[1,2.5,true,null],"mark":"{mark}","note":"'
    return (text + "n" * (200 - len(text) - 2) + '"}').encode()


class Proxy:
    """The real binary behind one kept-alive connection."""

    def __init__(self, command, env):
        self.folder = tempfile.mkdtemp(prefix="ledger-cost-")
        answer = (200, [("Content-Type", "application/json")], b"x" * 300)
        self.upstream = Upstream(lambda request, connection: answer)
        config = pathlib.Path(self.folder, "ledger.yaml")
        config.write_text(CONFIG.format(folder=self.folder, upstream=self.upstream.url))
        self.process = subprocess.Popen([*command, BINARY, "serve", "-c", str(config)], cwd=self.folder, env={**os.environ, **env},
                                        stderr=subprocess.PIPE, text=True)
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "admin on" in line:
                break
        else:
            raise AssertionError("did not start: " + "".join(said))
        # Read on, or the pipe fills.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        port = re.findall(r"listening on \S+:(\d+) for", "".join(said))[0]
        self.socket = socket.create_connection(("127.0.0.1", int(port)), timeout=60)

    def calls(self, path, count, mark):
        """`mark(i)` names the body of the i-th call."""
        for i in range(count):
            self.socket.sendall(request_bytes("POST", path, "localhost", [("Content-Type", "application/json")], body(mark(i))))
            answer = read_answer(self.socket)
            assert answer.status == 200, answer

    def end(self):
        self.socket.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


def measure_calls(proxy, reading, count):
    """{name: cost of a call}, in the steady state: `reading()` is called before and after."""
    kinds = {"pass-through": ("/pass/v1", lambda i: 0), "replay": ("/once/same", lambda i: 0),
             "guarded first call": ("/once/each", lambda i: i)}
    measured = {}
    for name, (path, mark) in kinds.items():
        proxy.calls(path, 100, lambda i, mark=mark: f"w{mark(i)}")
        before = reading()
        proxy.calls(path, count, lambda i, mark=mark: f"w{mark(i + 100)}")
        measured[name] = (reading() - before) / count
    return measured


def allocations():
    with tempfile.NamedTemporaryFile() as shared:
        shared.write(bytes(8))
        shared.flush()
        proxy = Proxy([], {"LD_PRELOAD": f"{ALLOCATIONS}:libstdc++.so.6", "LEDGER_ALLOCATIONS": shared.name})
        try:
            page = mmap.mmap(shared.fileno(), 8)

            def reading():
                return struct.unpack("Q", page[:8])[0]
            assert reading() > 0, f"{ALLOCATIONS} was not preloaded, so nothing is counted"
            return measure_calls(proxy, reading, 1000)
        finally:
            proxy.end()


def driver_instructions(folder):
    """The core's own work, without a proxy around it."""
    def run(what, times):
        out = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", COST, what, str(times)],
                             capture_output=True, text=True, check=True).stderr
        return int(re.search(r"Collected : (\d+)", out)[1])
    times = 500
    return {what: (run(what, 2 * times) - run(what, times)) / times for what in ("canonicalise", "identify", "decide")}


def instructions():
    with tempfile.TemporaryDirectory() as folder:
        measured = driver_instructions(folder)
        proxy = Proxy(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/calls"], {})
        dumps = []

        def reading():
            # A dump holds what was executed since the one before.
            subprocess.run(["vgdb", f"--pid={proxy.process.pid}", "dump"], check=True, capture_output=True)
            file = pathlib.Path(folder, f"calls.{len(dumps) + 1}")
            dumps.append(int(re.search(r"^totals: (\d+)", file.read_text(), re.M)[1]))
            return sum(dumps)
        try:
            return measured | measure_calls(proxy, reading, 300)
        finally:
            proxy.end()


def read_limits():
    limits = {}
    for line in LIMITS.read_text().splitlines():
        if line and not line.startswith("#"):
            what, name, limit = (part.strip() for part in line.split("|"))
            limits[what, name] = float(limit)
    return limits


def update(what, measured):
    head = [line for line in LIMITS.read_text().splitlines() if line.startswith("#")]
    limits = {key: limit for key, limit in read_limits().items() if key[0] != what}
    limits |= {(what, name): round(cost * HEAD_ROOM + (0.5 if what == "allocations" else 0), 1) for name, cost in measured.items()}
    rows = [f"{kind:12} | {name:18} | {limit:g}" if kind == "allocations" else f"{kind:12} | {name:18} | {limit:.0f}"
            for (kind, name), limit in sorted(limits.items())]
    LIMITS.write_text("\n".join(head + rows) + "\n")


def reason_to_skip(what):
    if os.environ.get("LEDGER_SANITIZED"):
        return "the sanitizers' own work would be counted"
    if os.environ.get("LEDGER_BUILD", "RelWithDebInfo") != "RelWithDebInfo":
        return "the limits are those of the release build"
    if what == "instructions" and not (shutil.which("valgrind") and shutil.which("vgdb")):
        return "valgrind is not installed"
    return None


def main():
    what = sys.argv[1]
    if why := reason_to_skip(what):
        print("skipped:", why)
        return SKIP
    measured = {"instructions": instructions, "allocations": allocations}[what]()
    if "--update" in sys.argv:
        update(what, measured)
    limits = read_limits()
    failed = False
    for name, cost in measured.items():
        limit = limits[what, name]
        over = cost > limit
        failed |= over
        print(f"{'TOO MUCH' if over else 'ok':8} {name}: {cost:,.1f} {what} a call (limit {limit:,.1f})")
        if cost < limit / HEAD_ROOM ** 2 - 1:
            print(f"         the limit has become loose: {sys.argv[0]} {what} --update")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
