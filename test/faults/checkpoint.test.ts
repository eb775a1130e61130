/** Whatever stops a run, wherever: the next start goes on, and ends with the bytes of the run that nothing stopped. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { record, times } from './report.ts';
import { type Ended, Runs } from './runs.ts';

const runs = new Runs();
const trainers = ['pretrain', 'reward', 'ppo'];
beforeAll(() => runs.prepare(), 120_000);
afterAll(() => runs.dispose());
const LONG = 1_800_000;

/** Starts what was stopped again, until it is done, and compares it with the run that nothing stopped. */
async function goOn(command: string, name: string, ...args: string[]): Promise<Ended> {
  const began = existsSync(join(runs.path(name), 'config.json'));
  const ended = await runs.run(command, name, began ? ['--resume', ...args] : args);
  expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null });
  expect(runs.results(name)).toEqual(runs.results(`straight-${command}`));
  expect(runs.strays(name)).toEqual([]);
  return ended;
}

/** How many calls a straight run makes that change its checkpoints. */
async function countCalls(command: string): Promise<number> {
  const path = runs.path('calls');
  const { code } = await runs.run(command, 'counted', [], { PALM_FAULT: 'count:0', PALM_FAULT_COUNT: path });
  expect(code).toBe(0);
  runs.remove('counted');
  return Number(readFileSync(path, 'utf8'));
}

/** `count` of the numbers 1 to `most`, spread evenly, the last among them. */
function spread(count: number, most: number): number[] {
  const wanted = Math.min(count, most);
  return Array.from({ length: wanted }, (_, i) => Math.round(((i + 1) * most) / wanted));
}

/** Numbers in [0, 1) that are the same every time. */
function* fractions(): Generator<number> {
  for (let i = 1; ; i++) yield (i * 0.6180339887498949) % 1;
}

describe('a run is killed', () => {
  it.each([
    ['kill', 'SIGKILL before each call that changes the disk', times(5, 10_000)],
    ['tear', 'the same, after half of what it would have written', times(3, 10_000)],
    ['power', 'the same, and all is lost that was not synced', times(3, 10_000)],
  ])(
    '%s: at every step of a save',
    async (kind, fault, count) => {
      const calls = await countCalls('pretrain');
      const points = spread(count, calls);
      for (const n of points) {
        const ended = await runs.run('pretrain', 'crash', [], { PALM_FAULT: `${kind}:${n}` });
        expect(ended, ended.stderr).toMatchObject({ signal: 'SIGKILL' });
        await goOn('pretrain', 'crash');
        runs.remove('crash');
      }
      record({
        promise: 'a run goes on from its last whole checkpoint and ends as if nothing had been',
        fault,
        times: points.length,
        outcome: 'bitwise the uninterrupted run',
      });
    },
    LONG,
  );

  it.each(trainers)(
    '%s: at any moment',
    async (command) => {
      const count = times(3, 34);
      const began = performance.now();
      await runs.run(command, 'timed');
      const duration = performance.now() - began;
      runs.remove('timed');
      const moments = fractions();
      for (let i = 0; i < count; i++) {
        // Twice in a row: what goes on can be killed as well.
        for (const args of [[], ['--resume']]) {
          if (args.length > 0 && !existsSync(join(runs.path('killed'), 'config.json'))) continue;
          const { child, ended } = runs.start(command, 'killed', args);
          await Promise.race([ended, delay(duration * (0.2 + 0.8 * (moments.next().value as number)))]);
          child.kill('SIGKILL');
          await ended;
        }
        await goOn(command, 'killed');
        runs.remove('killed');
      }
      record({
        promise: `A run of palm ${command} can be killed at any moment`,
        fault: 'SIGKILL at a random moment, and again after resuming',
        times: count,
        outcome: 'weights, optimizer, state and metrics.jsonl bitwise those of the uninterrupted run',
      });
    },
    LONG,
  );
});

describe('a disk refuses', () => {
  it.each(['ENOSPC', 'EIO', 'EACCES', 'short'])(
    '%s once',
    async (kind) => {
      const calls = await countCalls('pretrain');
      const points = spread(times(4, 10_000), calls);
      for (const n of points) {
        const { code, signal, stderr } = await runs.run('pretrain', 'refused', [], { PALM_FAULT: `${kind}:${n}` });
        expect(signal).toBeNull();
        if (code !== 0) {
          // Only before the first step, when there is nothing to lose: then the command says why and ends.
          expect(stderr).toMatch(/^error: /m);
          const metrics = join(runs.path('refused'), 'metrics.jsonl');
          expect(existsSync(metrics) ? readFileSync(metrics, 'utf8') : '', `at call ${n}`).toBe('');
        }
        await goOn('pretrain', 'refused');
        runs.remove('refused');
      }
      const fault = kind === 'short' ? 'a write writes half, at each write' : `${kind} from each call of a save`;
      const outcome = 'a warning and another try at the next step; the run is bitwise as without';
      record({ promise: 'one failure of the disk costs nothing', fault, times: points.length, outcome });
    },
    LONG,
  );

  it(
    'for good: the run ends with an error, and what was saved is whole',
    async () => {
      const calls = await countCalls('pretrain');
      const points = spread(times(3, 40), calls - 12);
      for (const n of points) {
        const { code, stderr } = await runs.run('pretrain', 'full', [], { PALM_FAULT: `ENOSPC:${n}+` });
        expect(code, stderr).toBe(1);
        expect(stderr).toMatch(/^error: .*the disk is full/m);
        await goOn('pretrain', 'full');
        runs.remove('full');
      }
      record({
        promise: 'a disk that stays full ends the run after three tries, with what was saved before whole',
        fault: 'ENOSPC from a call on',
        times: points.length,
        outcome: 'a typed error; with room again the run goes on and is bitwise as without',
      });
    },
    LONG,
  );
});

describe('a checkpoint is damaged', () => {
  const files = ['weights.safetensors', 'optimizer.safetensors', 'state.json', 'manifest.json'];
  const damages: [string, (bytes: Buffer, at: number) => Buffer][] = [
    ['one bit', (bytes, at) => Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ 4 : byte)))],
    ['the end', (bytes) => bytes.subarray(0, -2)],
  ];

  it.each(files)(
    '%s',
    async (file) => {
      const moments = fractions();
      const count = times(1, 10);
      for (let i = 0; i < count; i++) {
        for (const [, damage] of damages) {
          runs.copy('straight-pretrain', 'damaged');
          const newest = join(runs.path('damaged'), 'checkpoints', 'step-000010');
          const bytes = readFileSync(join(newest, file));
          const at = Math.floor((moments.next().value as number) * bytes.length);
          writeFileSync(join(newest, file), damage(bytes, at));

          const asked = await runs.run('pretrain', 'damaged', ['--resume', newest]);
          expect(asked.code, asked.stderr).toBe(4);
          expect(asked.stderr).toContain(join(newest, file));

          const { stderr } = await goOnFromDamaged();
          expect(stderr).toContain(`warning: ${join(newest, file)}`);
          expect(stderr).toContain('resuming from step 9');
          runs.remove('damaged');
        }
      }
      record({
        promise: 'a damaged checkpoint is named and never loaded',
        fault: `a bit of ${file} flipped, or its end cut off`,
        times: count * damages.length,
        outcome: 'exit 4 where it was asked for by name; else the one before is taken, with a warning',
      });
    },
    LONG,
  );

  // The damaged one is set aside, so it is no stray of ours.
  async function goOnFromDamaged(): Promise<Ended> {
    const ended = await runs.run('pretrain', 'damaged', ['--resume']);
    expect(ended.code, ended.stderr).toBe(0);
    expect(runs.results('damaged')).toEqual(runs.results('straight-pretrain'));
    return ended;
  }

  it('every one: nothing is begun anew over them', async () => {
    runs.copy('straight-pretrain', 'ruined');
    const checkpoints = join(runs.path('ruined'), 'checkpoints');
    for (const name of readdirSync(checkpoints).filter((entry) => entry.startsWith('step-'))) {
      writeFileSync(join(checkpoints, name, 'manifest.json'), '{}');
    }
    const before = readFileSync(join(runs.path('ruined'), 'metrics.jsonl'));
    expect((await runs.run('pretrain', 'ruined', ['--resume'])).code).toBe(4);
    expect(readFileSync(join(runs.path('ruined'), 'metrics.jsonl'))).toEqual(before);
    runs.remove('ruined');
  });
});

describe('one writer', () => {
  it('a second trainer is refused and told the process', async () => {
    const first = runs.start('pretrain', 'shared', ['--steps', '2000']);
    while (!existsSync(join(runs.path('shared'), 'config.json'))) await delay(5);
    const second = await runs.run('pretrain', 'shared', ['--resume']);
    first.child.kill('SIGKILL');
    await first.ended;
    expect(second.code).toBe(5);
    expect(second.stderr).toContain(`held by process ${first.child.pid}`);
    runs.remove('shared');
    const outcome = 'exit 5 with the number of the process; the first goes on';
    record({ promise: 'one process writes to a run', fault: 'a second trainer', times: 1, outcome });
  });

  it.each([
    ['a process that has ended', { pid: 2 ** 22 + 1, started: '1', host: undefined }],
    ['another process that got its number', { pid: process.pid, started: '1', host: undefined }],
    ['nothing that can be read', 'half a lo'],
  ])('the lock of %s is taken over', async (_what, holder) => {
    const { hostname } = await import('node:os');
    const checkpoints = join(runs.path('stale'), 'checkpoints');
    mkdirSync(checkpoints, { recursive: true });
    const text = typeof holder === 'string' ? holder : JSON.stringify({ ...holder, host: hostname() });
    writeFileSync(join(checkpoints, 'lock'), text);
    expect((await runs.run('pretrain', 'stale')).code).toBe(0);
    expect(runs.strays('stale')).toEqual([]);
    runs.remove('stale');
  });

  it('the lock of another machine is respected', async () => {
    const checkpoints = join(runs.path('elsewhere'), 'checkpoints');
    mkdirSync(checkpoints, { recursive: true });
    writeFileSync(join(checkpoints, 'lock'), JSON.stringify({ pid: 1, started: '1', host: 'elsewhere.example' }));
    const { code, stderr } = await runs.run('pretrain', 'elsewhere');
    expect(code).toBe(5);
    expect(stderr).toContain('"elsewhere.example"');
    runs.remove('elsewhere');
  });
});
