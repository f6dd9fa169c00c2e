"""Drives load and measures: CPU time of the proxy a request, requests a second, latency; medians over alternations."""
import dataclasses
import itertools
import os
import re
import statistics
import subprocess
import time

from anchors import find
from processes import HERE, LOAD_CORE, cpu_seconds, pinned

_seeds = itertools.count()
_UNITS = {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}


@dataclasses.dataclass
class Sample:
    """One run of load: microseconds of CPU a request, requests a second, milliseconds of latency."""
    cpu_us: float
    rate: float
    p50_ms: float = 0
    p99_ms: float = 0
    busy: float = 0  # CPU seconds of the proxy a second: 1 is the whole core


@dataclasses.dataclass
class Subject:
    """Something measured: a name, the processes whose CPU time counts, and a run of load for so many seconds."""
    name: str
    pids: list
    run: object

    def sample(self, seconds):
        before, began = sum(map(cpu_seconds, self.pids)), time.monotonic()
        requests, elapsed, p50, p99 = self.run(seconds)
        used = sum(map(cpu_seconds, self.pids)) - before
        return Sample(used / max(requests, 1) * 1e6, requests / elapsed, p50, p99, used / (time.monotonic() - began))


def wrk(port, path="/", method="POST", connections=64, unique=False):
    """A run of wrk on the load's core; a wrong answer ends the benchmark."""
    def run(seconds):
        script = ["-s", HERE / "calls.lua"] if method == "POST" else []
        words = ["--", path] if method == "POST" else []
        if unique:
            words.append(f"{os.getpid():x}.{next(_seeds)}")
        command = pinned(LOAD_CORE, [find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "20s", *script,
                                     f"http://127.0.0.1:{port}{path}", *words])
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in out or "Socket errors" in out:
            raise SystemExit(f"{' '.join(command)}\n{out}")
        done, elapsed = re.search(r"(\d+) requests in ([\d.]+)s", out).groups()
        latency = {p: float(v) * _UNITS[u] for p, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s|m)", out)}
        return int(done), float(elapsed), latency.get("50", 0), latency.get("99", 0)
    return run


def tunnels(program, arguments, connections=64):
    """A run of bench/tunnels.cc: TLS, through a CONNECT tunnel or directly."""
    def run(seconds):
        command = pinned(LOAD_CORE, [program, *arguments, "--connections", connections, "--seconds", seconds])
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        requests, elapsed = done.stdout.split()
        return int(requests), float(elapsed), 0, 0
    return run


def alternate(subjects, seconds, times):
    """{name: [Sample]}: each subject in turn, `times` rounds, after one second of load for each that is not counted."""
    for subject in subjects:
        subject.sample(1)
    samples = {subject.name: [] for subject in subjects}
    for _ in range(times):
        for subject in subjects:
            samples[subject.name].append(subject.sample(seconds))
    return samples


def median(samples, field):
    return statistics.median(getattr(sample, field) for sample in samples)


def spread(samples, field):
    values = [getattr(sample, field) for sample in samples]
    return min(values), max(values)


def fdatasync_ms(folder, count=300, preallocated=True):
    """The median of an fdatasync after a write of 4 KiB, in a file that has its blocks or grows."""
    path = folder / "fdatasync"
    times = []
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        if preallocated:
            os.pwrite(file, bytes(4096 * count), 0)
            os.fsync(file)
        for i in range(count):
            os.pwrite(file, b"x" * 4096, 4096 * i)
            began = time.perf_counter()
            os.fdatasync(file)
            times.append(time.perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(times) * 1e3
