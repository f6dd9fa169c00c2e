// An idempotency layer as one writes it by hand, in the shape of AWS Powertools': hash the body, claim the key with a
// conditional put, call the upstream, put the answer, reply. Redis syncs its log at every write (appendfsync always).
// usage: node node_redis.js PORT REDIS_PORT UPSTREAM_PORT
'use strict';
const crypto = require('crypto'), http = require('http'), net = require('net');
const [port, redisPort, upstreamPort] = process.argv.slice(2).map(Number);

const redis = net.connect(redisPort, '127.0.0.1').setNoDelay(true);
const waiting = [];
let rest = Buffer.alloc(0);
redis.on('data', (data) => {
  rest = rest.length ? Buffer.concat([rest, data]) : data;
  for (;;) {
    const end = rest.indexOf('\r\n');
    if (end < 0) return;
    const line = rest.toString('latin1', 0, end);
    let size = end + 2, value = line.slice(1);
    if (line[0] === '$') {
      const length = Number(value);
      if (length < 0) value = null;
      else {
        if (rest.length < size + length + 2) return;
        value = rest.toString('utf8', size, size + length);
        size += length + 2;
      }
    } else if (line[0] === '-') throw new Error(line);
    rest = rest.subarray(size);
    waiting.shift()(value);
  }
});
const command = (...words) => new Promise((resolve) => {
  waiting.push(resolve);
  redis.write(`*${words.length}\r\n` + words.map((w) => `$${Buffer.byteLength(w)}\r\n${w}\r\n`).join(''));
});

const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
const forward = (path, body) => new Promise((resolve, reject) => {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const call = http.request({ port: upstreamPort, host: '127.0.0.1', path, method: 'POST', agent, headers }, (answer) => {
    const parts = [];
    answer.on('data', (part) => parts.push(part)).on('end', () => resolve(Buffer.concat(parts).toString()));
  });
  call.on('error', reject).end(body);
});

async function once(path, body) {
  const key = crypto.createHash('sha256').update(path).update(JSON.stringify(JSON.parse(body))).digest('hex');
  if (await command('SET', key, 'INPROGRESS', 'NX', 'EX', '3600') === null) {
    const stored = await command('GET', key);
    return stored === 'INPROGRESS' ? null : stored;
  }
  const answer = await forward(path, body);
  await command('SET', key, answer, 'EX', '3600');
  return answer;
}

http.createServer({ keepAliveTimeout: 600000 }, (request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part)).on('end', async () => {
    const answer = await once(request.url, Buffer.concat(parts).toString());
    response.writeHead(answer === null ? 409 : 200, { 'content-type': 'application/json' });
    response.end(answer ?? '');
  });
}).listen(port, '127.0.0.1', 4096);
