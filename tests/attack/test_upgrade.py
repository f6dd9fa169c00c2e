"""Nothing but WebSocket is passed on as an upgrade, and no connection goes raw that nobody asked to."""
import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import Case, DEADLINE, guarded_route, main, read_answer, read_head, request_bytes

WEBSOCKET = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "k", "Sec-WebSocket-Version": "13"}


def switches(protocol):
    """An upstream that answers 101, and keeps what comes after it."""
    def handler(request, connection):
        handler.requests.append(request)
        connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode())
        while data := connection.recv(4096):
            handler.raw += data
    handler.requests, handler.raw = [], b""
    return handler


class Upgrade(Case):
    def client(self, ledger):
        client = socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE)
        self.addCleanup(client.close)
        return client

    def ask(self, client, method, url, headers=(), body=b""):
        client.sendall(request_bytes(method, url, url.split("/")[2], headers, body))
        return read_answer(client, method)

    def test_a_101_that_nobody_asked_for_is_a_502_and_the_next_call_goes_its_own_way(self):
        for protocol, headers in (("websocket", {}), ("anything", {}), ("h2c", WEBSOCKET), ("tls/1.0", WEBSOCKET), ("websocket, h2c", WEBSOCKET),
                                  ("h2c", {"Connection": "Upgrade", "Upgrade": "h2c"})):
            with self.subTest(protocol=protocol, headers=headers):
                evil, other = switches(protocol), self.upstream()
                up = self.upstream(evil)
                ledger = self.ledger()
                client = self.client(ledger)
                answer = self.ask(client, "GET", up.url + "/", headers)
                self.assertEqual((answer.status, answer.slug), (502, "upstream-failed"))
                # Meant for another host, with what only that host may see.
                answer = self.ask(client, "POST", other.url + "/charge", {"Authorization": "Bearer secret", "Proxy-Authorization": "Basic eDp5"}, b"{}")
                self.assertEqual((answer.status, answer.ledger), (200, "executed"))
                self.assertEqual((evil.raw, other.requests[0]["Authorization"]), (b"", "Bearer secret"))
                # Nor is the connection that switched used again.
                answer = self.ask(client, "GET", up.url + "/", headers)
                self.assertEqual((answer.status, len(evil.requests), evil.raw), (502, 2, b""))
                ledger.stop()

    def test_a_101_to_a_call_with_a_body_does_not_take_the_bodys_rest(self):
        evil = switches("websocket")
        up = self.upstream(evil)
        ledger = self.ledger()
        client = self.client(ledger)
        answer = self.ask(client, "PUT", up.url + "/", WEBSOCKET, b"x" * 10)
        self.assertEqual((answer.status, evil.raw, evil.requests[0]["Upgrade"]), (502, b"", None))

    def test_h2c_is_not_passed_on_and_the_request_goes_on_without_it(self):
        for upgrade in ("h2c", "H2C", "h2c, foo/1", "TLS/1.0", "h2c, websocket"):
            for connection in ("Upgrade, HTTP2-Settings", "upgrade"):
                with self.subTest(upgrade=upgrade, connection=connection):
                    up = self.upstream()
                    ledger = self.ledger()
                    client = self.client(ledger)
                    headers = {"Connection": connection, "Upgrade": upgrade, "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
                    self.assertEqual(self.ask(client, "GET", up.url + "/", headers).status, 200)
                    self.assertNotIn("h2c", (up.requests[0]["Upgrade"] or "").lower())
                    if "websocket" not in upgrade:
                        self.assertEqual((up.requests[0]["Upgrade"], up.requests[0]["Connection"]), (None, None))
                    self.assertIsNone(up.requests[0]["HTTP2-Settings"])
                    self.assertEqual(self.ask(client, "GET", up.url + "/next", headers).status, 200)
                    ledger.stop()

    def test_a_websocket_among_others_is_asked_for_alone(self):
        good = switches("websocket")
        up = self.upstream(good)
        ledger = self.ledger()
        client = self.client(ledger)
        client.sendall(request_bytes("GET", up.url + "/", "x", {**WEBSOCKET, "Upgrade": "h2c, websocket"}))
        self.assertTrue(read_head(client.makefile("rb", buffering=0))[0].startswith("HTTP/1.1 101"))
        self.assertEqual(good.requests[0]["Upgrade"], "websocket")
        client.sendall(b"raw")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(client.recv(100), b"")
        self.assertEqual(good.raw, b"raw")

    def test_an_upgrade_asked_on_a_guarded_call_stays_guarded(self):
        up = self.upstream()
        ledger = self.ledger(guarded_route(up))
        client = self.client(ledger)
        answers = [self.ask(client, "POST", up.url + "/charge", headers, b"{}")
                   for headers in (WEBSOCKET, {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAA"}, {})]
        self.assertEqual([a.ledger for a in answers], ["executed", "replayed", "replayed"])
        self.assertEqual((up.effects, up.requests[0]["Upgrade"], up.requests[0]["HTTP2-Settings"]), (1, None, None))

    def test_a_guarded_call_that_is_answered_with_101_is_unknown_and_nothing_goes_raw(self):
        evil = switches("websocket")
        up = self.upstream(evil)
        ledger = self.ledger(guarded_route(up))
        client = self.client(ledger)
        answer = self.ask(client, "POST", up.url + "/charge", WEBSOCKET, b"{}")
        self.assertEqual((answer.status, answer.slug), (502, "outcome-unknown"))
        answer = self.ask(client, "POST", up.url + "/charge", {}, b"{}")
        self.assertEqual((answer.slug, evil.raw, len(evil.requests)), ("in-doubt", b"", 1))

    def test_json_rpc_that_passes_is_no_way_to_an_upgrade(self):
        evil = switches("websocket")
        up = self.upstream(evil)
        ledger = self.ledger(guarded_route(up))
        client = self.client(ledger)
        body = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'
        answer = self.ask(client, "POST", up.url + "/mcp", {**WEBSOCKET, "Content-Type": "application/json"}, body)
        self.assertEqual((answer.status, evil.raw, evil.requests[0]["Upgrade"]), (502, b"", None))


if __name__ == "__main__":
    main()
