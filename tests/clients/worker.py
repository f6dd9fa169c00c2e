"""Real Python clients and curl, driven as worker.mjs is: one JSON command a line in, one line of results out."""
import json
import os
import subprocess
import sys
import threading


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def curl(command):
    def call(tag):
        retry = ["--retry", str(command["retries"]), "--retry-all-errors", "--retry-delay", "1"] if command.get("retries") else []
        done = subprocess.run(
            ["curl", "-sS", "--fail-with-body", "-m", str((command.get("timeout") or 60000) / 1000), *retry,
             "-H", "Authorization: Bearer 1", "-H", "Content-Type: application/json", "-w", "\n%{http_code}",
             "-d", json.dumps({"amount": 4900, "order": tag}), command["base"] + "/orders"],
            capture_output=True, text=True)
        body, _, status = done.stdout.rpartition("\n")
        if done.returncode:
            raise Refused(int(status or 0) or None, done.stderr or body)
        return checked(json.loads(body.rpartition("\n")[2]), tag)

    return call


def requests(command):
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    session = requests.Session()
    if command.get("retries"):
        retry = Retry(total=command["retries"], allowed_methods=None, status_forcelist=[502, 503, 504], backoff_factor=0,
                      raise_on_status=False)
        session.mount("https://", HTTPAdapter(max_retries=retry))
        session.mount("http://", HTTPAdapter(max_retries=retry))

    def call(tag):
        answer = session.post(command["base"] + "/orders", json={"amount": 4900, "order": tag},
                              headers={"Authorization": "Bearer 1"}, timeout=(command.get("timeout") or 60000) / 1000)
        if not answer.ok:
            raise Refused(answer.status_code, answer.text)
        return checked(answer.json(), tag)

    return call


def boto3(command):
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    seconds = (command.get("timeout") or 60000) / 1000
    config = Config(read_timeout=seconds, connect_timeout=seconds, max_pool_connections=20,
                    retries={"max_attempts": command.get("retries", 2), "mode": "standard"})
    service = boto3.client(command.get("service", "dynamodb"), region_name="us-east-1", aws_access_key_id="AKIAEXAMPLE",
                           aws_secret_access_key="secret", endpoint_url=command["base"], config=config)

    def update(tag):
        answer = service.update_item(
            TableName="orders", Key={"id": {"S": tag}}, UpdateExpression="ADD charged :one",
            ExpressionAttributeValues={":one": {"N": "1"}}, ReturnValues="ALL_NEW")
        return f"{tag} charged {answer['Attributes']['charged']['N']}"

    def transact(tag):
        answer = service.transact_write_items(TransactItems=[{"Update": {
            "TableName": "orders", "Key": {"id": {"S": tag}}, "UpdateExpression": "ADD charged :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}}}}])
        return answer["ResponseMetadata"]["RequestId"]

    def send(tag):
        # The SDK itself compares the answer's MD5 with the body's.
        return service.send_message(QueueUrl=command["base"] + "/123456789012/orders", MessageBody=tag)["MessageId"]

    operation = {"update": update, "transact": transact, "send": send}[command.get("operation", "update")]

    def call(tag):
        try:
            return operation(tag)
        except ClientError as error:
            raise Refused(error.response["ResponseMetadata"]["HTTPStatusCode"], str(error))

    return call


def checked(order, tag):
    assert order["order"] == tag, order
    return order["id"]


def attempt(call, command):
    left = command.get("repeats") or 0
    while True:
        try:
            return {"id": call(command["tag"])}
        except AssertionError:
            raise
        except Exception as error:  # whatever the client throws; an agent would try again
            if left <= 0:
                return {"status": getattr(error, "status", None), "error": f"{type(error).__name__}: {error}"}
        left -= 1


def run(command):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        if command["environment"]:
            break
        if command.get("proxy"):
            os.environ[name] = command["proxy"]
        else:
            os.environ.pop(name, None)
    call = {"curl": curl, "requests": requests, "boto3": boto3}[command["client"]](command)
    if not command.get("parallel"):
        return [attempt(call, command) for _ in range(command["calls"])]
    results = [None] * command["calls"]

    def one(i):
        results[i] = attempt(call, command)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(command["calls"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps([asked["number"], run(asked)]), flush=True)
