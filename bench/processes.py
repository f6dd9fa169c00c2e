"""Starts and stops what is measured: on free ports, pinned to a core, everything in one folder that is removed."""
import http.client
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
HERE = ROOT / "bench"
LEDGER = os.environ.get("LEDGER_BIN", str(ROOT / "build/release/ledger"))
PROXY_CORE, LOAD_CORE = 0, 1
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def pinned(core, command):
    return ["taskset", "-c", str(core), *map(str, command)]


def cpu_seconds(pid):
    """User and system time of a process and its children that live, all threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total = (int(fields[11]) + int(fields[12])) / TICK
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += sum(cpu_seconds(int(child)) for child in (task / "children").read_text().split())
    return total


def resident_bytes(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


class Work:
    """A folder on a real disk, and everything that was started; `with` ends it all."""

    def __init__(self):
        (ROOT / "build").mkdir(exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR", ROOT / "build")))
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.folder], capture_output=True, text=True).stdout.strip()
        if kind in ("tmpfs", "ramfs"):
            raise SystemExit(f"{self.folder} is a {kind}: an fsync there costs nothing. Set BENCH_DIR to a folder on a disk.")
        self.disk = kind
        os.chmod(self.folder, 0o755)
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            self.stop(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return self.folder / name

    def write(self, name, text):
        self.path(name).write_text(text)
        return self.path(name)

    def start(self, name, core, command, **options):
        log = open(self.path(name + ".log"), "w")
        process = subprocess.Popen(pinned(core, command), stdout=log, stderr=log, start_new_session=True, **options)
        process.log = self.path(name + ".log")
        self.started.append(process)
        return process

    def stop(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind
        except ProcessLookupError:
            pass
        process.wait()
        if process in self.started:
            self.started.remove(process)

    def wait_for_port(self, process, port):
        end = time.monotonic() + 15
        while time.monotonic() < end:
            if process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"{process.args} did not listen on {port}:\n{process.log.read_text()}")


class Ledger:
    """The proxy under test: `listeners[i]` is the port of its i-th listener, `port` the forward proxy's."""

    def __init__(self, work, name, config, core=PROXY_CORE, threads=1, store=None, env=None):
        store = store or f"sqlite:{work.path(name + '.db')}"
        (work.path(name + ".state")).mkdir(exist_ok=True)
        text = (f'listen: 127.0.0.1:0\nadmin: {{ listen: "127.0.0.1:0" }}\nstate: {work.path(name + ".state")}\n'
                f'store: {{ url: "{store}", durability: full }}\n' + config.replace("THREADS", str(threads)))
        file = work.write(name + ".yaml", text)
        self.began = time.monotonic()
        command = [LEDGER, "serve", "-c", file]
        self.process = work.start(name, core, command, env={**os.environ, **(env or {})})
        self.pid = self.process.pid
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            log = re.sub(r"\x1b\[[0-9;]*m", "", self.process.log.read_text())
            if "admin on" in log:
                break
            time.sleep(0.005)
        else:
            raise SystemExit(f"ledger did not start:\n{self.process.log.read_text()}")
        self.start_seconds = time.monotonic() - self.began
        ports = [int(p) for p in re.findall(r"listening on \S+:(\d+)", log)]
        self.port, self.listeners = ports[0], ports[1:]


def post(port, path, body, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.request("POST", path, body, {"Content-Type": "application/json", **dict(headers)})
    answer = connection.getresponse()
    answer.body = answer.read()
    connection.close()
    return answer
