"""What the demos share: a Stripe that really counts money, a real Ledger process, and an agent's
HTTP call. Python's standard library only; every order is made by events, never by sleeping."""

import http.client
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("LEDGER_BIN") or ROOT / "build/release/ledger").resolve()
PATIENCE = 30  # seconds until something that must happen counts as failed

sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
_print_lock = threading.Lock()


def say(text=""):
    with _print_lock:
        print(text)


def dollars(cents):
    return f"${cents // 100:,}" if cents % 100 == 0 else f"${cents / 100:,.2f}"


def few(last):
    """Of `last` charges, the first three and the last are printed."""

    def show(n):
        if n == 4:
            say("    …")
        return n <= 3 or n == last

    return show


class Stripe:
    """Charges whatever it is told to, every time, as the real one does without an idempotency key."""

    def __init__(self, show=lambda n: True, tls=None):
        self.charges = []
        self.arrived = threading.Semaphore(0)  # released once a charge is made
        self.may_answer = threading.Event()  # clear it to make Stripe slow
        self.may_answer.set()
        self._lock = threading.Lock()
        self._show = show  # which charges to print
        stripe = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                charge = stripe._charge(parse_qs(body.decode()))
                stripe.arrived.release()
                stripe.may_answer.wait(PATIENCE)
                text = json.dumps(charge).encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:
                    pass  # the caller has gone

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                pass  # a caller that hangs up is no news here

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/charges"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_port}/v1/charges"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _charge(self, form):
        with self._lock:
            charge = {"id": f"ch_{len(self.charges) + 1}", "amount": int(form["amount"][0])}
            self.charges.append(charge)
            if self._show(len(self.charges)):
                say(f"    💳 Stripe charges {dollars(charge['amount'])} ({charge['id']}),"
                    f" total {dollars(self.total)}")
            return charge

    @property
    def total(self):
        return sum(charge["amount"] for charge in self.charges)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()


class Ledger:
    """A real ledger process on ports of the system's choice, with a store in a temporary folder."""

    def __init__(self):
        if not BINARY.is_file():
            sys.exit(f"There is no {BINARY}: build it (scripts/run), or set LEDGER_BIN.")
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-demo-"))
        self.store = self.folder / "ledger.db"
        self.config = self.folder / "ledger.yaml"
        self.config.write_text(
            "listen: 127.0.0.1:0\n"
            "admin: { listen: 127.0.0.1:0 }\n"
            f'store: {{ url: "sqlite:{self.store}" }}\n'
            f'state: "{self.folder}/state"\n'
            "routes:\n"
            "  - { name: charge_card, match: POST /v1/charges }\n")
        self.process = None
        self.address = None

    def start(self):
        self.process = subprocess.Popen([BINARY, "serve", "-c", self.config],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        addresses, lines = queue.Queue(), []

        def read(stream):
            for line in stream:
                lines.append(line)
                if "listening on " in line:
                    addresses.put(line.split("listening on ")[1].split()[0])
            addresses.put(None)

        threading.Thread(target=read, args=(self.process.stderr,), daemon=True).start()
        self.address = addresses.get(timeout=PATIENCE)
        if self.address is None:
            sys.exit("Ledger did not start:\n" + "".join(lines))

    def kill(self):
        """SIGKILL: no warning, no last words."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def command(self, *arguments):
        """What `ledger ARGUMENTS` prints about our store, beside the running proxy."""
        return subprocess.run([BINARY, *arguments], check=True, stdout=subprocess.PIPE, text=True,
                              encoding="utf-8", timeout=PATIENCE).stdout

    def show_log(self, attempts):
        """Prints `ledger log` once it has counted `attempts` (counts are written a little later)."""
        deadline = time.monotonic() + 5
        while True:
            records = [json.loads(line) for line in
                       self.command("log", "--json", self.store).splitlines()]
            counted = sum(record["attempts"] for record in records)
            if counted >= attempts or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        say(f"\n$ ledger log {self.store}")
        log = self.command("log", self.store)
        say(log.rstrip("\n"))
        check(counted == attempts, f"the log counts {counted} attempts, not {attempts}")
        return log

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Call:
    """One HTTP call of an agent, on a connection of its own; through `proxy` where there is one."""

    def __init__(self, url, form, proxy=None):
        host, path = url.removeprefix("http://").split("/", 1)
        self._connection = http.client.HTTPConnection(proxy or host, timeout=PATIENCE)
        self._connection.request("POST", url if proxy else "/" + path, urlencode(form),
                                 {"Content-Type": "application/x-www-form-urlencoded",
                                  "Authorization": "Bearer sk_demo"})

    def answer(self, timeout=PATIENCE):
        """(HTTP status, Ledger-Status or None, JSON). Raises TimeoutError, or OSError if cut off."""
        try:
            self._connection.sock.settimeout(timeout)
            response = self._connection.getresponse()
            return response.status, response.headers["Ledger-Status"], json.loads(response.read())
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            self._connection.close()


CHARGE = {"amount": 4900, "currency": "usd", "customer": "cus_ada", "description": "Pro plan"}


def verdict(stripe):
    mark = "✅" if len(stripe.charges) == 1 else "❌"
    say(f"{mark} Customer charged {dollars(stripe.total)}")


def check(fine, otherwise):
    if not fine:
        sys.exit(f"The demo failed: {otherwise}.")
