"""The rows: what is compared with what, and what must hold of the outcome."""
import dataclasses
import subprocess

import anchors
from load import Subject, alternate, fdatasync_ms, median, spread, tunnels, wrk
from processes import HERE, Ledger, post

# What bench/calls.lua sends where bodies are all the same.
_FIXED = '{"amount":4900,"currency":"usd","customer":{"id":"cus_42","name":"A. Buyer"},"items":[1,2.5,true,null],"mark":"0","note":"'
FIXED_BODY = _FIXED + "n" * (198 - len(_FIXED)) + '"}'

ROUTES = """
limits: { threads: THREADS, connections: 30000, idle_timeout: 600s }
listeners:
  - { listen: "127.0.0.1:0", upstream: "http://127.0.0.1:ORIGIN" }
routes:
  - { name: once, match: "POST /once/**", policy: once }
  - { name: pass, match: "POST /**", policy: pass }
"""
TLS_ROUTES = """
limits: { threads: THREADS }
tls: { roots: [CA] }
routes:
  - { name: pass, match: "POST https://*.bench.example:TLS/**", policy: pass }
  - { name: unpooled, match: "POST https://*.bench.example:UNPOOLED/**", policy: pass }
"""


@dataclasses.dataclass
class Row:
    """A row's outcome. `goals`: (what, bound, value, unit); met where value <= bound."""
    title: str
    samples: dict = dataclasses.field(default_factory=dict)
    goals: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)

    def cpu(self, name):
        return median(self.samples[name], "cpu_us")

    def goal(self, what, bound, value, unit="µs"):
        self.goals.append((what, bound, value, unit))


class Bench:
    """Starts each program at its first use; it stays until the end, idle while others are measured."""

    def __init__(self, work, seconds, times):
        self.work, self.seconds, self.times = work, seconds, times
        anchors.certificates(work)
        self.origin = anchors.upstream(work)
        self._made = {}

    def once(self, make, *arguments):
        if make not in self._made:
            self._made[make] = make(*arguments)
        return self._made[make]

    # --- programs ---------------------------------------------------------------------------
    def nginx(self):
        return self.once(anchors.nginx_proxy, self.work, self.origin)

    def nginx_tls(self):
        return self.once(anchors.nginx_tls, self.work, self.origin)

    def haproxy(self):
        return self.once(anchors.haproxy, self.work, self.origin)

    def varnish(self):
        return self.once(anchors.varnish, self.work, self.origin)

    def node_redis(self):
        return self.once(anchors.NodeRedis, self.work, self.origin)

    def ledger(self):
        return self.once(self._ledger)

    def _ledger(self):
        return Ledger(self.work, "ledger", ROUTES.replace("ORIGIN", str(self.origin.port)))

    def ledger_tls(self):
        return self.once(self._ledger_tls)

    def _ledger_tls(self):
        library = self._compile("names.so", "names.c", "-shared", "-fPIC")
        config = TLS_ROUTES.replace("CA", str(self.work.path("ca.pem"))).replace("TLS", str(self.origin.tls_port))
        config = config.replace("UNPOOLED", str(self.origin.tls_once_port))
        return Ledger(self.work, "ledger-tls", config, env={"LD_PRELOAD": str(library)})

    def _tunnels(self):
        return self._compile("tunnels", "tunnels.cc", "-std=c++20", "-pthread", libraries=["-lssl", "-lcrypto"])

    def _compile(self, output, source, *flags, libraries=()):
        path = self.work.path(output)
        if not path.exists():
            subprocess.run(["g++" if source.endswith("cc") else "gcc", "-O2", *flags, HERE / source, "-o", path, *libraries], check=True)
        return path

    # --- subjects ---------------------------------------------------------------------------
    def over_wrk(self, name, process, path="/", port=None, **options):
        return Subject(name, [process.pid], wrk(port or process.port, path, **options))

    def via_ledger(self, name="Ledger", path="/pass/v1", **options):
        ledger = self.ledger()
        return self.over_wrk(name, ledger, path, ledger.listeners[0], **options)

    def measure(self, title, subjects):
        row = Row(title)
        row.samples = alternate(subjects, self.seconds, self.times)
        return row

    # --- rows -------------------------------------------------------------------------------
    def pass_through(self):
        row = self.measure("Pass-through", [self.over_wrk("nginx", self.nginx()), self.via_ledger(),
                                            self.over_wrk("HAProxy", self.haproxy())])
        row.goal("0.90 × nginx", 0.9 * row.cpu("nginx"), row.cpu("Ledger"))
        return row

    def pass_large(self):
        row = self.measure("Pass-through, 100 KB answers", [
            self.over_wrk("nginx", self.nginx(), "/large"), self.via_ledger(path="/large"), self.over_wrk("HAProxy", self.haproxy(), "/large")])
        row.goal("HAProxy", row.cpu("HAProxy"), row.cpu("Ledger"))
        return row

    def replay(self):
        port = self.ledger().listeners[0]
        body = '{"probe":1}'
        post(port, "/once/replayed", body)
        said = post(port, "/once/replayed", body).getheader("Ledger-Status", "")
        if "replayed" not in said:
            raise SystemExit(f"a repeat was not replayed: Ledger-Status: {said}")
        # Node + Redis answers repeats of a call that runs with a 409; so it has to have run.
        post(self.node_redis().port, "/replayed", FIXED_BODY)
        row = self.measure("Recorded answer (replay), 64 connections", [
            self.over_wrk("nginx cache", self.nginx(), "/cached/replayed"), self.via_ledger(path="/once/replayed"),
            self.over_wrk("HAProxy cache", self.haproxy(), "/cached/replayed", method="GET"),
            self.over_wrk("Varnish", self.varnish(), "/cached/replayed", method="GET"),
            Subject("Node + Redis", self.node_redis().pids, wrk(self.node_redis().port, "/replayed"))])
        row.goal("nginx's cache hit", row.cpu("nginx cache"), row.cpu("Ledger"))
        row.notes.append("nginx caches the POST by URL and body; HAProxy and Varnish cache GETs alone, so theirs is a GET without a body.")
        return row

    def guarded(self):
        node = self.node_redis()
        before = fdatasync_ms(self.work.folder)
        row = self.measure("Guarded first call, durable claim and answer, 64 connections", [
            self.via_ledger("Ledger pass-through"), self.via_ledger(path="/once/first", unique=True),
            Subject("Node + Redis", node.pids, wrk(node.port, "/first", unique=True))])
        passed = row.cpu("Ledger pass-through")
        row.goal("pass-through + 25 µs", passed + 25, row.cpu("Ledger"))
        row.goal("stretch: pass-through + 15 µs", passed + 15, row.cpu("Ledger"))
        rate = {name: median(samples, "rate") for name, samples in row.samples.items()}
        row.goal("calls/s of Node + Redis, 4 times over", rate["Ledger"], 4 * rate["Node + Redis"], "/s")
        row.goal("p99 at 64 connections", 5, median(row.samples["Ledger"], "p99_ms"), "ms")
        row.notes.append(f"A call waits for two commits. fdatasync of 4 KiB on the store's file system: {before:.3f} ms before, "
                         f"{fdatasync_ms(self.work.folder):.3f} ms after.")
        return row

    def latency(self):
        sync = [fdatasync_ms(self.work.folder)]
        growing = fdatasync_ms(self.work.folder, preallocated=False)
        row = self.measure("Latency of a guarded first call, one client", [
            self.via_ledger("Ledger pass-through", connections=1), self.via_ledger(path="/once/alone", connections=1, unique=True)])
        sync.append(fdatasync_ms(self.work.folder))
        probe = sum(sync) / 2
        passed = median(row.samples["Ledger pass-through"], "p50_ms")
        row.goal("p50 of pass-through + 2.2 × fdatasync", passed + 2.2 * probe, median(row.samples["Ledger"], "p50_ms"), "ms")
        row.notes.append(f"fdatasync of 4 KiB on the store's file system ({self.work.disk}): {sync[0]:.3f} ms before and {sync[1]:.3f} ms after "
                         f"in a preallocated file, {growing:.3f} ms in a growing one.")
        return row

    def over_tls(self, name, process, *arguments):
        return Subject(name, [process.pid], tunnels(self._tunnels(), arguments))

    def tls_pair(self, title, *arguments):
        nginx, ledger = self.nginx_tls(), self.ledger_tls()
        host = f"api.bench.example:{self.origin.tls_port}"
        row = self.measure(title, [self.over_tls("nginx TLS", nginx, "--port", nginx.port, "--host", host, *arguments),
                                   self.over_tls("Ledger", ledger, "--port", ledger.port, "--host", host, "--connect", *arguments)])
        row.goal("1.5 × nginx", 1.5 * row.cpu("nginx TLS"), row.cpu("Ledger"))
        return row

    def tls(self):
        return self.tls_pair("https interception, keep-alive, TLS on both sides")

    def tls_new(self):
        row = self.tls_pair("https interception, a new connection for each call, known host", "--each")
        row.notes.append("Full handshakes with the client (no ticket offered) and P-256 leaves on both; both may keep upstream connections. "
                         "A CONNECT comes before each of Ledger's handshakes, none before nginx's.")
        return row

    def tls_fresh(self):
        ledger = self.ledger_tls()
        host = f"api.bench.example:{self.origin.tls_once_port}"
        subject = ["--port", ledger.port, "--host", host, "--connect", "--each"]
        row = self.measure("https interception, a new connection to a host never seen before", [
            self.over_tls("Ledger, known host", ledger, *subject), self.over_tls("Ledger, fresh host", ledger, *subject, "--fresh")])
        row.goal("known host + 100 µs", row.cpu("Ledger, known host") + 100, row.cpu("Ledger, fresh host"))
        row.notes.append("This upstream keeps neither connections nor sessions, so that both have a full handshake with it for each call: the "
                         "difference is the certificate, the name look-up and what is kept of a host.")
        return row


ROWS = {"pass": Bench.pass_through, "pass-100k": Bench.pass_large, "replay": Bench.replay, "guarded": Bench.guarded,
        "latency": Bench.latency, "tls": Bench.tls, "tls-new": Bench.tls_new, "tls-fresh": Bench.tls_fresh}
