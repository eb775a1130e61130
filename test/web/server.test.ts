/** Which requests reach a server, by the names they use and the time they take. */
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Hono } from 'hono';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allowedHosts, isLoopback } from '../../src/web/hosts.ts';
import { checkReach } from '../../src/web/hosts.ts';
import { type Listening, listen } from '../../src/web/server.ts';
import { rawRequest } from './raw-request.ts';

const OPTIONS = { host: '127.0.0.1', port: 0, allowedHosts: ['palm.example'], maxConnections: 300 };
let server: Listening;
let reached = 0;
beforeAll(async () => {
  const app = new Hono();
  app.all('*', (context) => {
    reached++;
    return context.text('here');
  });
  server = await listen(app.fetch, OPTIONS);
});
afterAll(() => server.close());

const head = (lines: readonly string[]) => `${lines.join('\r\n')}\r\nConnection: close\r\n\r\n`;
const status = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);

describe('requests by where they say that they go', () => {
  const port = () => new URL(server.url).port;

  it.each([
    ['its address', () => `127.0.0.1:${port()}`],
    ['a name of this machine', () => `localhost:${port()}`],
    ['that name in capitals', () => `LOCALHOST:${port()}`],
    ['the address of version 6', () => `[::1]:${port()}`],
    ['a name that was allowed', () => 'palm.example'],
  ])('answers %s', async (_, host) => {
    expect(status(await rawRequest(server.url, head(['GET / HTTP/1.1', `Host: ${host()}`])))).toBe(200);
  });

  it.each([
    ['another name', () => ['GET / HTTP/1.1', 'Host: evil.example']],
    ['an address as the beginning of a name', () => ['GET / HTTP/1.1', `Host: 127.0.0.1.evil.example:${port()}`]],
    ['no port', () => ['GET / HTTP/1.1', 'Host: 127.0.0.1']],
    ['another port', () => ['GET / HTTP/1.1', 'Host: 127.0.0.1:1']],
    ['nothing', () => ['GET / HTTP/1.1', 'Host:']],
    ['only a port', () => ['GET / HTTP/1.1', `Host: :${port()}`]],
    ['two names', () => ['GET / HTTP/1.1', `Host: 127.0.0.1:${port()}`, 'Host: evil.example']],
    ['a whole address', () => [`GET http://evil.example/ HTTP/1.1`, `Host: 127.0.0.1:${port()}`]],
    ['HTTP/1.0', () => ['GET / HTTP/1.0', `Host: 127.0.0.1:${port()}`]],
    ['HTTP/1.0 without a name', () => ['GET / HTTP/1.0']],
  ])('refuses %s before anything else sees it', async (_, lines) => {
    const before = reached;
    const answer = await rawRequest(server.url, head(lines()));
    expect(status(answer)).toBe(421);
    expect(JSON.parse(answer.slice(answer.indexOf('{'))).error.code).toBe('misdirected');
    expect(reached).toBe(before);
  });

  it('knows which addresses stay in this machine', () => {
    for (const host of ['localhost', '127.0.0.1', '127.8.9.10', '::1', '[::1]']) expect(isLoopback(host)).toBe(true);
    for (const host of ['0.0.0.0', '::', '127.0.0.1.evil.example', '128.0.0.1', ''])
      expect(isLoopback(host)).toBe(false);
  });

  it('needs no port with port 80, and names other addresses by themselves alone', () => {
    expect(allowedHosts('127.0.0.1', 80, [])).toContain('localhost');
    expect([...allowedHosts('10.0.0.1', 8000, ['a.example:9', 'b.example'])]).toEqual([
      ...['10.0.0.1:8000', 'a.example:9', 'b.example', 'b.example:8000'],
    ]);
  });
});

describe('addresses', () => {
  it('are other machines’ only with a key and a name', () => {
    const outside = { ...OPTIONS, host: '0.0.0.0', allowedHosts: [] };
    expect(() => checkReach(outside, [])).toThrow(/without --api-key and --allowed-host/);
    expect(() => checkReach(outside, ['key'])).toThrow(/without --allowed-host/);
    expect(() => checkReach({ ...outside, allowedHosts: ['a'] }, [])).toThrow(/without --api-key/);
    checkReach({ ...outside, allowedHosts: ['a'] }, ['key']);
    checkReach({ ...outside, host: '::1' }, []);
  });

  it('that are taken are an error with a way out', async () => {
    const port = Number(new URL(server.url).port);
    const again = listen(() => new Response(), { ...OPTIONS, port });
    await expect(again).rejects.toThrow(/another program listens at.*--port 0/);
    await expect(listen(() => new Response(), { ...OPTIONS, host: '192.0.2.1' })).rejects.toThrow(/--host/);
  });
});

describe('slow clients', () => {
  it('end, and others are answered meanwhile', async () => {
    const { port } = new URL(server.url);
    const sockets: Socket[] = [];
    const ended = Array.from({ length: 200 }, (_, i) => {
      const socket = connect(Number(port), '127.0.0.1', () => {
        if (i % 2 === 0) socket.write('GET / HTTP/1.1\r\nHost: 127'); // the rest never comes
      });
      sockets.push(socket);
      return new Promise<void>((resolve) => {
        socket.on('error', () => undefined).on('close', () => resolve());
        socket.resume();
      });
    });
    await delay(200);
    expect(await (await fetch(server.url)).text()).toBe('here');
    await Promise.race([Promise.all(ended), delay(20_000)]);
    expect(sockets.filter(({ destroyed }) => !destroyed)).toEqual([]);
  }, 30_000);
});
