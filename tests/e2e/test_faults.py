"""docs/failures.md, row by row, as far as no other test shows it: the disk, the clock, the name server, the process's
descriptors and the upstream fail while calls are made. The counts at the upstream are the proof."""
import contextlib
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import BINARY, DEADLINE, SANITIZED, Case, Gate, eventually, guarded_route, main, reset

HERE = pathlib.Path(__file__).parent
HOUR = 3600


class Machine:
    """Where a preloaded library (faults.c) makes the machine fail."""

    def __init__(self, library):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ledger-faults-"))
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "LEDGER_FAULTS": str(self.folder)}

    def fails(self, fault, value=""):
        whole = self.folder / "new"
        whole.write_text(str(value))
        whole.rename(self.folder / fault)

    def is_well(self, fault):
        (self.folder / fault).unlink()


@unittest.skipIf(SANITIZED, "a sanitizer's runtime must be preloaded first")
class Faulty(Case):
    @classmethod
    def setUpClass(cls):
        cls.build = tempfile.TemporaryDirectory(prefix="ledger-faults-")
        cls.library = pathlib.Path(cls.build.name) / "faults.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", cls.library, HERE / "faults.c", "-ldl"], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.build.cleanup()

    def setUp(self):
        self.machine = Machine(self.library)
        self.addCleanup(shutil.rmtree, self.machine.folder)
        self.up = self.upstream()

    def proxy(self, more="", **rest):
        return self.ledger(guarded_route(self.up, more), env=self.machine.environment, **rest)

    def in_flight(self, ledger, **more):
        """A call that the upstream has, and will answer when the gate opens; its own answer comes later."""
        gate = Gate(self.up.count_up)
        self.up.handler = gate
        call = self.in_parallel(lambda: ledger.charge(self.up, **more))
        gate.wait_for_call()
        return gate, call

    def assert_not_sent(self, answer):
        self.assertEqual((answer.status, answer.slug, answer.ledger, answer.json()["safe_to_retry"]), (503, "store-unavailable", "refused", True))

    def assert_unknown(self, answer):
        self.assertEqual((answer.status, answer.slug, answer.json()["safe_to_retry"]), (502, "outcome-unknown", False))


class Disk(Faulty):
    def test_while_the_disk_is_full_nothing_is_sent_and_what_was_recorded_is_given(self):
        ledger = self.proxy()
        first = ledger.charge(self.up)
        self.machine.fails("full")
        refused = ledger.charge(self.up, b'{"amount":50}')
        self.assert_not_sent(refused)
        self.assertIn("full", refused.json()["detail"])
        self.assertEqual(ledger.admin("GET", "/readyz").status, 503)
        self.assertEqual((ledger.charge(self.up).body, self.up.effects), (first.body, 1))
        self.machine.is_well("full")
        self.assertEqual((ledger.charge(self.up, b'{"amount":50}').ledger, self.up.effects), ("executed", 2))
        self.assertEqual(ledger.admin("GET", "/readyz").status, 200)

    def test_an_answer_that_does_not_fit_is_told_as_unknown_and_recorded_once_there_is_space(self):
        ledger = self.proxy()
        gate, call = self.in_flight(ledger)
        self.machine.fails("full")
        gate.opened.set()
        self.assert_unknown(call.get()[0])
        self.machine.is_well("full")
        eventually(lambda: ledger.records()[0]["state"] == "completed", "the settle's retry")
        again = ledger.charge(self.up)
        self.assertEqual((again.status, again.ledger, self.up.effects), (200, "replayed", 1))

    def test_after_a_failed_fsync_nothing_is_sent_any_more_until_a_restart(self):
        ledger = self.proxy()
        first = ledger.charge(self.up)
        self.machine.fails("sync")
        self.assert_not_sent(ledger.charge(self.up, b'{"amount":50}'))
        # The kernel says once that it lost what was to be written; that a later fsync succeeds means nothing.
        self.machine.is_well("sync")
        for _ in range(2):
            refused = ledger.charge(self.up, b'{"amount":51}')
            self.assert_not_sent(refused)
            self.assertIn("restart", refused.json()["detail"])
        ready = ledger.admin("GET", "/readyz")
        self.assertEqual((ready.status, ledger.admin("GET", "/healthz").status), (503, 200))
        self.assertIn("restart", ready.json()["detail"])
        self.assertEqual(self.up.effects, 1)
        ledger.kill()
        ledger.start()
        self.assertEqual((ledger.charge(self.up).body, ledger.charge(self.up, b'{"amount":51}').ledger), (first.body, "executed"))
        # The claim whose fsync failed may be there all the same: then it is in doubt, since nobody knows.
        self.assertIn(ledger.charge(self.up, b'{"amount":50}').ledger, ("executed", "in-doubt"))

    def test_an_answer_whose_fsync_failed_is_never_given_as_a_success(self):
        for framing in (b"Content-Length: 4\r\n\r\ndone", b"Transfer-Encoding: chunked\r\n\r\n4\r\ndone\r\n0\r\n\r\n"):
            with self.subTest(framing):
                self.up.requests.clear()
                ledger = self.proxy()
                gate, call = self.in_flight(ledger)
                gate.then = lambda r, c, framing=framing: c.sendall(b"HTTP/1.1 200 OK\r\n" + framing)
                self.machine.fails("sync")
                gate.opened.set()
                answer = call.get()[0]
                self.assertTrue(answer.broken or (answer.status, answer.slug) == (502, "outcome-unknown"), answer)
                again = ledger.charge(self.up)
                self.assertNotEqual(again.status, 200)
                self.machine.is_well("sync")
                ledger.kill()
                ledger.start()
                # The answer may have reached the disk all the same; if not, the call is in doubt.
                again = ledger.charge(self.up)
                self.assertIn((again.status, again.ledger), ((200, "replayed"), (409, "in-doubt")))
                self.assertEqual(self.up.effects, 1)

    def test_a_damaged_store_is_refused_at_the_start(self):
        ledger = self.proxy()
        ledger.charge(self.up)
        self.assertEqual(ledger.stop(), 0)
        path = pathlib.Path(ledger.store_path)
        whole = path.read_bytes()
        for damaged, words in ((whole[:100] + b"\x5a" * 3996 + whole[4096:], "is damaged"), (whole[: len(whole) // 2], "is damaged"), (b"x" * 9000, "not a ledger store")):
            path.write_bytes(damaged)
            done = ledger.cli("serve", "-c", str(ledger.file))
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)
            self.assertIn(words, done.stderr)
            self.assertIn(str(path), done.stderr)
            self.assertEqual(path.read_bytes(), damaged)
        path.write_bytes(whole)
        ledger.start()
        self.assertEqual((ledger.charge(self.up).ledger, self.up.effects), ("replayed", 1))

    def test_a_store_that_is_damaged_while_it_runs_sends_nothing_that_it_cannot_record(self):
        ledger = self.proxy()
        for n in range(300):
            ledger.charge(self.up, b'{"n":%d,"padding":"%s"}' % (n, b"x" * 300))
        ledger.restart()  # its log is in the file now, and its caches are cold
        path = pathlib.Path(ledger.store_path)
        before = self.up.effects
        with open(path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(4096 * 2)
            file.write(b"\x5a" * (size - 4096 * 2))
        answers = [ledger.charge(self.up, b'{"n":%d,"padding":"%s"}' % (n, b"x" * 300)) for n in range(320)]
        self.assertEqual({(a.status, a.slug) for a in answers}, {(503, "store-unavailable")})
        self.assertIn("damaged", answers[0].json()["detail"])
        self.assertEqual((self.up.effects, ledger.admin("GET", "/readyz").status), (before, 503))


    def test_a_store_that_is_deleted_while_it_runs_sends_nothing_more(self):
        ledger = self.proxy()
        ledger.charge(self.up)
        for file in ledger.directory.glob("ledger.db*"):
            file.unlink()
        # A second proxy finds an empty place and makes a store of its own. The first must not go on beside it.
        other = self.proxy(store=ledger.store)
        refused = ledger.charge(self.up, b'{"amount":50}')
        self.assert_not_sent(refused)
        self.assertIn("deleted or replaced", refused.json()["detail"])
        self.assertEqual(ledger.admin("GET", "/readyz").status, 503)
        self.assertEqual((other.charge(self.up, b'{"amount":50}').ledger, self.up.effects), ("executed", 2))


class Clock(Faulty):
    def jump(self, seconds):
        self.machine.fails("clock", seconds)

    def test_a_jump_while_a_call_is_in_flight_makes_no_second_one(self):
        for seconds in (HOUR, -HOUR):
            for more in ("", "upstream_key: Idempotency-Key"):
                with self.subTest(seconds=seconds, more=more):
                    self.up.requests.clear()
                    self.jump(0)
                    one = self.proxy(more)
                    two = self.proxy("wait: 300ms" + (", " + more if more else ""), store=one.store)
                    gate, first = self.in_flight(one)
                    self.jump(seconds)
                    there = self.in_parallel(lambda p=one: p.charge(self.up))
                    eventually(lambda p=one: p.metric("ledger_waiters") == 1, "the repeat waits")
                    # Set forward, the owner's lease has lapsed for the others; set back, it has not for long.
                    if not more:
                        elsewhere = two.charge(self.up)
                        self.assertEqual((elsewhere.status, elsewhere.ledger), (409, "in-doubt" if seconds > 0 else "in-flight"))
                    gate.opened.set()
                    self.assertEqual([a.status for a in first.get() + there.get()], [200, 200])
                    again = [eventually(lambda p=p: (a := p.charge(self.up)).status == 200 and a, "the answer") for p in (one, two)]
                    self.assertEqual(len({a.body for a in again}), 1)
                    self.assertEqual(self.up.effects, 1)
                    # And new calls go out once the lease is renewed by the new clock.
                    for proxy in (one, two):
                        eventually(lambda p=proxy: p.charge(self.up, path="/new").status == 200, "a new call")
                    self.assertEqual(self.up.effects, 2)

    def test_a_clock_set_forward_ends_a_ttl_early_and_never_one_that_is_forever(self):
        forever = self.upstream()
        ledger = self.ledger(f"""routes:
  - {{ name: day, match: "POST {self.up.url}/**" }}
  - {{ name: forever, match: "POST {forever.url}/**", ttl: forever }}""", env=self.machine.environment)
        for up in (self.up, forever):
            ledger.charge(up)
        self.jump(25 * HOUR)
        for up, expected in ((self.up, ("executed", 2)), (forever, ("replayed", 1))):
            answer = eventually(lambda u=up: (a := ledger.charge(u)).status == 200 and a, "a call by the new clock")
            self.assertEqual((answer.ledger, up.effects), expected)

    def test_a_clock_set_back_keeps_what_is_recorded_and_a_dead_owner_dead(self):
        ledger = self.proxy()
        ledger.charge(self.up, path="/before")
        gate, _ = self.in_flight(ledger)
        ledger.kill()
        gate.opened.set()
        self.jump(-24 * HOUR)
        ledger.start()
        self.assertEqual((ledger.charge(self.up).slug, ledger.charge(self.up, path="/before").ledger), ("in-doubt", "replayed"))
        self.assertEqual((ledger.charge(self.up, path="/after").ledger, self.up.effects), ("executed", 3))


class Names(Faulty):
    def test_while_names_cannot_be_looked_up_nothing_is_sent_and_a_retry_is_safe(self):
        ledger = self.ledger('routes: [ { name: charge, match: "POST http://payments.example/**" } ]', env=self.machine.environment)
        url = f"http://payments.example:{self.up.port}/v1/charges"
        self.machine.fails("dns")
        answer = ledger.proxied("POST", url, b"{}")
        self.assertEqual((answer.status, answer.slug, answer.json()["safe_to_retry"]), (502, "upstream-unreachable", True))
        self.assertIn("payments.example", answer.json()["detail"])
        self.assertEqual((ledger.records()[0]["state"], self.up.effects), ("released", 0))
        self.machine.is_well("dns")
        self.assertEqual([ledger.proxied("POST", url, b"{}").ledger for _ in range(2)], ["executed", "replayed"])
        self.assertEqual(self.up.effects, 1)


class Mounted(Case):
    """Real file systems, in a mount namespace of the proxy's own."""

    def setUp(self):
        if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode:
            self.skipTest("this user may not mount")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ledger-mount-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.up = self.upstream()

    def binary(self, commands):
        """The proxy, behind commands that run in a namespace where it may mount."""
        script = self.folder / "serve"
        script.write_text(f'#!/bin/sh\n[ -n "$NAMESPACE" ] || NAMESPACE=1 exec unshare -rm "$0" "$@"\n{commands} || exit 9\nexec {BINARY} "$@"\n')
        script.chmod(0o755)
        return str(script)

    def test_a_disk_that_is_really_full_is_survived(self):
        disk = self.folder / "disk"
        disk.mkdir()
        ledger = self.ledger(guarded_route(self.up), store=f"sqlite:{disk}/ledger.db",
                             binary=self.binary(f"mount -t tmpfs -o size=2m none {disk} && head -c 1m /dev/zero > {disk}/ballast"))
        self.up.handler = lambda r, c: (200, {}, b"y" * 20000)
        done = 0
        while (answer := self.charge(ledger, done)).status == 200 and not answer.broken:
            done += 1
            self.assertLess(done, 1000)
        # It did not fit: either the claim, or the answer.
        self.assertTrue(answer.broken or answer.slug in ("store-unavailable", "outcome-unknown"), answer)
        sent = self.up.effects
        self.assertIn(sent, (done, done + 1))
        self.assertEqual(self.charge(ledger, 0).ledger, "replayed")
        pathlib.Path(f"/proc/{ledger.process.pid}/root{disk}/ballast").unlink()
        eventually(lambda: ledger.admin("GET", "/readyz").status == 200, "a disk with space")
        self.assertEqual({(a.status, a.ledger) for a in (self.charge(ledger, n) for n in range(done))}, {(200, "replayed")})
        self.assertEqual(self.up.effects, sent)
        last = eventually(lambda: (a := self.charge(ledger, done)).status == 200 and a, "the call that did not fit")
        self.assertEqual((last.body, self.up.effects), (b"y" * 20000, done + 1))

    def charge(self, ledger, n):
        return ledger.charge(self.up, b'{"n":%d}' % n)

    def test_a_store_that_may_only_be_read_is_refused_at_the_start(self):
        disk = self.folder / "disk"
        disk.mkdir()
        ledger = self.ledger(guarded_route(self.up), store=f"sqlite:{disk}/ledger.db")
        ledger.charge(self.up)
        self.assertEqual(ledger.stop(), 0)
        read_only = self.binary(f"mount --bind {disk} {disk} && mount -o remount,bind,ro {disk}")
        done = subprocess.run([read_only, "serve", "-c", str(ledger.file)], capture_output=True, text=True, timeout=60, cwd=ledger.directory, check=False)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)
        self.assertRegex(done.stderr, f"{disk}/ledger.db.*let this user (read and )?write the file and its folder")
        ledger.start()
        self.assertEqual((ledger.charge(self.up).ledger, self.up.effects), ("replayed", 1))


# It finds out what memory it may read by writing to a pipe, and takes "no pipe" for "no object".
@unittest.skipIf(SANITIZED, "the check of objects' types needs descriptors itself")
class Descriptors(Case):
    def test_without_descriptors_nothing_is_sent_twice_and_calls_go_on_when_there_are_some(self):
        up = self.upstream(lambda r, c: (200, {"Connection": "close"}, b"%d" % up.effects))
        ledger = self.ledger(guarded_route(up))
        recorded = ledger.charge(up, path="/recorded")
        self.pid = ledger.process.pid
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        # One is left: the client's connection takes it, and none is there for the upstream.
        self.leave(1, hard)
        answer = ledger.charge(up)
        self.assertEqual((answer.status, answer.slug, answer.json()["safe_to_retry"]), (502, "upstream-unreachable", True))
        self.assertIn("open files", answer.json()["detail"])
        self.assertEqual((ledger.charge(up, path="/recorded").body, up.effects), (recorded.body, 1))
        # None is left: a call waits in the listener's queue until there is one.
        self.leave(0, hard)
        waiting = self.in_parallel(lambda: ledger.charge(up))
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (hard, hard))
        self.assertEqual([a.ledger for a in waiting.get()], ["executed"])
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("replayed", 2))

    def leave(self, count, hard):
        """Lets the proxy have so many descriptors beside those that it has now."""
        eventually(lambda: not self.connections(), "the end of the connections before")
        used = {int(fd) for fd in os.listdir(f"/proc/{self.pid}/fd")}
        unused = [fd for fd in range(len(used) + count + 1) if fd not in used]
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (unused[count], hard))

    def connections(self):
        lines = [line.split() for line in pathlib.Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]]
        connected = {f"socket:[{fields[9]}]" for fields in lines if fields[3] != "0A"}
        found = []
        for fd in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(fd))
        return connected.intersection(found)


class Upstreams(Case):
    def held(self, handler, more="", **kinds):
        """A first call at that upstream; then a repeat, which must be held."""
        up = self.upstream(handler)
        ledger = self.ledger(guarded_route(up, more))
        first = ledger.charge(up)
        self.assertEqual(ledger.records()[0]["state"], "in_doubt", kinds)
        again = ledger.charge(up)
        self.assertEqual((again.status, again.ledger, again.json()["safe_to_retry"], up.effects), (409, "in-doubt", False, 1))
        return first, ledger, up

    def test_one_that_resets_inside_its_headers_leaves_the_doubt(self):
        def inside(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
            reset(connection)

        first, _, _ = self.held(inside)
        self.assertEqual((first.status, first.slug), (502, "outcome-unknown"))

    def test_one_that_closes_inside_its_headers_leaves_the_doubt(self):
        first, _, _ = self.held(lambda r, c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Le"))
        self.assertEqual((first.status, first.slug), (502, "outcome-unknown"))

    def test_one_that_closes_without_a_word_leaves_the_doubt(self):
        first, _, _ = self.held(lambda r, c: None)
        self.assertEqual((first.status, first.slug), (502, "outcome-unknown"))

    def test_one_that_resets_before_it_has_read_the_call_leaves_the_doubt(self):
        # Straight sockets: the harness's server would read all of it.
        server = socket.create_server(("127.0.0.1", 0))
        accepted = []

        def refuse():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    accepted.append(connection.recv(1))
                    reset(connection)

        worker = threading.Thread(target=refuse, daemon=True)
        worker.start()
        ledger = self.ledger()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        first = ledger.proxied("POST", url, b"x" * 200_000)
        state = ledger.records()[0]["state"]
        again = ledger.proxied("POST", url, b"x" * 200_000)
        server.shutdown(socket.SHUT_RDWR)
        worker.join(DEADLINE)
        server.close()
        self.assertEqual((first.slug, state, again.slug, accepted), ("outcome-unknown", "in_doubt", "in-doubt", [b"P"]))

    def test_one_that_hangs_after_100_continue_is_given_up_at_the_time_out(self):
        let_go = threading.Event()

        def hang(_request, connection):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            let_go.wait(60)

        first, _, _ = self.held(hang, "timeout: 300ms")
        let_go.set()
        self.assertEqual((first.status, first.slug, first.json()["safe_to_retry"]), (504, "outcome-unknown", False))

    def test_one_that_trickles_past_the_time_out_is_broken_off_and_its_whole_answer_settles_the_doubt(self):
        finish = threading.Event()

        def trickle(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            sent = 0
            while not finish.wait(0.02) and sent < 900:
                connection.sendall(b"x")
                sent += 1
            finish.wait(60)
            connection.sendall(b"x" * (1000 - sent))

        up = self.upstream(trickle)
        ledger = self.ledger(guarded_route(up, "timeout: 300ms"))
        first = ledger.charge(up)
        self.assertTrue(first.broken and first.status == 200 and len(first.body) < 1000, first)
        self.assertEqual((ledger.charge(up).slug, up.effects), ("in-doubt", 1))
        finish.set()
        again = eventually(lambda: (a := ledger.charge(up)).status == 200 and a, "the late answer")
        self.assertIn(again.ledger, ("replayed", "joined"))
        self.assertEqual((again.body, up.effects), (b"x" * 1000, 1))

    def test_one_that_sends_two_answers_gives_only_the_first(self):
        def twice(request, connection):
            if request.target == "/v1/charges":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst" + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
                connection.recv(1)
                return None
            return 200, {}, b"other"

        up = self.upstream(twice)
        ledger = self.ledger(guarded_route(up))
        bodies = [ledger.charge(up).body, ledger.charge(up, path="/other").body, ledger.charge(up).body]
        self.assertEqual((bodies, up.effects), ([b"first", b"other", b"first"], 2))


if __name__ == "__main__":
    main()
