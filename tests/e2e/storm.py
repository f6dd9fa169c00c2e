"""Two processes for the crash tests: an upstream that counts effects, and agents that repeat every call whose
connection was lost. `python3 storm.py upstream plain|honouring SEED` prints its port; GET /effects tells the effects
by body. `python3 storm.py agents PORTS URL SEED` makes calls until its input ends, then prints what came back.
`python3 storm.py replay PORT URL COUNT` asks for each of them once more."""
import asyncio
import collections
import json
import random
import sys

from load import ask

WORKERS = 12


class Honouring:
    """Stripe's semantics: under one key one effect. A repeat gets the first answer, one that comes too early 409,
    one with other parameters 400."""

    def __init__(self):
        self.params, self.answers = {}, {}

    def begin(self, key, params):
        """An answer at once, or None: make the effect, then call end()."""
        if self.params.setdefault(key, params) != params:
            return 400, b'{"error":{"type":"idempotency_error"}}'
        if key in self.answers:
            return self.answers[key] or (409, b'{"error":{"code":"idempotency_key_in_use"}}')
        self.answers[key] = None
        return None

    def end(self, key, status, body):
        self.answers[key] = (status, body)

    def never_happened(self, key):
        del self.answers[key]


class Upstream(asyncio.Protocol):
    effects = collections.Counter()
    statuses = collections.Counter()
    keys = collections.defaultdict(set)
    memory = None  # an Honouring
    chance = random.Random()

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].decode("latin-1").split("\r\n")
            fields = {h.split(":", 1)[0].lower(): h.split(":", 1)[1].strip() for h in head[1:]}
            whole = end + 4 + int(fields.get("content-length", 0))
            if len(self.buffer) < whole:
                return
            body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
            self.call(head[0], fields, body)

    def call(self, line, fields, body):
        if line.startswith("GET /effects"):
            told = {"effects": {b.decode(): n for b, n in self.effects.items()}, "statuses": self.statuses,
                    "keys": max((len(k) for k in self.keys.values()), default=0)}
            return self.answer(200, json.dumps(told).encode())
        if self.memory is None:
            return asyncio.get_running_loop().call_later(self.pause(), lambda: self.answer(200, self.effect(body)))
        key = fields["idempotency-key"]
        self.keys[body].add(key)
        if early := self.memory.begin(key, body):
            self.statuses[early[0]] += 1
            return self.answer(*early)
        return asyncio.get_running_loop().call_later(self.pause(), lambda: self.act(key, body))

    def pause(self):
        return self.chance.choice((0, 0, 0.002, 0.02))

    def act(self, key, body):
        fate = self.chance.random()
        if fate < 0.02:  # lost before it had an effect
            self.memory.never_happened(key)
            return self.transport.abort()
        text = self.effect(body)
        self.memory.end(key, 200, text)
        if fate < 0.05:  # the effect happened, its answer is lost
            return self.transport.abort()
        return self.answer(200, text)

    def effect(self, body):
        """Its answer names which effect it was, so that a second one could not pass for a replay."""
        self.effects[body] += 1
        return b'{"charged":%s,"effect":%d}' % (body, self.effects[body])

    def answer(self, status, body):
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 %d Text\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


async def upstream(kind, seed):
    Upstream.chance = random.Random(int(seed))
    Upstream.memory = Honouring() if kind == "honouring" else None
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def body_of(n):
    return b'{"amount":49,"n":%d}' % n


class Agents:
    def __init__(self, ports, url, seed):
        self.ports, self.url, self.chance = ports, url, random.Random(seed)
        self.results, self.wrong, self.lost = collections.Counter(), [], 0
        self.answers = {}  # of each call that was answered with 200: the first such answer
        self.next, self.ended = 0, False

    async def call(self, line, n):
        """One call, until it is answered; `line`: the reader and writer of this worker's connection."""
        while True:
            try:
                if line[1] is None:
                    line[:2] = await asyncio.open_connection("127.0.0.1", self.chance.choice(self.ports))
                status, ledger, answer = await ask(line[0], line[1], self.url, body_of(n))
                break
            except (OSError, asyncio.IncompleteReadError):
                self.lost += 1
                if line[1]:
                    line[1].close()
                line[:2] = None, None
                await asyncio.sleep(0.01)
        self.results[f"{status} {ledger}"] += 1
        if status == 200:
            first = self.answers.setdefault(n, answer.decode())
            if first != answer.decode() or not answer.startswith(b'{"charged":' + body_of(n)):
                self.wrong.append([n, first, answer.decode()])
        elif n in self.answers:
            self.wrong.append([n, self.answers[n], f"{status} {ledger} {answer.decode()}"])

    async def worker(self):
        line = [None, None]
        while not self.ended:
            # Mostly new calls; some that were made before, or are being made by another worker now.
            fresh = self.next < 10 or self.chance.random() < 0.7
            n = self.next if fresh else max(0, self.next - 1 - int(self.chance.expovariate(0.05)))
            self.next += fresh
            await self.call(line, n)

    async def run(self):
        workers = [asyncio.create_task(self.worker()) for _ in range(WORKERS)]
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        self.ended = True
        await asyncio.gather(*workers)
        print(json.dumps({"calls": self.next, "results": self.results, "wrong": self.wrong, "lost": self.lost, "answers": self.answers}), flush=True)


async def replay(port, url, count):
    """What each call gets now: [status, Ledger-Status, body]."""
    told, numbers = {}, iter(range(count))

    async def worker():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for n in numbers:
            status, ledger, answer = await ask(reader, writer, url, body_of(n))
            told[n] = [status, ledger, answer.decode()]

    await asyncio.gather(*[worker() for _ in range(WORKERS)])
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "upstream":
        asyncio.run(upstream(*arguments))
    elif role == "agents":
        asyncio.run(Agents([int(p) for p in arguments[0].split(",")], arguments[1], int(arguments[2])).run())
    else:
        asyncio.run(replay(int(arguments[0]), arguments[1], int(arguments[2])))
