/** `palm watch` as a command: what it prints, what it refuses, and how it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { watchCommand } from '../../src/cli/watch.ts';
import { ArgumentError } from '../../src/errors.ts';
import { packagePath } from '../../src/package.ts';
import { capturePrinted, palm } from '../command-line.ts';
import { runFolder } from './run-folder.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-watch-command-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

/** The command as users start it, once it has printed its address. */
async function started(...args: string[]): Promise<{ child: ChildProcess; url: string; errors: () => string }> {
  const child = spawn(process.execPath, [packagePath('dist', 'cli', 'main.js'), 'watch', ...args]);
  let errors = '';
  child.stderr?.on('data', (text) => {
    errors += text;
  });
  const [line] = await once(child.stdout as NodeJS.ReadableStream, 'data');
  return { child, url: String(line).trim(), errors: () => errors };
}

describe('palm watch', () => {
  it('prints its address, shows runs there, and ends with Ctrl-C while a page listens', async () => {
    const path = runFolder(join(folder, 'run'), 5);
    const { child, url, errors } = await started(path, join(folder, 'nothing'));
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(errors()).toBe(`${join(folder, 'nothing')}: waiting for a run\n`);
    const states = async () => {
      const { runs } = (await (await fetch(`${url}/api/run`)).json()) as { runs: { state: string; step: number }[] };
      return runs.map(({ state, step }) => [state, step]);
    };
    await expect.poll(states).toEqual([['stopped', 5], ['waiting', 0]]); // biome-ignore format: pairs
    const news = await fetch(`${url}/events`);
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([0, null]);
    await expect(news.text()).rejects.toThrow();
  });

  it('prints an address with its key, and needs one where others can reach it', async () => {
    const path = runFolder(join(folder, 'keyed'), 5);
    const { child, url } = await started(path, '--api-key', 'a-long-key!');
    expect(url).toMatch(/\/#key=a-long-key!$/);
    const ask = (headers: Record<string, string>) => fetch(new URL('/api/run', url), { headers });
    expect((await ask({})).status).toBe(401);
    expect((await ask({ authorization: 'Bearer a-long-key!' })).status).toBe(200);
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    const open = palm(watchCommand(), path, '--host', '0.0.0.0');
    await expect(open).rejects.toThrow(ArgumentError);
    await expect(open).rejects.toThrow('--api-key and --allowed-host');
  });

  it('refuses ports that are none, or are taken', async () => {
    for (const port of ['x', '-1', '65536', '1.5'])
      await expect(palm(watchCommand(), folder, '--port', port)).rejects.toThrow(
        'It must be a whole number up to 65535.',
      );
    const { child, url } = await started(folder);
    const taken = palm(watchCommand(), folder, '--port', new URL(url).port);
    await expect(taken).rejects.toThrow('which another program listens at');
    child.kill('SIGINT');
    await once(child, 'exit');
  });
});
