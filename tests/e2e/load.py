"""Two processes for heavy traffic: an upstream that counts effects, and a client with many connections.

`python3 load.py upstream` prints its port; GET /count tells the effects, GET /repeated the bodies that came
twice. `python3 load.py client PORT URL FIRST COUNT CONNECTIONS` sends distinct charges FIRST.. through the
proxy at PORT, each until it is answered, and prints what came back as JSON.
"""
import asyncio
import collections
import json
import sys


class Upstream(asyncio.Protocol):
    seen = collections.Counter()

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].decode("latin-1").split("\r\n")
            lengths = [int(h.split(":")[1]) for h in head if h.lower().startswith("content-length:")]
            whole = end + 4 + (lengths[0] if lengths else 0)
            if len(self.buffer) < whole:
                return
            body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
            self.transport.write(self.answer(head[0], body))

    def answer(self, line, body):
        if line.startswith("GET /count"):
            text = str(len(self.seen)).encode()
        elif line.startswith("GET /repeated"):
            text = json.dumps([b.decode() for b, n in self.seen.items() if n > 1]).encode()
        else:
            self.seen[body] += 1
            text = b'{"charged":%s,"padding":"%s"}' % (body, b"x" * 200)
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


async def upstream():
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def ask(reader, writer, url, body):
    writer.write(f"POST {url} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {h.split(":", 1)[0].lower(): h.split(":", 1)[1].strip() for h in head[1:] if ":" in h}
    answer = await reader.readexactly(int(fields["content-length"]))
    return int(head[0].split()[1]), fields.get("ledger-status"), answer


async def client(port, url, first, count, connections):
    """One lost connection is one retry of its call, as an agent would."""
    results, wrong, retries = collections.Counter(), [], 0
    numbers = iter(range(first, first + count))

    async def worker():
        nonlocal retries
        reader = writer = None
        for n in numbers:
            body = b'{"amount":49,"n":%d}' % n
            while True:
                try:
                    if writer is None:
                        reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    status, ledger, answer = await ask(reader, writer, url, body)
                    break
                except (OSError, asyncio.IncompleteReadError):
                    retries += 1
                    writer = None
                    await asyncio.sleep(0.02)
            results[f"{status} {ledger}"] += 1
            if status == 200 and not answer.startswith(b'{"charged":' + body):
                wrong.append(n)

    await asyncio.gather(*[worker() for _ in range(connections)])
    print(json.dumps({"results": results, "wrong": wrong, "retries": retries}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "upstream":
        asyncio.run(upstream())
    else:
        port, url, first, count, connections = sys.argv[2:]
        asyncio.run(client(int(port), url, int(first), int(count), int(connections)))
