// Real Node clients, driven by a test: one JSON command a line in, one JSON line out: its number and the results.
//
// A command: client, base (its URL at Ledger, or the API's own), proxy (or null), environment (true: its
// variables stay as they are), tag (what makes this call this call), calls, parallel, timeout (ms), retries (of the SDK), repeats (of the agent, after an error).
// Every call goes through the SDK's public interface; all calls of a command share one SDK object.
import assert from 'node:assert/strict';
import readline from 'node:readline';
import axios from 'axios';
import { HttpsProxyAgent } from 'https-proxy-agent';
import OpenAI from 'openai';
import sendgrid from '@sendgrid/mail';
import sendgridClient from '@sendgrid/client';
import { WebClient } from '@slack/web-api';
import Stripe from 'stripe';
import twilio from 'twilio';
import * as undici from 'undici';

const SID = 'AC' + '0'.repeat(32);

const clients = {
  stripe({ base, proxy, timeout, retries }) {
    const { protocol, hostname, port } = new URL(base);
    const stripe = new Stripe('sk_test_1', {
      host: hostname,
      port,
      protocol: protocol.slice(0, -1),
      httpAgent: proxy ? new HttpsProxyAgent(proxy) : undefined,
      timeout: timeout ?? 60000,
      maxNetworkRetries: retries ?? 2,
    });
    return async (tag) => {
      const charge = await stripe.charges.create({ amount: 4900, currency: 'usd', source: 'tok_visa', metadata: { order: tag } });
      assert.deepEqual([charge.object, charge.amount, charge.metadata.order], ['charge', 4900, tag]);
      return charge.id;
    };
  },

  openai({ base, proxy, timeout, retries }) {
    const openai = openaiClient({ base, proxy, timeout, retries });
    return async (tag) => {
      const completion = await openai.chat.completions.create({ model: 'gpt-test', temperature: 0.1, messages: [{ role: 'user', content: tag }] });
      assert.equal(completion.choices[0].message.content, `echo ${tag}`);
      return completion.id;
    };
  },

  openai_stream({ base, proxy, timeout, retries }) {
    const openai = openaiClient({ base, proxy, timeout, retries });
    return async (tag) => {
      const stream = await openai.chat.completions.create({ model: 'gpt-test', stream: true, messages: [{ role: 'user', content: tag }] });
      let text = '';
      let id;
      for await (const chunk of stream) {
        id = chunk.id;
        text += chunk.choices[0]?.delta?.content ?? '';
      }
      assert.equal(text, `echo ${tag}`);
      return id;
    };
  },

  slack({ base, proxy, timeout, retries }) {
    const dispatcher = proxy && new undici.ProxyAgent(proxy);
    const slack = new WebClient('xoxb-1', {
      slackApiUrl: `${base}/api/`,
      timeout: timeout ?? 0,
      // The default repeats 10 times within half an hour.
      retryConfig: { retries: retries ?? 2, minTimeout: 0, maxTimeout: 1 },
      fetch: dispatcher ? (url, init) => undici.fetch(url, { ...init, dispatcher }) : undefined,
      logLevel: 'error',
    });
    return async (tag) => {
      const answer = await slack.chat.postMessage({ channel: 'C1', text: tag });
      assert.deepEqual([answer.ok, answer.message.text], [true, tag]);
      return answer.ts;
    };
  },

  twilio({ base, timeout }) {
    // The proxy is the SDK's own business: it reads HTTP_PROXY.
    const client = twilio(SID, 'token', { timeout: timeout ?? 60000 });
    client.api.baseUrl = base;
    return async (tag) => {
      const message = await client.messages.create({ from: '+15005550006', to: '+15005550009', body: tag });
      assert.deepEqual([message.body, message.accountSid, message.dateCreated instanceof Date], [tag, SID, true]);
      return message.sid;
    };
  },

  sendgrid({ base, timeout }) {
    // Over axios, which reads HTTPS_PROXY.
    const client = new sendgridClient.Client();
    client.setApiKey('SG.1');
    client.setDefaultRequest('baseUrl', `${base}/`);
    client.setDefaultRequest('timeout', timeout ?? 60000);
    const mail = new sendgrid.MailService();
    mail.setClient(client);
    return async (tag) => {
      const [answer] = await mail.send({ to: 'a@example.com', from: 'b@example.com', subject: tag, text: 'hello' });
      assert.deepEqual([answer.statusCode, answer.body], [202, '']);
      return answer.headers['x-message-id'];
    };
  },

  axios({ base, timeout }) {
    return async (tag) => {
      const answer = await axios.post(`${base}/orders`, { amount: 4900, order: tag }, { timeout: timeout ?? 60000, headers: { Authorization: 'Bearer 1' } });
      assert.equal(answer.data.order, tag);
      return answer.data.id;
    };
  },

  undici({ base, timeout }) {
    const dispatcher = new undici.EnvHttpProxyAgent();
    return async (tag) => {
      const answer = await undici.fetch(`${base}/orders`, {
        method: 'POST',
        dispatcher,
        headers: { Authorization: 'Bearer 1', 'Content-Type': 'application/json' },
        body: JSON.stringify({ amount: 4900, order: tag }),
        signal: AbortSignal.timeout(timeout ?? 60000),
      });
      if (!answer.ok) throw Object.assign(new Error(await answer.text()), { status: answer.status });
      const order = await answer.json();
      assert.equal(order.order, tag);
      return order.id;
    };
  },
};

function openaiClient({ base, proxy, timeout, retries }) {
  return new OpenAI({
    apiKey: 'sk-1',
    baseURL: `${base}/v1`,
    timeout: timeout ?? 60000,
    maxRetries: retries ?? 2,
    ...(proxy && { fetch: undici.fetch, fetchOptions: { dispatcher: new undici.ProxyAgent(proxy) } }),
  });
}

function status(error) {
  return [error.statusCode, error.status, error.response?.status, error.code].find((value) => typeof value === 'number') ?? null;
}

async function attempt(call, { tag, repeats }) {
  for (let left = repeats ?? 0; ; left--) {
    try {
      return { id: await call(tag) };
    } catch (error) {
      if (error instanceof assert.AssertionError || left <= 0)
        return { status: status(error), error: `${error?.name}: ${error?.message}` };
    }
  }
}

async function run(command) {
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy']) {
    if (command.environment) break;
    if (command.proxy) process.env[name] = command.proxy;
    else delete process.env[name];
  }
  const call = clients[command.client](command);
  if (command.parallel) return Promise.all(Array.from({ length: command.calls }, () => attempt(call, command)));
  const results = [];
  for (let i = 0; i < command.calls; i++) results.push(await attempt(call, command));
  return results;
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  process.stdout.write(JSON.stringify([command.number, await run(command)]) + '\n');
}
process.exit(0);
