/** Streams of events: what is sent, and when they are given up. */
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Hono } from 'hono';
import { expect, it } from 'vitest';
import { eventStream, type ServerEvent } from '../../src/web/events.ts';
import { listen } from '../../src/web/server.ts';

const OPTIONS = { host: '127.0.0.1', port: 0, allowedHosts: [], maxConnections: 10 };
const failed = (error: unknown) => [{ event: 'error', data: `${error}` }];

function appOf(source: () => AsyncGenerator<ServerEvent>, times: { stallMs?: number; pingMs?: number } = {}) {
  const app = new Hono();
  app.get('/', (context) => eventStream(context, source(), { failed, ...times }));
  return app;
}

it('has events with names and without, comments in between, and what failed at the end', async () => {
  async function* source() {
    yield { data: 'one' };
    await delay(100);
    yield { event: 'two', data: '{}' };
    throw new Error('broken');
  }
  const text = await (await appOf(source, { pingMs: 30 }).request('/')).text();
  expect(text.replaceAll(': ping\n\n', '')).toBe(
    'data: one\n\nevent: two\ndata: {}\n\nevent: error\ndata: Error: broken\n\n',
  );
  expect(text).toContain('data: one\n\n: ping\n\n');
});

/** Endless events of 64 kB, and whether they have been left. */
function endless() {
  const state = { left: false };
  async function* source() {
    try {
      for (;;) yield { data: 'x'.repeat(65_536) };
    } finally {
      state.left = true;
    }
  }
  return { state, source };
}

it('is left when the reader goes', async () => {
  const { state, source } = endless();
  const server = await listen(appOf(source).fetch, OPTIONS);
  const leaving = new AbortController();
  const response = await fetch(server.url, { signal: leaving.signal });
  await response.body?.getReader().read();
  leaving.abort();
  await expect.poll(() => state.left).toBe(true);
  await server.close();
});

it('is left when the reader takes nothing for too long, and the connection ends', async () => {
  const { state, source } = endless();
  const server = await listen(appOf(source, { stallMs: 200 }).fetch, OPTIONS);
  const { host, port } = new URL(server.url);
  const socket = connect(Number(port), '127.0.0.1', () => socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
  socket.pause().on('error', () => undefined);
  await expect.poll(() => state.left, { timeout: 5000 }).toBe(true);
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.resume(); // what was underway arrives, then the end
  await closed;
  await server.close();
});

it('is not read ahead of its reader', async () => {
  let taken = 0;
  async function* source() {
    for (; ; taken++) yield { data: `${taken}` };
  }
  const reader = (await appOf(source).request('/')).body?.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  await delay(10);
  expect(taken).toBe(0);
  const texts = [];
  for (let i = 0; i < 3; i++) texts.push(new TextDecoder().decode((await reader.read()).value));
  expect(texts).toEqual(['data: 0\n\n', 'data: 1\n\n', 'data: 2\n\n']);
  await delay(10);
  expect(taken).toBe(2);
  await reader.cancel();
});
