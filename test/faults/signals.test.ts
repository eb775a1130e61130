/** Signals end a run so that it can go on, wherever it is, also in the middle of a rollout. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { record, times } from './report.ts';
import { Runs } from './runs.ts';

const runs = new Runs();
beforeAll(() => runs.prepare(), 120_000);
afterAll(() => runs.dispose());
const LONG = 1_800_000;
const CODES = { SIGINT: 130, SIGTERM: 143, SIGUSR2: 0 } as const;

const metrics = (name: string) => join(runs.path(name), 'metrics.jsonl');
const lines = (name: string) =>
  existsSync(metrics(name)) ? readFileSync(metrics(name), 'utf8').split('\n').length - 1 : 0;

/** Waits until a run listens to signals. */
async function listening(name: string): Promise<void> {
  while (!existsSync(join(runs.path(name), 'config.json'))) await delay(2);
}

describe('ends after the step, and can go on', () => {
  it.each(Object.keys(CODES) as (keyof typeof CODES)[])(
    '%s at random moments',
    async (signal) => {
      const count = times(2, 17);
      for (let i = 0; i < count; i++) {
        const command = ['pretrain', 'reward', 'ppo'][i % 3] as string;
        const { child, ended } = runs.start(command, 'stopped');
        await listening('stopped');
        await delay(((i * 0.618) % 1) * 150);
        child.kill(signal);
        const { code, stderr } = await ended;
        const done = existsSync(join(runs.path('stopped'), 'model.safetensors'));
        // Once all is done nobody listens any more, and the signal may come before the process has ended.
        expect(done ? [0, null] : [CODES[signal]], stderr).toContain(code);
        if (!done) expect(stderr).toMatch(/Resume with: palm \w+ .*--resume$/m);
        const again = await runs.run(command, 'stopped', ['--resume']);
        expect(again.code, again.stderr).toBe(0);
        expect(runs.results('stopped')).toEqual(runs.results(`straight-${command}`));
        runs.remove('stopped');
      }
      const outcome = `exit ${CODES[signal]} with the command that goes on; resumed, bitwise the uninterrupted run`;
      record({
        promise: 'a signal ends a run after its step',
        fault: `${signal} at a random moment`,
        times: count,
        outcome,
      });
    },
    LONG,
  );

  it(
    'SIGTERM in the middle of a rollout',
    async () => {
      const count = times(1, 10);
      for (let i = 0; i < count; i++) {
        // Each of its rollouts takes seconds, so that is where the signal comes.
        const slow = ['--steps', '3', '--rolloutBatch', '20', '--sampling.samplesPerPrompt', '8'];
        const { child, ended } = runs.start('ppo', 'rolling', [...slow, '--sampling.maxNewTokens', '900']);
        await listening('rolling');
        await delay(300 + 40 * i);
        child.kill('SIGTERM');
        const { code, stderr } = await ended;
        expect(code, stderr).toBe(143);
        expect(lines('rolling')).toBe(0); // not one step was done: the rollout was ended
        runs.remove('rolling');
      }
      const outcome = 'exit 143 at the next token; the state before the step is saved';
      record({ promise: 'a rollout need not end first', fault: 'SIGTERM in a rollout', times: count, outcome });
    },
    LONG,
  );
});

it('SIGINT twice ends at once, and what was saved is whole', async () => {
  const count = times(1, 10);
  for (let i = 0; i < count; i++) {
    const { child, ended } = runs.start('pretrain', 'twice', ['--steps', '20000']);
    await listening('twice');
    await delay(200);
    child.kill('SIGINT');
    child.kill('SIGINT');
    const { code, signal } = await ended;
    expect([code, signal]).toEqual([130, null]);
    const again = await runs.run('pretrain', 'twice', ['--resume', '--steps', '10']);
    expect([0, 2]).toContain(again.code);
    runs.remove('twice');
  }
  const outcome = 'exit 130 at once; the checkpoint that was being written is the old one or the new one';
  record({ promise: 'a second SIGINT ends at once', fault: 'SIGINT twice', times: count, outcome });
}, 600_000);

it('SIGUSR1 saves and goes on', async () => {
  const args = ['--steps', '400', '--checkpoint.every', '100000', '--checkpoint.keep', '1000'];
  const { child, ended } = runs.start('pretrain', 'saved', args);
  await listening('saved');
  while (lines('saved') < 20) await delay(2);
  child.kill('SIGUSR1');
  expect((await ended).code).toBe(0);
  const saved = readdirSync(join(runs.path('saved'), 'checkpoints')).filter((name) => name.startsWith('step-'));
  expect(saved).toHaveLength(2); // the one that was asked for, and the last
  runs.remove('saved');
});
