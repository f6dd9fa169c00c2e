"""Rows as text and as docs/performance.md."""
import datetime
import os
import pathlib
import re
import subprocess
import time

from load import median, spread


def verdict(bound, value):
    return "met" if value <= bound else "NOT met"


def row_text(row):
    lines = [f"### {row.title}", "", "| proxy | CPU µs a request | spread | requests/s | p50 ms | p99 ms | core busy |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, samples in row.samples.items():
        low, high = spread(samples, "cpu_us")
        timed = median(samples, "p50_ms") > 0
        p50, p99 = (f"{median(samples, f):.2f}" if timed else "–" for f in ("p50_ms", "p99_ms"))
        shown = f"**{name}**" if name == "Ledger" else name
        lines.append(f"| {shown} | {median(samples, 'cpu_us'):.1f} | {low:.1f}–{high:.1f} | {median(samples, 'rate'):,.0f} | {p50} | {p99} | "
                     f"{median(samples, 'busy'):.0%} |")
    lines.append("")
    for what, bound, value, unit in row.goals:
        digits = 2 if unit == "ms" else 1 if unit == "µs" else 0
        lines.append(f"- Goal: at most {what} = {bound:,.{digits}f} {unit}. Measured: {value:,.{digits}f} {unit}, "
                     f"{value / bound:.2f} of it. **{verdict(bound, value)}**" if unit != "/s" else
                     f"- Goal: at least {what} = {value:,.0f}/s. Measured: {bound:,.0f}/s. **{verdict(bound, value)}**")
    lines += [f"- {note}" for note in row.notes]
    return "\n".join(lines) + "\n"


def machine():
    model = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    kernel = os.uname().release
    return f"{os.cpu_count()} cores of {model[1] if model else os.uname().machine}, Linux {kernel}"


def versions():
    def first(command):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            return ""
        found = re.search(r"\d+\.\d+[.\d]*", done.stdout + done.stderr)
        return found[0] if found else ""
    from anchors import find
    return ", ".join(f"{name} {first([find(program) or program, flag])}" for name, program, flag in
                     (("nginx", "nginx", "-v"), ("HAProxy", "haproxy", "-v"), ("Varnish", "varnishd", "-V"), ("Redis", "redis-server", "-v"),
                      ("Node", "node", "-v")))


def busy_cores():
    """How many cores all programs together keep busy, in a second."""
    def read():
        user, nice, system, idle, iowait, *rest = map(int, pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
        return user + nice + system + sum(rest), idle + iowait
    before = read()
    time.sleep(1)
    busy, free = (now - then for now, then in zip(read(), before))
    return os.cpu_count() * busy / (busy + free)


def performance(rows, seconds, times, growth, busy):
    """`busy`: busy_cores() before the benchmark began."""
    cores = os.cpu_count()
    shared = f"Just before it, other programs kept {busy:.1f} of {cores} cores busy."
    if busy > 0.2:
        shared += (" **Other programs were running**: no core was the proxy's alone, CPU time is inflated, and latencies, calls/s and the "
                   "fdatasync probe hold waiting for a core. Only ratios of CPU time say something; the verdicts on the rest say nothing.")
    head = f"""# Performance

Written by `bench/run` on {datetime.date.today()}: {machine()}. {versions()}.

The measure is CPU time of the proxy process, user and system, over requests done, all its threads included. The proxy is pinned to core 0
(Ledger with `threads: 1`; its store's threads share that core), the upstream and the load generator (wrk, or `bench/tunnels.cc` for TLS) on core 1. Calls are POSTs of 200
bytes of JSON with answers of 300 bytes, over 64 kept-alive connections where the row does not say otherwise. Each figure is the median of {times} runs of {seconds} s, the proxies
taking turns; "spread" is the least and the most. Before them each gets one second of load that is not counted, which also records what is replayed. Durability is `full` throughout, on a real disk.
"Core busy" is the proxy's share of its core: below 100% something else was the limit (the load, the disk, other programs on the machine), so compare CPU time there,
not requests/s. A goal is judged by medians; where the spreads of two rows overlap the verdict may be chance.
{shared}

Node + Redis is an analogue, not the library: `bench/node_redis.js`, an idempotency layer by hand in the shape of Powertools', over Redis with `appendfsync always`; both its processes count.

Where the time goes, what stands between us and the goals that are not met, and what was tried: [profile.md](profile.md).

"""
    return head + "\n".join(map(row_text, rows)) + (f"\n{growth}" if growth else "")
