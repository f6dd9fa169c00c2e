// Loaded into Node by `ledger run` and `ledger env` (NODE_OPTIONS=--require): Node's own http, https
// and fetch read no proxy variables before Node 24, and SDKs that bring an Agent of their own go past
// them after it too. Everything here opens CONNECT tunnels, plain HTTP included.
'use strict';

const http = require('node:http');
const https = require('node:https');
const net = require('node:net');
const tls = require('node:tls');

const variable = (name) => process.env[name.toLowerCase()] || process.env[name] || '';

const parsed = (text) => {
  try {
    return text ? new URL(text.includes('://') ? text : `http://${text}`) : null;
  } catch {
    return null;
  }
};

const proxies = { 'http:': parsed(variable('HTTP_PROXY')), 'https:': parsed(variable('HTTPS_PROXY')) };

const bypassed = (host) =>
  variable('NO_PROXY').split(/[\s,]+/).filter(Boolean).some((entry) => {
    const name = entry.replace(/:\d+$/, '').replace(/^\*?\.?/, '').toLowerCase();
    return entry === '*' || (name && (host === name || host.endsWith(`.${name}`)));
  });

// The proxy for such a call; null: it goes its own way.
const proxyOf = (protocol, host) => (bypassed(String(host).toLowerCase()) ? null : proxies[protocol]);

// Calls back with a socket that leads to host:port.
function tunnel(proxy, host, port, done) {
  const headers = { Host: `${host}:${port}` };
  if (proxy.username || proxy.password) {
    const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    headers['Proxy-Authorization'] = `Basic ${Buffer.from(user).toString('base64')}`;
  }
  const connect = http.request({
    host: proxy.hostname,
    port: proxy.port || 80,
    method: 'CONNECT',
    path: `${net.isIPv6(host) ? `[${host}]` : host}:${port}`,
    headers,
    createConnection: net.createConnection, // and so no Agent
  });
  connect.once('connect', (answer, socket) => {
    if (answer.statusCode === 200) return done(null, socket);
    socket.destroy();
    done(new Error(`the proxy ${proxy.host} refused a tunnel to ${host}:${port} (${answer.statusCode})`));
  });
  connect.once('error', done);
  connect.end();
}

// Once, with the error or the socket.
const once = (callback) => {
  let called = false;
  return (...result) => called || ((called = true), callback(...result));
};

// Newer Nodes do it themselves for the agents that carry `proxyEnv`.
const does = (agent) => Boolean(agent && agent.options && agent.options.proxyEnv);

function patch(Agent, protocol, secure) {
  const direct = Agent.prototype.createConnection;
  Agent.prototype.createConnection = function createConnection(options, callback) {
    const host = options.host || 'localhost';
    const proxy = options.socketPath || does(this) || typeof callback !== 'function' ? null : proxyOf(protocol, host);
    if (!proxy) return direct.call(this, options, callback);
    const done = once(callback);
    tunnel(proxy, host, options.port || (secure ? 443 : 80), (error, socket) => {
      if (error || !secure) return done(error, socket);
      const { host: _host, port: _port, path: _path, ...rest } = options;
      const name = options.servername || (net.isIP(host) ? '' : host);
      const wrapped = tls.connect({ ...rest, socket, servername: name, checkServerIdentity: options.checkServerIdentity || ((_, certificate) => tls.checkServerIdentity(host, certificate)) });
      done(null, wrapped);
    });
    return undefined;
  };
}

// fetch is undici inside Node; its Agent is reached by the dispatcher that Node sets at first use.
function patchFetch() {
  const key = Symbol.for('undici.globalDispatcher.1');
  if (typeof fetch !== 'function') return;
  fetch('data:,').catch(() => {});  // makes Node set it
  const Agent = globalThis[key] && globalThis[key].constructor;
  if (!Agent || Agent.name !== 'Agent') return;  // something else is there already
  const dispatcher = new Agent({
    connect(options, callback) {
      const secure = options.protocol === 'https:';
      const port = Number(options.port) || (secure ? 443 : 80);
      const host = options.hostname.replace(/^\[|\]$/g, '');
      const done = once(callback);
      const begin = (error, socket) => {
        if (error) return done(error, null);
        if (!secure) return done(null, socket);
        const wrapped = tls.connect({
          socket,
          host,
          servername: options.servername || (net.isIP(host) ? '' : host),
          ALPNProtocols: ['http/1.1'],
          checkServerIdentity: (_, certificate) => tls.checkServerIdentity(host, certificate),
        });
        wrapped.once('secureConnect', () => done(null, wrapped));
        wrapped.once('error', (e) => done(e, null));
        return undefined;
      };
      const proxy = proxyOf(options.protocol, host);
      if (proxy) return tunnel(proxy, host, port, begin);
      const socket = net.connect({ host, port });
      socket.once('connect', () => begin(null, socket));
      socket.once('error', (e) => done(e, null));
      return undefined;
    },
  });
  globalThis[key] = dispatcher;
}

if (proxies['http:'] || proxies['https:']) {
  patch(http.Agent, 'http:', false);
  patch(https.Agent, 'https:', true);
  if (!process.allowedNodeEnvironmentFlags.has('--use-env-proxy')) patchFetch();
}
