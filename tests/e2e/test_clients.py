"""Real clients through the real proxy: SDKs, HTTP libraries and curl, each pointed at it as its own docs say.

`test_clients.py Stripe` runs one client. What varies on the wire is asserted here, and told in docs/clients.md.
"""
import atexit
import collections
import functools
import hashlib
import hmac
import importlib.util
import json
import logging
import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse

from harness import BINARY, DEADLINE, ROOT, SANITIZED, Case, Certificates, Ledger, Upstream, eventually

CLIENTS = ROOT / "tests/clients"
sys.path.insert(0, str(CLIENTS))
from apis import Api, Aws  # noqa: E402  (needs the path)

PATIENCE = 3000 if SANITIZED else 1000  # ms; of a client that gives up and calls again
SKIPPED = 77  # told to ctest

_shared = None


def certificates():
    """One CA, one upstream certificate and one state directory for all classes: openssl is slow."""
    global _shared
    if not _shared:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="ledger-clients-"))
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        tls = Certificates(directory)
        _shared = directory, tls, tls.server()
    return _shared


def node_is_missing():
    if not shutil.which("node"):
        return "node is not installed"
    if not (CLIENTS / "node_modules/.package-lock.json").exists():
        return "tests/clients/node_modules is missing (scripts/setup makes it with npm ci)"
    version = subprocess.run(["node", "-p", "process.versions.node"], capture_output=True, text=True).stdout.strip()
    wanted = json.loads((CLIENTS / "package.json").read_text())["engines"]["node"].removeprefix(">=")
    if tuple(map(int, version.split("."))) < tuple(map(int, wanted.split("."))):
        return f"node {version} is older than {wanted}"
    return None


class Worker:
    """A process that holds the client."""

    # Each client's own variable for the CAs that it trusts.
    TRUST = ("NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")

    def __init__(self, command, bundle=None):
        cleared = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NODE_OPTIONS", "SSL_CERT_FILE", *self.TRUST)
        env = {name: value for name, value in os.environ.items() if name.upper() not in cleared}
        if bundle:
            env.update({name: str(bundle) for name in self.TRUST})
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)
        self.number, self.lines = 0, queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def begin(self, command):
        self.number += 1
        self.process.stdin.write(json.dumps({"number": self.number, **command}) + "\n")
        self.process.stdin.flush()

    def results(self):
        """Of the last command; what a failed test left unread is passed over."""
        while True:
            line = self.lines.get(timeout=4 * DEADLINE)
            assert line, f"the client's process ended: {self.process.wait()}"
            number, results = json.loads(line)
            if number == self.number:
                return results

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(DEADLINE)
        self.process.stdout.close()


def varying(arrivals):
    """The headers, and `body`, that are not the same in all of them."""
    seen = collections.defaultdict(set)
    for request in arrivals:
        headers = {name.lower(): value for name, value in request.headers}
        for name in {n.lower() for r in arrivals for n, _ in r.headers}:
            seen[name].add(headers.get(name))
        seen["body"].add(request.body)
    return {name for name, values in seen.items() if len(values) > 1}


def each_way(test):
    """Runs it for each way to the proxy, each with a call of its own that nobody has made."""
    @functools.wraps(test)
    def run(self):
        for way in (*self.ways, "http") if self.over_http else self.ways:
            with self.subTest(way=way):
                self.fresh(way)
                test(self, way)

    return run


class Client:
    """What must hold for every client. The subclasses say how each differs."""

    client = None
    command = ["node", str(CLIENTS / "worker.mjs")]
    ways = ("mount", "tunnel")  # listener in place of mount, where the client takes no path
    shows_why = True         # its error's message holds the proxy's
    over_http = False        # also tested as a forward proxy for http URLs
    named_without_password = True  # the agent, by a proxy URL that has only a user name
    retries = True           # the client itself repeats after a lost connection and a time-out
    asks_in_doubt = (1, 1)   # how often it asks in a call whose answer is lost, and in one that finds it in doubt
    between_calls = set()    # what differs between two calls that an agent makes
    between_retries = set()  # ... between a call and its retry by the client
    at_times = set()         # ... in either, when the clock moves on

    @classmethod
    def missing(cls):
        return node_is_missing()

    @classmethod
    def make_apis(cls):
        return Api(), Api(keyed=True)

    @classmethod
    def setUpClass(cls):
        if why := cls.missing():
            raise unittest.SkipTest(f"{cls.__name__}: {why}")
        directory, tls, context = certificates()
        cls.plain, cls.keyed = cls.make_apis()
        cls.urls = {}
        for name, api in (("plain", cls.plain), ("keyed", cls.keyed)):
            for scheme, tls_context in (("https", context), ("http", None)):
                up = Upstream(api, tls=tls_context)
                cls.addClassCleanup(up.close)
                cls.urls[scheme, name] = f"{scheme}://localhost:{up.port}"
        plain, keyed = cls.urls["https", "plain"], cls.urls["https", "keyed"]
        cls.proxy = Ledger(f"""
state: "{directory}/state"
tls: {{ roots: [ "{tls.ca}" ] }}
mounts:
  /plain: {{ upstream: "{plain}" }}
  /keyed: {{ upstream: "{keyed}", upstream_key: Idempotency-Key }}
listeners:
  - {{ listen: "127.0.0.1:0", upstream: "{plain}" }}
  - {{ listen: "127.0.0.1:0", upstream: "{keyed}" }}
routes:
  - {{ name: plain, match: "POST {plain}/**", ignore: [ "body:/ClientRequestToken" ] }}
  - {{ name: keyed, match: "POST {keyed}/**", upstream_key: Idempotency-Key }}
  - {{ name: http, match: "POST {cls.urls["http", "plain"]}/**" }}
  - {{ name: http_keyed, match: "POST {cls.urls["http", "keyed"]}/**", upstream_key: Idempotency-Key }}
""", own_state=False)
        cls.addClassCleanup(cls.proxy.close)
        bundle = cls.proxy.directory / "bundle.pem"
        bundle.write_text(tls.ca.read_text() + (directory / "state/ca.pem").read_text())
        cls.configured = Worker(cls.command, bundle)
        cls.addClassCleanup(cls.configured.close)

    def setUp(self):
        self.ledgers.append(self.proxy)  # its log is shown when the test fails

    # --- calls ---

    def fresh(self, way):
        self.tag = f"{self._testMethodName}-{way}"
        self.plain.clear()
        self.keyed.clear()
        self.before = {record["id"] for record in self.proxy.records()}

    def begin(self, way, api="plain", calls=1, user=None, **more):
        port = self.proxy.ports[0]
        through = f"http://{user or self.client + '.run-7:x'}@127.0.0.1:{port}"
        base, proxy = {
            "mount": (f"http://127.0.0.1:{port}/{api}", None),
            "listener": (f"http://127.0.0.1:{self.proxy.ports[1 if api == 'plain' else 2]}", None),
            "tunnel": (self.urls["https", api], through),
            "http": (self.urls["http", api], through),
            "direct": (self.urls["https", api], None),
            "run": (self.urls["https", api], None),
        }[way]
        self.worker = self.unmodified() if way == "run" else self.configured
        self.worker.begin({"client": self.client, "base": base, "proxy": proxy, "environment": way == "run",
                           "tag": self.tag, "calls": calls, **more})

    def unmodified(self):
        """The client under `ledger run`, which is told of no proxy."""
        ports = iter([self.proxy.ports[0], self.proxy.admin_port, *self.proxy.ports[1:]])
        file = self.proxy.directory / "run.yaml"
        file.write_text(re.sub(r"127\.0\.0\.1:0\b", lambda _: f"127.0.0.1:{next(ports)}", self.proxy.file.read_text()))
        worker = Worker([BINARY, "run", "-c", str(file), "--agent", self.client, "--run", "run-7", "--", *self.command])
        self.addCleanup(worker.close)
        return worker

    def call(self, *arguments, **more):
        self.begin(*arguments, **more)
        return self.worker.results()

    def record(self):
        """The one record that this test made."""
        mine = [r for r in self.proxy.records() if r["id"] not in self.before]
        self.assertEqual(len(mine), 1, mine)
        return mine[0]

    def wait_for_waiters(self, n):
        eventually(lambda: self.proxy.metric("ledger_waiters") >= n, f"{n} calls wait")

    def assert_answered(self, results, n):
        """All got the same answer; the worker has checked that it is a whole one."""
        self.assertEqual([r.get("error") for r in results], [None] * n)
        self.assertEqual(len({r["id"] for r in results}), 1, results)

    def assert_one_effect(self, attempts=None):
        self.assertEqual((len(self.plain.effects), len(self.plain.arrivals)), (1, 1))
        record = self.record()
        self.assertEqual((record["executed"], record["state"]), (1, "completed"))
        if attempts:
            self.assert_attempts(attempts)

    def assert_attempts(self, n):
        eventually(lambda: self.record()["attempts"] >= n, f"{n} attempts")
        self.assertEqual(self.record()["attempts"], n)

    # --- what must hold ---

    @each_way
    def test_the_same_call_five_times_is_one_effect(self, way):
        # Three by one SDK object, two by another.
        self.assert_answered(self.call(way, calls=3) + self.call(way, calls=2), 5)
        self.assert_one_effect(attempts=5)
        if way in ("tunnel", "http"):
            record = self.record()
            self.assertEqual((record["agent"], record["run"]), (self.client, "run-7"))

    def test_under_ledger_run_the_same_call_five_times_is_one_effect(self):
        self.fresh("run")
        self.assert_answered(self.call("run", calls=5), 5)
        self.assert_one_effect(attempts=5)
        record = self.record()
        self.assertEqual((record["agent"], record["run"]), (self.client, "run-7"))

    def test_a_proxy_url_without_a_password_names_the_agent_or_none(self):
        self.fresh("tunnel")
        self.assert_answered(self.call("tunnel", user="billing-bot.run-8"), 1)
        record = self.record()
        self.assertEqual((record.get("agent") or "", record.get("run") or ""),
                         ("billing-bot", "run-8") if self.named_without_password else ("", ""))

    @each_way
    def test_five_at_once_are_one_effect(self, way):
        self.plain.hold()
        self.begin(way, calls=5, parallel=True)
        self.wait_for_waiters(4)
        self.plain.gate.set()
        self.assert_answered(self.worker.results(), 5)
        self.assert_one_effect(attempts=5)

    @each_way
    def test_a_lost_answer_is_told_and_the_call_is_not_sent_again(self, way):
        self.plain.drop = 1
        first, second = self.call(way, calls=2, retries=1)
        # One that asks again at once learns that the call is in doubt.
        self.assertEqual(first["status"], 502 if self.asks_in_doubt[0] == 1 else 409, first)
        self.assertEqual(second["status"], 409, second)
        self.assertEqual("may or may not have taken effect" in second["error"], self.shows_why, second)
        self.assertEqual((len(self.plain.effects), len(self.plain.arrivals)), (1, 1))
        self.assertEqual(self.record()["state"], "in_doubt")
        self.assert_attempts(sum(self.asks_in_doubt))

    @each_way
    def test_a_call_that_its_client_gave_up_and_made_again_is_one_effect(self, way):
        self.plain.hold()
        self.begin(way, timeout=PATIENCE, retries=5, repeats=0 if self.retries else 5)
        self.wait_for_waiters(1)
        self.plain.gate.set()
        self.assert_answered(self.worker.results(), 1)
        self.assert_one_effect()

    def test_without_ledger_every_repeat_is_an_effect(self):
        self.fresh("direct")
        results = self.call("direct", calls=3)
        self.assertEqual([r.get("error") for r in results], [None] * 3)
        self.assertEqual(len(self.plain.effects), 3)
        self.assertEqual(varying(self.plain.arrivals) - self.at_times, self.between_calls - self.at_times)

    def test_without_ledger_a_lost_answer_makes_the_client_send_again(self):
        self.fresh("direct")
        self.plain.drop = 1
        [result] = self.call("direct", retries=1)
        self.assertEqual(len(self.plain.effects), 2 if self.retries else 1, result)
        self.assertEqual(varying(self.plain.arrivals) - self.at_times, self.between_retries - self.at_times)


class Keyed(Client):
    """Clients of APIs that may take an Idempotency-Key."""

    @each_way
    def test_a_lost_answer_is_asked_for_again_under_one_upstream_key(self, way):
        self.keyed.drop = 1
        results = self.call(way, api="keyed", calls=2, retries=1, repeats=0)
        self.assertIsNone(results[-1].get("error"), results)
        self.assertEqual(len(self.keyed.effects), 1)
        self.assertEqual(len(self.keyed.arrivals), 2)
        [key] = {request["Idempotency-Key"] for request in self.keyed.arrivals}
        self.assertNotIn("retry", key, "it is the SDK's own")
        self.assertEqual(self.record()["state"], "completed")

    def test_all_ways_share_one_key(self):
        self.fresh("all")
        self.assert_answered([result for way in self.ways for result in self.call(way)], 2)
        self.assert_one_effect(attempts=2)


class StripeClient(Keyed, Case):
    client, ways = "stripe", ("listener", "tunnel")
    between_calls = {"idempotency-key", "x-stripe-client-telemetry"}


class OpenAiClient(Keyed, Case):
    client, named_without_password = "openai", False
    between_retries = {"x-stainless-retry-count"}


class OpenAiStreamClient(Keyed, Case):
    client, named_without_password = "openai_stream", False
    between_retries = {"x-stainless-retry-count"}


class SlackClient(Keyed, Case):
    client, asks_in_doubt, named_without_password, shows_why = "slack", (2, 2), False, False


class TwilioClient(Keyed, Case):
    client, retries = "twilio", False


class SendGridClient(Keyed, Case):
    client, retries, shows_why = "sendgrid", False, False


class AxiosClient(Keyed, Case):
    client, retries, over_http = "axios", False, True
    shows_why = False


class UndiciClient(Keyed, Case):
    client, retries, over_http = "undici", False, True
    named_without_password = False


class Python(Client):
    command = [sys.executable, str(CLIENTS / "worker.py")]


class CurlClient(Python, Keyed, Case):
    client, asks_in_doubt, shows_why = "curl", (2, 2), False

    @classmethod
    def missing(cls):
        return None if shutil.which("curl") else "curl is not installed"


class RequestsClient(Python, Keyed, Case):
    client, asks_in_doubt, over_http, named_without_password = "requests", (2, 1), True, False

    @classmethod
    def missing(cls):
        return None if importlib.util.find_spec("requests") else "the Python package requests is not installed"


class Boto3Client(Python, Case):
    client, ways, asks_in_doubt = "boto3", ("tunnel",), (2, 1)
    named_without_password = False
    between_calls = {"amz-sdk-invocation-id", "amz-sdk-request"}
    between_retries = {"amz-sdk-request"}
    at_times = {"x-amz-date", "authorization", "amz-sdk-request"}

    @classmethod
    def missing(cls):
        wanted = [name for name in ("boto3", "moto", "flask") if not importlib.util.find_spec(name)]
        return f"the Python packages {', '.join(wanted)} are not installed" if wanted else None

    @classmethod
    def make_apis(cls):
        from moto.server import ThreadedMotoServer
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        cls.addClassCleanup(server.stop)
        host, port = server.get_host_and_port()
        cls.moto = f"http://{host}:{port}"
        cls.aws("dynamodb").create_table(
            TableName="orders", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST")
        cls.aws("sqs").create_queue(QueueName="orders")
        return Aws(port), Aws(port)

    @classmethod
    def aws(cls, service):
        import boto3
        return boto3.client(service, endpoint_url=cls.moto, region_name="us-east-1", aws_access_key_id="AKIAEXAMPLE",
                            aws_secret_access_key="secret")

    def charged(self):
        """What DynamoDB itself holds."""
        item = self.aws("dynamodb").get_item(TableName="orders", Key={"id": {"S": self.tag}})["Item"]
        return int(item["charged"]["N"])

    def test_dynamodb_holds_one_update(self):
        self.fresh("tunnel")
        self.assert_answered(self.call("tunnel", calls=5, parallel=True), 5)
        self.assertEqual(self.charged(), 1)

    def test_a_token_that_the_sdk_makes_for_each_call_is_ignored_by_the_route(self):
        self.fresh("tunnel")
        for _ in range(3):
            [result] = self.call("tunnel", operation="transact")
            self.assertIsNone(result.get("error"))
        self.assertEqual(self.charged(), 1)
        self.assert_one_effect(attempts=3)

    def test_without_ledger_that_token_is_another_for_each_call(self):
        self.fresh("direct")
        self.call("direct", calls=3, operation="transact")
        self.assertEqual(varying(self.plain.arrivals) - self.at_times, {"body", *self.between_calls} - self.at_times)
        self.assertEqual(len({json.loads(r.body)["ClientRequestToken"] for r in self.plain.arrivals}), 3)

    def test_sqs_takes_one_message(self):
        self.fresh("tunnel")
        self.assert_answered(self.call("tunnel", calls=5, service="sqs", operation="send"), 5)
        self.assert_one_effect(attempts=5)
        queue_url = f"{self.moto}/123456789012/orders"
        got = self.aws("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["ApproximateNumberOfMessages"])
        self.assertEqual(got["Attributes"]["ApproximateNumberOfMessages"], "1")

    def test_the_signature_is_right_through_a_tunnel_and_wrong_through_a_mount(self):
        for way, right in (("direct", True), ("tunnel", True), ("mount", False)):
            with self.subTest(way=way):
                self.fresh(way)
                self.call(way)
                self.assertEqual(signed_right(self.plain.arrivals[0], "secret"), right)


def signed_right(request, secret):
    """AWS Signature Version 4, as the service checks it."""
    scheme, _, fields = request["Authorization"].partition(" ")
    assert scheme == "AWS4-HMAC-SHA256", scheme
    fields = dict(field.strip().split("=", 1) for field in fields.split(","))
    _, *scope = fields["Credential"].split("/")
    url = urllib.parse.urlsplit(request.target)
    names = fields["SignedHeaders"].split(";")
    canonical = "\n".join([request.method, url.path, url.query, *[f"{n}:{request[n].strip()}" for n in names], "",
                           fields["SignedHeaders"], hashlib.sha256(request.body).hexdigest()])
    text = "\n".join([scheme, request["X-Amz-Date"], "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in [*scope, text]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex() == fields["Signature"]


class Docs(Case):
    def test_the_document_names_the_versions_that_are_tested(self):
        text = (ROOT / "docs/clients.md").read_text()
        for name, version in json.loads((CLIENTS / "package.json").read_text())["dependencies"].items():
            self.assertIn(f"{name} {version}", text)


def main():
    program = unittest.main(verbosity=2, exit=False)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    # ctest lists a client that is not there as skipped, by name.
    sys.exit(SKIPPED if result.skipped and not result.testsRun else 0)


if __name__ == "__main__":
    main()
