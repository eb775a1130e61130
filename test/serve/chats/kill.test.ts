/** A server that is killed while people vote: what it has acknowledged is there, once. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { Random } from '../../../src/data/random.ts';
import { LockedError } from '../../../src/errors.ts';
import { Database } from '../../../src/serve/chats/database.ts';
import type { ShownTree } from '../../../src/serve/chats/shown.ts';
import { CHATS_FILE, ChatStore } from '../../../src/serve/chats/store.ts';

const CLIENTS = 50;
const KILLS = 4;
const program = fileURLToPath(new URL('server-process.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'palm-kill-'));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

/** Starts a server on the chats, and returns its address. */
async function start(): Promise<{ url: string; child: ChildProcess }> {
  const child = spawn(process.execPath, ['--import', 'tsx', program, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  for await (const url of createInterface({ input: child.stdout as NodeJS.ReadableStream })) return { url, child };
  throw new Error('the server did not start');
}

async function post<T>(url: string, path: string, body: object, key: string): Promise<T> {
  const headers = { 'content-type': 'application/json', 'idempotency-key': key };
  const answer = await fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return (answer.headers.get('content-type') ?? '').includes('json')
    ? ((await answer.json()) as T)
    : ((await answer.text()) as T);
}

it('keeps every vote of 50 people that it has acknowledged, once', { timeout: 300_000 }, async () => {
  const random = new Random(5);
  let { url, child } = await start();
  await expect(ChatStore.open(folder)).rejects.toThrow(LockedError);
  const { id } = await post<{ id: string }>(url, '/api/chats', { parameters: { n: 4 } }, 'chat');
  await post(url, `/api/chats/${id}/messages`, { parent: null, text: 'a river?' }, 'message');
  const tree = (await (await fetch(`${url}/api/chats/${id}`)).json()) as ShownTree;
  const answers = tree.messages.filter(({ role }) => role === 'assistant').map((one) => one.id);

  /** By key, what was acknowledged. */
  const acknowledged = new Map<string, { message: string; value: number }>();
  let retries = 0;
  let over = false;
  const client = async (name: number) => {
    const own = new Random(name);
    for (let i = 0; !over; i++) {
      const key = `${name}-${i}`;
      const message = answers[own.int(answers.length)] as string;
      const value = own.int(3) - 1;
      // Whoever gets no answer cannot know what has happened, and asks again with the same key.
      while (!acknowledged.has(key) && !(over && i > 0)) {
        try {
          await post(url, `/api/messages/${message}/vote`, { value }, key);
          acknowledged.set(key, { message, value });
        } catch {
          retries++;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    }
  };
  /** Waits until so many more votes are acknowledged. */
  const acknowledge = async (more: number) => {
    const enough = acknowledged.size + more;
    while (acknowledged.size < enough) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  const clients = Array.from({ length: CLIENTS }, (_, i) => client(i));
  for (let kill = 0; kill < KILLS; kill++) {
    await acknowledge(CLIENTS + random.int(CLIENTS));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    ({ url, child } = await start());
  }
  await acknowledge(CLIENTS);
  over = true;
  await Promise.all(clients);
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));

  expect(retries).toBeGreaterThan(CLIENTS); // the kills came while votes were on their way
  const store = await ChatStore.open(folder);
  await store.close();
  const database = await Database.open(join(folder, CHATS_FILE));
  expect(database.all('PRAGMA integrity_check')).toMatchObject([{ integrity_check: 'ok' }]);
  const keys = database.all("SELECT key, response FROM mutation WHERE key LIKE '%-%'") as Stored[];
  const stored = new Map(keys.map(({ key, response }) => [key, JSON.parse(response) as { id: string; value: number }]));
  for (const [key, { message, value }] of acknowledged) expect(stored.get(key)).toEqual({ id: message, value });
  // Each key is one vote: no vote without its key, and none twice.
  const count = (rows: readonly (readonly [string, number])[]) => {
    const counts = new Map<string, number>();
    for (const [message, value] of rows)
      counts.set(`${message} ${value}`, (counts.get(`${message} ${value}`) ?? 0) + 1);
    return [...counts].sort();
  };
  const votes = database.all('SELECT message, value FROM vote') as { message: string; value: number }[];
  database.close();
  expect(count(votes.map(({ message, value }) => [message, value]))).toEqual(
    count([...stored.values()].map((one) => [one.id, one.value])),
  );
});

interface Stored {
  key: string;
  response: string;
}
