"""Starts the real binary, a scripted upstream that counts effects, and raw clients. Standard library only.

Nothing here sleeps to order things: tests use events, and poll conditions with a deadline.
"""
import base64
import collections
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("LEDGER_BIN", str(ROOT / "build/release/ledger"))
CRASH_BINARY = os.environ.get("LEDGER_CRASH_BIN", BINARY + "_crash")  # the same, which dies where LEDGER_CRASH_POINT says
SANITIZED = os.environ.get("LEDGER_SANITIZED", "")
DEADLINE = 30 if SANITIZED else 15  # seconds; for any single thing that is waited for


def eventually(check, what, deadline=DEADLINE):
    """Polls until check() is true; its value."""
    end = time.monotonic() + deadline
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(0.01)


class Answer:
    """A response: status, headers (a list of pairs), body; `broken` where it did not come whole."""

    def __init__(self, status, headers, body, broken=False):
        self.status, self.headers, self.body, self.broken = status, headers, body, broken

    def __getitem__(self, name):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None

    @property
    def ledger(self):
        return self["Ledger-Status"]

    def json(self):
        return json.loads(self.body)

    @property
    def slug(self):
        return self.json()["type"].removeprefix("urn:ledger:") if self.body else None

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}{' BROKEN' if self.broken else ''}>"


def read_head(sock_file):
    lines = []
    while True:
        line = sock_file.readline()
        if not line:
            return None
        if line in (b"\r\n", b"\n"):
            return lines
        lines.append(line.rstrip(b"\r\n").decode("latin-1"))


def exchange(address, raw, timeout=DEADLINE, method="POST"):
    """Sends raw bytes on a new connection and reads one answer."""
    with socket.create_connection(address, timeout=timeout) as sock:
        sock.sendall(raw)
        return read_answer(sock, method)


def read_answer(sock, method="POST"):
    response = http.client.HTTPResponse(sock, method=method)
    try:
        response.begin()
    except (http.client.BadStatusLine, ConnectionError) as error:
        return Answer(0, [], repr(error).encode(), broken=True)
    try:
        body = response.read()
        broken = False
    except (http.client.IncompleteRead, ConnectionError) as error:
        body, broken = getattr(error, "partial", b""), True
    return Answer(response.status, response.getheaders(), body, broken)


def request_bytes(method, target, host, headers=(), body=b"", version="1.1"):
    headers = list(headers.items() if isinstance(headers, dict) else headers)
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        headers.insert(0, ("Host", host))
    if body and "content-length" not in names and "transfer-encoding" not in names:
        headers.append(("Content-Length", str(len(body))))
    elif method in ("POST", "PUT", "PATCH") and "content-length" not in names and "transfer-encoding" not in names:
        headers.append(("Content-Length", "0"))
    head = f"{method} {target} HTTP/{version}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers) + "\r\n"
    return head.encode("latin-1") + body


class Request:
    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body

    def __getitem__(self, name):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None


class Upstream:
    """A threaded HTTP/1.1 server. `handler(request, connection)` returns (status, headers, body), or does
    what it likes with the connection and returns None (which ends it)."""

    def __init__(self, handler=None, tls=None, port=0):
        self.handler = handler or self.count_up
        self.requests = []
        self.lock = threading.Lock()
        self.tls = tls
        self.server = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = self.server.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def count_up(self, request, _connection):
        with self.lock:
            n = self.effects
        return 200, {"Content-Type": "application/json"}, json.dumps({"n": n, "path": request.target}).encode()

    @property
    def effects(self):
        return len(self.requests)

    def bodies(self):
        return [r.body for r in self.requests]

    def close(self):
        # Wakes accept(), which a close alone would not; its thread must be out of it before the descriptor can
        # be another server's.
        try:
            self.server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.accepting.join()
        self.server.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = connection.makefile("rb")
            while self._one(connection, reader):
                pass
        except OSError:
            pass
        finally:
            connection.close()

    def _one(self, connection, reader):
        lines = read_head(reader)
        if not lines:
            return False
        method, target, _ = lines[0].split(" ", 2)
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        request = Request(method, target, headers, b"")
        if (request["Expect"] or "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request["Content-Length"]:
            request.body = reader.read(int(request["Content-Length"]))
        elif (request["Transfer-Encoding"] or "").lower() == "chunked":
            request.body = read_chunks(reader)
        with self.lock:
            self.requests.append(request)
        answer = self.handler(request, connection)
        if answer is None:
            return False
        status, headers, body = answer
        headers = list(headers.items() if isinstance(headers, dict) else headers)
        if not any(n.lower() in ("content-length", "transfer-encoding") for n, _ in headers) and status not in (204, 304):
            headers.append(("Content-Length", str(len(body))))
        head = f"HTTP/1.1 {status} Text\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers) + "\r\n"
        connection.sendall(head.encode("latin-1") + (b"" if method == "HEAD" else body))
        return True


def read_chunks(reader):
    pieces = []
    while True:
        size = int(reader.readline().split(b";")[0], 16)
        if size == 0:
            while reader.readline() not in (b"\r\n", b""):
                pass
            return b"".join(pieces)
        pieces.append(reader.read(size))
        reader.readline()


def reset(connection):
    """Closes with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Gate:
    """A handler that holds every call until it is opened, then answers like `then`."""

    def __init__(self, then):
        self.then, self.opened, self.arrived = then, threading.Event(), threading.Semaphore(0)

    def __call__(self, request, connection):
        self.arrived.release()
        assert self.opened.wait(60), "nobody opened the gate"
        return self.then(request, connection)

    def wait_for_call(self):
        assert self.arrived.acquire(timeout=DEADLINE), "no call reached the upstream"


class Ledger:
    """The real binary on free ports, in a directory of its own."""

    def __init__(self, config="", listen="127.0.0.1:0", store=None, admin="", directory=None, own_state=True,
                 binary=BINARY, **popen):
        self.own_directory = directory is None
        self.own_state = own_state  # False: `config` has its own `state:`
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="ledger-e2e-"))
        self.store = store or f"sqlite:{self.directory}/ledger.db"
        self.config, self.listen, self.admin_listen, self.admin_extra = config, listen, "127.0.0.1:0", admin
        self.binary, self.popen = binary, popen  # what else the process starts with; may change before a start()
        self.process, self.final_log = None, None
        try:
            self.start()
        except BaseException:
            if self.process:
                self.show_log()
                self.close()
            raise

    @property
    def file(self):
        return self.directory / "ledger.yaml"

    def start(self):
        extra = f", {self.admin_extra}" if self.admin_extra else ""
        self.file.write_text(
            f"listen: {self.listen}\nadmin: {{ listen: {self.admin_listen}{extra} }}\n"
            f'store: {{ url: "{self.store}" }}\n'
            + (f"state: {self.directory}/state\n" if self.own_state else "") + f"{self.config}\n"
        )
        if self.process:
            self.log.close()
        self.log = open(self.directory / "log", "a+", encoding="utf-8")
        position = self.log.seek(0, os.SEEK_END)
        self.process = subprocess.Popen([self.binary, "serve", "-c", str(self.file)], stderr=self.log, stdout=self.log,
                                        **{"cwd": self.directory, **self.popen})

        def ports():
            text = (self.directory / "log").read_text()[position:]
            admin = re.search(r"admin on 127\.0\.0\.1:(\d+)", text)
            if admin:
                return [int(p) for p in re.findall(r"listening on 127\.0\.0\.1:(\d+)", text)], int(admin[1])
            assert self.process.poll() is None, f"ledger ended at once: {text}"
            return None

        self.ports, self.admin_port = eventually(ports, "the proxy's start")
        self.port = self.ports[0]
        eventually(lambda: self.admin("GET", "/readyz").status == 200, "a store that can be written")
        # A restart keeps its addresses.
        self.listen, self.admin_listen = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.admin_port}"

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def restart(self):
        """Again on the same store and the same ports; from a stop, a kill, or running."""
        if self.process.poll() is None:
            self.stop()
        self.start()

    def show_log(self):
        text = self.final_log if self.final_log is not None else (self.directory / "log").read_text()
        print(f"\n--- log of {self.directory}\n{text}---", file=sys.stderr)

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        code = self.process.returncode
        self.final_log = text = (self.directory / "log").read_text()
        self.log.close()
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        assert "ERROR: AddressSanitizer" not in text and "runtime error" not in text and "ThreadSanitizer" not in text, text
        return code

    # --- calls ---

    def proxied(self, method, url, body=b"", headers=(), user=None, **more):
        """An absolute-form request through the proxy."""
        headers = list(headers.items() if isinstance(headers, dict) else headers)
        if user:
            headers.append(("Proxy-Authorization", "Basic " + base64.b64encode(user.encode()).decode()))
        host = url.split("/")[2]
        return exchange(("127.0.0.1", self.port), request_bytes(method, url, host, headers, body, **more), method=method)

    def direct(self, method, path, body=b"", headers=(), port=None, **more):
        """An origin-form request to a mount or an own-port listener."""
        port = port or self.port
        raw = request_bytes(method, path, f"127.0.0.1:{port}", headers, body, **more)
        return exchange(("127.0.0.1", port), raw, method=method)

    def charge(self, upstream, body=b'{"amount":49}', headers=(), path="/v1/charges", **more):
        headers = [("Content-Type", "application/json"), *(headers.items() if isinstance(headers, dict) else headers)]
        return self.proxied("POST", upstream.url + path, body, headers, **more)

    @property
    def admin_token(self):
        """The one that `serve` made."""
        return (self.directory / "state/admin-token").read_text().strip()

    def admin(self, method, path, body=None, headers=()):
        """Shows the token, unless `headers` has an Authorization (None: shows nothing)."""
        raw = json.dumps(body).encode() if body is not None else b""
        headers = dict(headers)
        if method not in ("GET", "HEAD") and "Authorization" not in headers and (self.directory / "state/admin-token").exists():
            headers["Authorization"] = f"Bearer {self.admin_token}"
        headers = {name: value for name, value in headers.items() if value is not None}
        return exchange(("127.0.0.1", self.admin_port),
                        request_bytes(method, path, f"127.0.0.1:{self.admin_port}", headers, raw), method=method)

    def record(self, key):
        return self.admin("GET", f"/api/records/{key}").json()

    def records(self):
        return self.admin("GET", "/api/records?limit=1000").json()["records"]

    def metric(self, name):
        for line in self.admin("GET", "/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return None

    def cli(self, *arguments, stdin=""):
        return subprocess.run([BINARY, *arguments], cwd=self.directory, input=stdin, capture_output=True, text=True, timeout=60)

    @property
    def store_path(self):
        return self.store.removeprefix("sqlite:")


class Certificates:
    """A throw-away CA, and leaves that it signs. `directory` is removed with the test."""

    def __init__(self, directory):
        self.directory = directory
        self._openssl("req", "-x509", *self.KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test CA")

    KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.directory)

    @property
    def ca(self):
        return self.directory / "ca.pem"

    def leaf(self, name, alternatives, days=2):
        """The paths of a certificate and its key; `days` < 0: expired."""
        (self.directory / "san").write_text(f"subjectAltName={alternatives}")
        self._openssl("req", *self.KEY, "-keyout", f"{name}.key", "-out", "csr", "-subj", f"/CN={name}")
        self._openssl("x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-out", f"{name}.pem", "-days", str(days), "-extfile", "san")
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"

    def server(self, alternatives="DNS:localhost,IP:127.0.0.1", name="leaf", **more):
        """A server's TLS context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.leaf(name, alternatives, **more))
        return context


def guarded_route(upstream, more=""):
    """All POSTs to `upstream`, guarded under one name."""
    return f'routes: [ {{ name: charge, match: "POST {upstream.url}/**"{", " + more if more else ""} }} ]'


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Case(unittest.TestCase):
    """Closes what a test opens, and shows the proxy's log when it fails."""

    maxDiff = None

    def upstream(self, handler=None, **more):
        upstream = Upstream(handler, **more)
        self.addCleanup(upstream.close)
        return upstream

    def ledger(self, config="", **more):
        ledger = Ledger(config, **more)
        self.addCleanup(ledger.close)
        self.ledgers.append(ledger)
        return ledger

    def run(self, result=None):
        self.ledgers = []
        result = self.defaultTestResult() if result is None else result
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for ledger in self.ledgers:
                ledger.show_log()
        return result

    def serve(self, talk):
        """A TCP server; `talk(connection)` once for each connection."""
        server = socket.create_server(("127.0.0.1", 0))

        def accept():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def close():
            # Its thread must be out of accept() before the descriptor can be another server's.
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            server.close()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        self.addCleanup(close)
        return server.getsockname()[1]

    def certificates(self):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="ledger-tls-"))
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        return Certificates(directory)

    def in_parallel(self, *calls):
        """Runs the calls at once; their results in order."""
        results = [None] * len(calls)

        def run(i):
            results[i] = calls[i]()

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
        for thread in threads:
            thread.start()
        return Pending(threads, results)


class Pending:
    def __init__(self, threads, results):
        self.threads, self.results = threads, results

    def get(self):
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a call got no answer"
        return self.results


def statuses(answers):
    return collections.Counter(a.ledger for a in answers)


def main():
    unittest.main(verbosity=2)
