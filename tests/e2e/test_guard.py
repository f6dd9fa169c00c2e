"""One effect, whatever the agent does. The upstream's count is the proof."""
import gzip
import json
import socket
import threading

from harness import Case, DEADLINE, Gate, eventually, main, request_bytes, statuses

ROUTE = 'routes: [ {{ name: charge_card, match: "POST {url}/v1/charges"{more} }} ]'


def route(upstream, more=""):
    return ROUTE.format(url=upstream.url, more=", " + more if more else "")


class Once(Case):
    def test_five_repeats_are_one_effect_and_get_the_first_answer_byte_for_byte(self):
        up = self.upstream()
        ledger = self.ledger(route(up))
        answers = [ledger.charge(up) for _ in range(5)]
        self.assertEqual(up.effects, 1)
        self.assertEqual([a.ledger for a in answers], ["executed"] + ["replayed"] * 4)
        self.assertEqual({a.body for a in answers}, {answers[0].body})
        self.assertEqual([a["Ledger-Attempt"] for a in answers], ["1", "2", "3", "4", "5"])
        self.assertEqual({a["Ledger-Route"] for a in answers}, {"charge_card"})
        self.assertEqual(len({a["Ledger-Record"] for a in answers}), 1)
        self.assertRegex(answers[0]["Ledger-Record"], "^[0-9a-f]{64}$")
        self.assertIsNone(answers[0]["Idempotent-Replayed"])
        for a in answers[1:]:
            self.assertEqual(a["Idempotent-Replayed"], "true")
            self.assertRegex(a["Age"], r"^\d+$")
            self.assertEqual(a["Content-Type"], "application/json")

    def test_the_record_counts_attempts_executions_and_blocked_calls_exactly(self):
        up = self.upstream()
        ledger = self.ledger(route(up))
        key = [ledger.charge(up, user="bot.run-7:x") for _ in range(5)][0]["Ledger-Record"]
        record = ledger.record(key)  # who looks right after a call finds it counted
        self.assertEqual([record[n] for n in ("attempts", "executed", "blocked", "replayed", "joined")], [5, 1, 4, 4, 0])
        self.assertEqual([record[n] for n in ("state", "status", "agent", "run", "route")], ["completed", 200, "bot", "run-7", "charge_card"])

    def test_a_mount_an_own_port_and_the_forward_proxy_share_one_key(self):
        up = self.upstream()
        ledger = self.ledger(f'mounts: {{ /stripe: {{ upstream: "{up.url}" }} }}\n'
                             f'listeners: [ {{ listen: "127.0.0.1:0", upstream: "{up.url}" }} ]')
        json_type = {"Content-Type": "application/json"}
        answers = [ledger.charge(up), ledger.direct("POST", "/stripe/v1/charges", b'{"amount": 49}', json_type),
                   ledger.direct("POST", "/v1/charges", b'{"amount":49.0}', json_type, port=ledger.ports[1])]
        self.assertEqual([a.ledger for a in answers], ["executed", "replayed", "replayed"])
        self.assertEqual(up.effects, 1)

    def test_five_repeats_are_one_effect_by_a_mount_and_by_an_own_port_too(self):
        up = self.upstream()
        ledger = self.ledger(f'mounts: {{ /stripe: {{ upstream: "{up.url}" }} }}\n'
                             f'listeners: [ {{ listen: "127.0.0.1:0", upstream: "{up.url}" }} ]\n' + route(up))
        for effects, (path, port) in enumerate((("/stripe/v1/charges", None), ("/v1/charges", ledger.ports[1])), 1):
            body = b'{"amount":%d}' % effects
            answers = [ledger.direct("POST", path, body, {"Content-Type": "application/json"}, port=port) for _ in range(5)]
            self.assertEqual([a.ledger for a in answers], ["executed"] + ["replayed"] * 4)
            self.assertEqual([a["Ledger-Attempt"] for a in answers], ["1", "2", "3", "4", "5"])
            self.assertEqual(({a.body for a in answers}, {a["Ledger-Route"] for a in answers}), ({answers[0].body}, {"charge_card"}))
            self.assertEqual((up.effects, up.requests[-1].target), (effects, "/v1/charges"))

    def test_fifty_calls_at_once_are_one_effect_and_share_its_answer(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(route(up))
        calls = self.in_parallel(*[lambda: ledger.charge(up)] * 50)
        gate.wait_for_call()
        eventually(lambda: ledger.metric("ledger_waiters") == 49, "49 calls wait")
        gate.opened.set()
        answers = calls.get()
        self.assertEqual(up.effects, 1)
        self.assertEqual(statuses(answers), {"executed": 1, "joined": 49})
        self.assertEqual({a.body for a in answers}, {answers[0].body})
        self.assertEqual(sorted(int(a["Ledger-Attempt"]) for a in answers), list(range(1, 51)))
        record = eventually(lambda: (r := ledger.record(answers[0]["Ledger-Record"]))["attempts"] == 50 and r, "the counts")
        self.assertEqual([record[n] for n in ("executed", "blocked", "replayed", "joined")], [1, 49, 0, 49])
        self.assertEqual(ledger.metric("ledger_waiters"), 0)

    def test_a_restart_in_between_does_not_send_again(self):
        up = self.upstream()
        ledger = self.ledger(route(up))
        first = ledger.charge(up, headers={"Authorization": "Bearer a"})
        self.assertEqual(ledger.stop(), 0)
        ledger.start()
        second = ledger.charge(up, headers={"Authorization": "Bearer a"})
        self.assertEqual((second.ledger, second.body, up.effects), ("replayed", first.body, 1))

    def test_a_kill_in_between_does_not_send_again(self):
        up = self.upstream()
        ledger = self.ledger(route(up))
        first = ledger.charge(up)
        ledger.kill()
        ledger.start()
        second = ledger.charge(up)
        self.assertEqual((second.ledger, second.body, up.effects), ("replayed", first.body, 1))

    def test_a_client_that_leaves_in_the_middle_finds_the_answer_when_it_comes_back(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(route(up))
        raw = request_bytes("POST", up.url + "/v1/charges", "x", {"Content-Type": "application/json"}, b'{"amount":49}')
        with socket.create_connection(("127.0.0.1", ledger.port)) as client:
            client.sendall(raw)
            gate.wait_for_call()
        gate.opened.set()
        eventually(lambda: [r for r in ledger.records() if r["state"] == "completed"], "the execution's end")
        again = ledger.charge(up)
        self.assertEqual((again.ledger, again.status, up.effects), ("replayed", 200, 1))

    def test_a_repeat_joins_the_call_whose_client_has_left(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(route(up))
        raw = request_bytes("POST", up.url + "/v1/charges", "x", {"Content-Type": "application/json"}, b'{"amount":49}')
        with socket.create_connection(("127.0.0.1", ledger.port)) as client:
            client.sendall(raw)
            gate.wait_for_call()
        again = self.in_parallel(lambda: ledger.charge(up))
        eventually(lambda: ledger.metric("ledger_waiters") == 1, "the repeat waits")
        gate.opened.set()
        [answer] = again.get()
        self.assertEqual((answer.ledger, answer.status, answer["Ledger-Attempt"], up.effects), ("joined", 200, "2", 1))

    def test_a_second_proxy_waits_for_the_first_ones_execution(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        one = self.ledger(route(up))
        two = self.ledger(route(up), store=one.store)
        impatient = self.ledger(route(up, "wait: 200ms"), store=one.store)
        first = self.in_parallel(lambda: one.charge(up))
        gate.wait_for_call()
        refused = impatient.charge(up)
        self.assertEqual((refused.status, refused.slug, refused.ledger), (409, "in-flight", "in-flight"))
        # One of these two asks the store for all of its process; the other waits for that one.
        others = self.in_parallel(*[lambda: two.charge(up)] * 2)
        eventually(lambda: two.metric("ledger_waiters") == 1, "both calls are in the second proxy")
        gate.opened.set()
        answers = first.get() + others.get()
        self.assertEqual((up.effects, {a.status for a in answers}, {a.body for a in answers}), (1, {200}, {answers[0].body}))
        self.assertEqual(answers[0].ledger, "executed")
        self.assertLessEqual({a.ledger for a in answers[1:]}, {"joined", "replayed"})
        self.assertEqual({p.charge(up).ledger for p in (one, two, impatient)}, {"replayed"})
        self.assertEqual(up.effects, 1)

    def test_two_proxies_on_one_file_make_one_effect(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        one = self.ledger(route(up))
        two = self.ledger(route(up), store=one.store)
        first = self.in_parallel(lambda: one.charge(up))
        gate.wait_for_call()
        second = self.in_parallel(lambda: two.charge(up))
        gate.opened.set()
        answers = [first.get()[0], second.get()[0]]
        self.assertEqual(up.effects, 1)
        self.assertEqual(answers[0].body, answers[1].body)
        self.assertEqual([a.status for a in answers], [200, 200])
        self.assertIn(answers[1].ledger, ("joined", "replayed"))

    def test_post_and_patch_are_guarded_by_default_and_other_methods_pass(self):
        up = self.upstream()
        ledger = self.ledger()
        for method, effects, last in (("POST", 1, "replayed"), ("PATCH", 1, "replayed"), ("PUT", 2, "passed"),
                                      ("GET", 2, "passed"), ("DELETE", 2, "passed")):
            before = up.effects
            answers = [ledger.proxied(method, up.url + "/x", b"{}" if method != "GET" else b"") for _ in range(2)]
            self.assertEqual((method, up.effects - before, answers[1].ledger), (method, effects, last))
            self.assertIsNone(answers[1]["Ledger-Route"])
            self.assertEqual(answers[1]["Ledger-Record"] is None, last == "passed")

    def test_the_defaults_say_which_methods_are_guarded(self):
        up = self.upstream()
        ledger = self.ledger("defaults: { DELETE: once, POST: pass }")
        self.assertEqual([ledger.proxied(m, up.url + "/x").ledger for m in ("DELETE", "DELETE", "POST", "POST")],
                         ["executed", "replayed", "passed", "passed"])
        self.assertEqual(up.effects, 3)


class Policies(Case):
    def test_max_two_allows_two_executions_and_replays_the_latest(self):
        up = self.upstream()
        ledger = self.ledger(route(up, "max: 2"))
        answers = [ledger.charge(up) for _ in range(4)]
        self.assertEqual([a.ledger for a in answers], ["executed", "executed", "replayed", "replayed"])
        self.assertEqual((up.effects, answers[3].body), (2, answers[1].body))

    def test_parallel_calls_join_even_where_max_would_allow_another_execution(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(route(up, "max: 2"))
        calls = self.in_parallel(*[lambda: ledger.charge(up)] * 5)
        gate.wait_for_call()
        eventually(lambda: ledger.metric("ledger_waiters") == 4, "4 calls wait")
        gate.opened.set()
        self.assertEqual((statuses(calls.get()), up.effects), ({"executed": 1, "joined": 4}, 1))
        later = [ledger.charge(up) for _ in range(3)]
        self.assertEqual(([a.ledger for a in later], up.effects), (["executed", "replayed", "replayed"], 2))

    def test_rejected_calls_do_not_count_towards_max(self):
        up = self.upstream(lambda r, c: (402, {}, b""))
        ledger = self.ledger(route(up, "max: 2"))
        self.assertEqual([ledger.charge(up).status for _ in range(3)], [402] * 3)
        up.handler = up.count_up
        answers = [ledger.charge(up) for _ in range(4)]
        self.assertEqual(([a.ledger for a in answers], up.effects), (["executed", "executed", "replayed", "replayed"], 5))

    def test_a_ttl_of_300_ms_is_over_after_300_ms(self):
        up = self.upstream()
        ledger = self.ledger(route(up, "ttl: 300ms"))
        ledger.charge(up)
        eventually(lambda: ledger.charge(up).ledger == "executed", "the record's expiry", 5)
        self.assertEqual(up.effects, 2)

    def test_after_its_ttl_a_call_is_new(self):
        up = self.upstream()
        ledger = self.ledger(route(up, "ttl: 1s"))
        first = ledger.charge(up)
        self.assertEqual(ledger.charge(up).ledger, "replayed")
        third = eventually(lambda: (a := ledger.charge(up)).ledger == "executed" and a, "the record's expiry")
        self.assertEqual((third["Ledger-Record"], third["Ledger-Attempt"], up.effects), (first["Ledger-Record"], "1", 2))

    def test_block_refuses_the_duplicate(self):
        up = self.upstream()
        ledger = self.ledger(route(up, "on_duplicate: block"))
        ledger.charge(up)
        blocked = ledger.charge(up)
        self.assertEqual((blocked.status, blocked.slug, blocked.ledger, up.effects), (409, "duplicate-blocked", "blocked", 1))
        record = eventually(lambda: (r := ledger.record(blocked["Ledger-Record"]))["attempts"] == 2 and r, "the counts")
        self.assertEqual([record[n] for n in ("executed", "blocked", "replayed", "joined")], [1, 1, 0, 0])
        self.assertEqual((blocked["x-should-retry"], blocked["stripe-should-retry"]), ("false", "false"))

    def test_refuse_does_not_wait_for_what_is_in_flight(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(route(up, "on_in_flight: refuse"))
        first = self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        refused = ledger.charge(up)
        self.assertEqual((refused.status, refused.slug, refused.ledger), (409, "in-flight", "in-flight"))
        self.assertTrue(int(refused["Retry-After"]) >= 1)
        gate.opened.set()
        self.assertEqual((first.get()[0].status, up.effects), (200, 1))
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("replayed", 1))

    def test_a_duplicate_waits_no_longer_than_wait(self):
        up = self.upstream()
        gate = Gate(up.count_up)
        up.handler = gate
        ledger = self.ledger(route(up, "wait: 200ms"))
        first = self.in_parallel(lambda: ledger.charge(up))
        gate.wait_for_call()
        late = ledger.charge(up)
        self.assertEqual((late.status, late.slug, late.ledger), (409, "in-flight", "in-flight"))
        self.assertIsNotNone(late["Retry-After"])
        gate.opened.set()
        first.get()
        self.assertEqual(up.effects, 1)

    def test_a_body_over_body_max_is_refused_and_never_forwarded(self):
        up = self.upstream()
        ledger = self.ledger(route(up, "body_max: 1KiB"))
        for headers in ((), (("Transfer-Encoding", "chunked"),)):
            body = b"x" * 2000 if not headers else b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"
            answer = ledger.charge(up, body, headers)
            self.assertEqual((answer.status, answer.slug, answer.ledger), (413, "body-too-large", "refused"))
        self.assertEqual(up.effects, 0)

    def test_an_answer_over_response_max_is_delivered_whole_and_not_repeated(self):
        big = bytes(range(256)) * 400
        up = self.upstream(lambda r, c: (200, {"X-Kept": "yes"}, big))
        ledger = self.ledger(route(up, "response_max: 4KiB"))
        first, second = ledger.charge(up), ledger.charge(up)
        self.assertEqual((first.body, first["X-Kept"], first.ledger, first.broken), (big, "yes", "executed", False))
        self.assertEqual((second.status, second.slug, up.effects), (409, "answer-not-stored", 1))
        record = ledger.record(first["Ledger-Record"])
        self.assertEqual((record["state"], record["status"]), ("completed", 200))
        self.assertIn('"X-Kept"', json.dumps(record))


class Answers(Case):
    def test_a_large_chunked_answer_is_recorded_whole(self):
        pieces = [bytes([i]) * 65536 for i in range(32)]

        def chunked(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/pdf\r\n\r\n")
            for piece in pieces:
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
            return None

        up = self.upstream(chunked)
        ledger = self.ledger(route(up))
        first, second = ledger.charge(up), ledger.charge(up)
        self.assertEqual(first.body, b"".join(pieces))
        self.assertEqual((second.ledger, second.body == first.body, second["Content-Length"]), ("replayed", True, str(32 * 65536)))

    def test_an_answer_that_ends_with_its_connection_is_whole(self):
        def until_close(_request, connection):
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nall of it")
            return None

        up = self.upstream(until_close)
        ledger = self.ledger(route(up))
        self.assertEqual([ledger.charge(up).body for _ in range(2)], [b"all of it"] * 2)
        self.assertEqual(up.effects, 1)

    def test_a_cookie_is_for_the_first_caller_only(self):
        up = self.upstream(lambda r, c: (200, {"Set-Cookie": "s=1", "X-Other": "2"}, b"{}"))
        ledger = self.ledger(route(up))
        first, second = ledger.charge(up), ledger.charge(up)
        self.assertEqual((first["Set-Cookie"], second["Set-Cookie"], second["X-Other"]), ("s=1", None, "2"))

    def test_a_slow_client_gets_the_whole_of_a_recorded_answer(self):
        size = 48 * 1024 * 1024
        up = self.upstream(lambda r, c: (200, {}, b"x" * size))
        ledger = self.ledger(route(up) + "\nlimits: { response_max: 64MiB, header_timeout: 1s }")
        ledger.charge(up)
        got, pause = 0, threading.Event()
        with socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as client:
            client.sendall(request_bytes("POST", up.url + "/v1/charges", "x", {"Content-Type": "application/json"}, b'{"amount":49}'))
            while got < size and (piece := client.recv(1024 * 1024, socket.MSG_WAITALL)):
                got += len(piece)
                pause.wait(0.05)  # slower than header_timeout for the whole, never without progress
        self.assertGreaterEqual(got, size)
        self.assertEqual(up.effects, 1)

    def test_a_gzipped_answer_is_decoded_for_a_caller_that_does_not_accept_gzip(self):
        packed = gzip.compress(b'{"ok":true}')
        up = self.upstream(lambda r, c: (200, {"Content-Encoding": "gzip"}, packed))
        ledger = self.ledger(route(up))
        first = ledger.charge(up, headers={"Accept-Encoding": "gzip"})
        same = ledger.charge(up, headers={"Accept-Encoding": "br;q=1, gzip;q=0.5"})
        silent = ledger.charge(up)  # takes any coding (RFC 9110 section 12.5.3)
        plain = ledger.charge(up, headers={"Accept-Encoding": "identity"})
        refused = ledger.charge(up, headers={"Accept-Encoding": "*, gzip;Q=0"})
        self.assertEqual((refused.body, refused["Content-Encoding"]), (b'{"ok":true}', None))
        self.assertEqual((first.body, same.body, same["Content-Encoding"], silent.body), (packed, packed, "gzip", packed))
        self.assertEqual((plain.body, plain["Content-Encoding"], plain["Content-Length"]), (b'{"ok":true}', None, "11"))

    def test_an_answer_without_a_body_is_recorded(self):
        up = self.upstream(lambda r, c: (204, {"X-A": "b"}, b""))
        ledger = self.ledger(route(up))
        answers = [ledger.charge(up) for _ in range(2)]
        self.assertEqual([(a.status, a["X-A"], a.body) for a in answers], [(204, "b", b"")] * 2)
        self.assertEqual(up.effects, 1)

    def test_an_interim_answer_is_not_the_answer(self):
        def early(_request, connection):
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
                               b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nmade")
            return None

        up = self.upstream(early)
        ledger = self.ledger(route(up))
        answers = [ledger.charge(up) for _ in range(2)]
        self.assertEqual([(a.status, a.body, a["Link"], a.ledger) for a in answers],
                         [(201, b"made", None, "executed"), (201, b"made", None, "replayed")])
        self.assertEqual(up.effects, 1)

    def test_an_http_1_0_client_is_served(self):
        up = self.upstream()
        ledger = self.ledger(route(up))
        answers = [ledger.charge(up, version="1.0") for _ in range(2)]
        self.assertEqual([a.ledger for a in answers], ["executed", "replayed"])
        self.assertEqual(answers[0].body, answers[1].body)

    def test_the_first_caller_gets_the_answer_as_it_streams(self):
        sent, go_on = threading.Event(), threading.Event()

        def slow(_request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            sent.set()
            go_on.wait(DEADLINE)
            connection.sendall(b"-last")
            return None

        up = self.upstream(slow)
        ledger = self.ledger(route(up))
        with socket.create_connection(("127.0.0.1", ledger.port), timeout=DEADLINE) as client:
            client.sendall(request_bytes("POST", up.url + "/v1/charges", "x", (), b"{}"))
            got = b""
            while not got.endswith(b"first"):
                got += client.recv(4096)
            go_on.set()
            while not got.endswith(b"-last"):
                got += client.recv(4096)


if __name__ == "__main__":
    main()
