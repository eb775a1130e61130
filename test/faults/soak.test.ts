/** Long runs with failures mixed in hold no more at the end than at the beginning. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { record, times } from './report.ts';
import type { Sample, Soaked } from './soak-work.ts';

const MiB = 2 ** 20;
const WORK = [
  // Somewhere around the 3,000th step V8 takes 5 MB more, once: the slope is that of what comes after.
  ['training', times(1_000, 10_000), 'steps', 'wrong arguments, memory that runs out, disposed tensors'],
  [
    'generation',
    times(1_000, 4_000),
    'answers',
    'wrong arguments, memory that runs out, aborted and abandoned streams',
  ],
] as const;
// In a short run allocators and the garbage collector still find their place.
const WANDER = times(2, 0) * MiB;

/** What a run holds, from a process of its own: this one's memory is vitest's. */
async function soak(work: string, turns: number): Promise<Soaked> {
  const program = fileURLToPath(new URL('soak-work.ts', import.meta.url));
  const args = ['--import', 'tsx', '--expose-gc', program, work, String(turns)];
  const env = { ...process.env, OMP_NUM_THREADS: '1' }; // sizes where a second thread would only wait
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  return JSON.parse(stdout) as Soaked;
}

/** Resident bytes that come with every turn: the slope of the straight line through the samples. */
function slope(samples: readonly Sample[]): number {
  const mean = (of: (sample: Sample) => number) => samples.reduce((sum, each) => sum + of(each), 0) / samples.length;
  const turn = mean((sample) => sample.turn);
  const resident = mean((sample) => sample.resident);
  const rise = mean((sample) => (sample.turn - turn) * (sample.resident - resident));
  return rise / mean((sample) => (sample.turn - turn) ** 2);
}

describe.each(WORK)('%s, again and again', (work, turns, unit, faults) => {
  it('leaves no tensor, no block and no memory behind', async () => {
    const { samples, failures } = await soak(work, turns);
    expect(failures).toBe(turns / 5);
    const first = samples[0] as Sample;
    expect(samples.map(({ liveTensors }) => liveTensors)).toEqual(samples.map(() => first.liveTensors));
    expect(samples.map(({ usedBytes }) => usedBytes)).toEqual(samples.map(() => first.usedBytes));

    const later = samples.slice(samples.length / 2);
    const growth = slope(later) * (turns / 2);
    expect(growth).toBeLessThan(Math.max((turns / 2) * (MiB / 1000), WANDER));
    record({
      promise: 'Nothing leaks, whatever fails',
      fault: `${failures} failures among ${turns} ${unit}: ${faults}`,
      times: turns,
      outcome: `no more tensors; ${((slope(later) * 1000) / MiB).toFixed(2)} MiB of resident memory per 1,000 ${unit}`,
    });
  }, 600_000);
});
