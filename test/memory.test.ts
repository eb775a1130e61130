/** What a long run holds: as many tensors after 500 steps as after 100, and no more memory. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Held } from './memory/steps.ts';

const MiB = 2 ** 20;
// A leak of a step's logits would add 50 MiB over the 400 steps; allocators and the garbage collector wander less.
const WANDER = 24 * MiB;

describe.each(['training', 'generation'] as const)('500 times: %s', (work) => {
  let held: Held[];

  beforeAll(async () => {
    held = (await measured())[work].slice(1); // the first hundred fill caches
  });

  it('holds no more tensors', () => {
    const first = held[0] as Held;
    expect(held.map(({ liveTensors }) => liveTensors)).toEqual(held.map(() => first.liveTensors));
    expect(held.map(({ liveBytes }) => liveBytes)).toEqual(held.map(() => first.liveBytes));
  });

  it('holds no more memory', () => {
    const resident = held.map((sample) => sample.resident);
    expect(Math.max(...resident) - (resident[0] as number)).toBeLessThan(WANDER);
  });
});

let run: Promise<Record<'training' | 'generation', Held[]>> | undefined;

/** Both measurements, from one process of their own: this one's memory is vitest's. */
function measured() {
  run ??= (async () => {
    const program = fileURLToPath(new URL('memory/steps.ts', import.meta.url));
    const env = { ...process.env, OMP_NUM_THREADS: '1' }; // sizes where a second thread would only wait
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--expose-gc', program], {
      env,
    });
    return JSON.parse(stdout) as Record<'training' | 'generation', Held[]>;
  })();
  return run;
}
