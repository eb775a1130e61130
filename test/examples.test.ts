/** The programs of examples/ run as a newcomer runs them, and do what they promise. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { device } from './device.ts';

const root = join(import.meta.dirname, '..');

/** What `npx tsx examples/<name>.ts` prints. */
async function run(name: string, ...args: string[]): Promise<string> {
  const options = { cwd: root, timeout: 110_000 };
  const { stdout } = await promisify(execFile)(process.execPath, argumentsOf(name, ...args), options);
  return stdout;
}

function argumentsOf(name: string, ...args: string[]): string[] {
  return ['--import', 'tsx', `examples/${name}.ts`, device, ...args];
}

/** The numbers that stand behind `word` in `text`, in their order. */
function numbersBehind(word: string, text: string): number[] {
  return [...text.matchAll(new RegExp(`${word} (-?[\\d.]+)`, 'g'))].map(([, number]) => Number(number));
}

describe('examples', () => {
  it('are complete programs under 100 lines, and all run here', () => {
    expect(readdirSync(join(root, 'examples')).sort()).toEqual([
      'language-model.ts',
      'resume.ts',
      'reward-model.ts',
      'rlhf.ts',
      'walk',
    ]);
    for (const name of readdirSync(join(root, 'examples')).filter((name) => name !== 'walk')) {
      expect(readFileSync(join(root, 'examples', name), 'utf8').split('\n').length).toBeLessThan(100);
    }
  });

  it('train a language model to memorise a poem', async () => {
    const text = await run('language-model');
    const losses = numbersBehind('loss', text);
    expect(losses.at(0)).toBeGreaterThan(4);
    expect(losses.at(-1)).toBeLessThan(0.2);
    expect(text).toContain('Who has seen the wind?\nNeither I nor you:\nBut when the leaves hang trembling,\n');
  });

  it('resume a custom loop after a stop or kill with the same numbers', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'palm-example-'));
    const [straight, stopped] = [join(folder, 'straight'), join(folder, 'stopped')];
    const whole = await run('resume', straight);
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const child = execFile(process.execPath, argumentsOf('resume', stopped), { cwd: root });
      const ended = once(child, 'exit');
      child.stdout?.on('data', (text) => {
        if (String(text).includes('loss') && !child.killed) child.kill(signal);
      });
      await ended;
    }
    const rest = await run('resume', stopped);
    expect(numbersBehind('from step', rest).at(0)).toBeGreaterThan(0);
    expect(numbersBehind('loss', rest).at(-1)).toBe(numbersBehind('loss', whole).at(-1));
    expect(numbersBehind('loss', whole).at(-1)).toBeLessThan(0.5);
    rmSync(folder, { recursive: true });
  });

  it('train a reward model that rates new answers', async () => {
    const text = await run('reward-model');
    const losses = numbersBehind('loss', text);
    expect(losses.at(-1)).toBeLessThan((losses[0] as number) - 0.5);
    const rated = numbersBehind('rated', text);
    const predicted = numbersBehind('predicted', text);
    expect(rated).toHaveLength(5);
    const misses = rated.map((rating, row) => Math.abs(rating - (predicted[row] as number)));
    expect(misses.reduce((sum, miss) => sum + miss, 0) / misses.length).toBeLessThan(0.75);
  });

  it('turn a model that counts both ways into one that counts up', async () => {
    const text = await run('rlhf');
    const scores = numbersBehind('score', text);
    expect(scores).toHaveLength(10);
    expect(scores.at(0)).toBeLessThan(0.65);
    expect(scores.at(-1)).toBeGreaterThan(0.8);
    expect(numbersBehind('model', text).at(0)).toBe(0);
    expect(text).toContain('best of ten: 7 8 9 0 1 2 3 4 5 6\n');
  });
});
