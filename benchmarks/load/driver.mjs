/**
 * The clients of the load runs, in a process of their own: one JSON object a line on stdin says what they ask, one a line on stdout what they saw.
 * While they ask they only note when which bytes came; all reading is done afterwards, so that it takes no time from the server.
 */
import { setMaxListeners } from 'node:events';
import { Agent, request } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { random, readStream } from './numbers.mjs';

/** Longest wait for an answer, in milliseconds. */
const LIMIT = 10 * 60 * 1000;

/** A request of its own prompt: seeded tokens from `least` to below `most`. */
function bodyOf({ model, promptLength, newTokens, least, most, seed, fields }, index) {
  const next = random(seed + index);
  const prompt = Array.from({ length: promptLength }, () => least + Math.floor(next() * (most - least)));
  const stream = { stream: true, stream_options: { include_usage: true } };
  return { model, prompt, max_tokens: newTokens, ignore_eos: true, seed: seed + index, ...stream, ...fields };
}

/** Asks, and notes what comes when. `leave`, if it is aborted, ends the connection. */
function ask(url, body, { agent, leave }) {
  const text = JSON.stringify(body);
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  const sent = performance.now();
  const chunks = [];
  return new Promise((resolve) => {
    const ended = (outcome) => resolve({ sent, chunks, ended: performance.now(), ...outcome });
    const asked = request(`${url}/v1/completions`, { method: 'POST', agent, headers, timeout: LIMIT }, (response) => {
      response.setEncoding('utf8').on('data', (chunk) => chunks.push([performance.now(), chunk]));
      response.on('end', () => ended({ status: response.statusCode }));
      response.on('error', (error) => ended({ failure: error.message }));
    });
    asked.on('error', (error) => ended({ failure: error.message }));
    asked.on('timeout', () => asked.destroy(new Error('no answer in time')));
    leave?.addEventListener('abort', () => asked.destroy(new Error('left')), { once: true });
    asked.end(text);
  });
}

/** `count` requests by `clients`, each of which asks for its next answer when it has the one before. */
async function answers({ url, clients, count, ...what }) {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const bodies = Array.from({ length: count }, (_, i) => bodyOf(what, i));
  const seen = [];
  let next = 0;
  const client = async () => {
    while (next < count) {
      const index = next++;
      seen[index] = await ask(url, bodies[index], { agent });
    }
  };
  const [cpu, began] = [process.cpuUsage(), performance.now()];
  await Promise.all(Array.from({ length: clients }, client));
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  agent.destroy();
  const read = seen.map(({ sent, chunks, status, failure }) => ({ status, failure, ...readStream(sent, chunks) }));
  const isWhole = ({ status, done, error, tokens }) => status === 200 && done && !error && tokens === what.newTokens;
  return {
    ...{ seconds, driver: (user + system) / 1e6, complete: read.filter(isWhole).length },
    tokens: read.reduce((sum, { tokens }) => sum + tokens, 0),
    events: read.reduce((sum, { events }) => sum + events, 0),
    firsts: read.map(({ first }) => first),
    gaps: read.flatMap(({ gaps }) => gaps),
    texts: read.map(({ text }) => text),
    failures: [...new Set(seen.filter((one) => one.status !== 200).map(failureOf))].slice(0, 5),
  };
}

function failureOf({ failure, status, chunks }) {
  return failure ?? `${status}: ${chunks.map(([, text]) => text).join('')}`.slice(0, 200);
}

/** Clients that come and leave at random for so many seconds: some read to the end, some leave at once, some in between. */
async function crowd({ url, clients, seconds, seed, ...what }) {
  const counts = { asked: 0, whole: 0, left: 0, refused: 0, failed: 0 };
  const failures = new Set();
  const over = new AbortController();
  setMaxListeners(0, over.signal);
  const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY });
  const client = async (_, index) => {
    const next = random(seed + index);
    for (let turn = 0; !over.signal.aborted; turn++) {
      await delay(1000 * seconds * 0.25 * next(), undefined, { signal: over.signal }).catch(() => undefined);
      if (over.signal.aborted) return;
      const sizes = {
        promptLength: 1 + Math.floor(next() * what.promptLength),
        newTokens: 1 + Math.floor(next() * what.newTokens),
      };
      const body = bodyOf({ ...what, ...sizes, seed: seed + 1000 * turn }, index);
      if (next() < 0.25) Object.assign(body, { stream: false, stream_options: null });
      const leave = next() < 0.5 ? AbortSignal.timeout(Math.floor(3000 * next() ** 2)) : undefined;
      const signals = [over.signal, ...(leave === undefined ? [] : [leave])];
      count(counts, failures, await ask(url, body, { agent, leave: AbortSignal.any(signals) }));
    }
  };
  const ending = setTimeout(() => over.abort(), 1000 * seconds);
  await Promise.all(Array.from({ length: clients }, client));
  clearTimeout(ending);
  return { ...counts, failures: [...failures].slice(0, 5) };
}

function count(counts, failures, seen) {
  counts.asked++;
  if (seen.status === 200) counts.whole++;
  else if (seen.failure === 'left') counts.left++;
  else if (seen.status === 429 || seen.status === 503) counts.refused++;
  else {
    counts.failed++;
    failures.add(failureOf(seen));
  }
}

const kinds = { answers, crowd };
for await (const line of createInterface({ input: process.stdin })) {
  const { kind, ...what } = JSON.parse(line);
  const reply = await kinds[kind](what).catch((error) => ({ error: String(error.stack ?? error) }));
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
