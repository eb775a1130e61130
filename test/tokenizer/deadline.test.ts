/** Work is measured by what the processor did for it, not by the clock on the wall. */
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addon, threadTime } from '../../src/native/addon.ts';
import { DeadlineError, measureWork, withDeadline } from '../../src/tokenizer/deadline.ts';

beforeAll(() => void addon());
afterEach(() => measureWork(() => undefined));

/** Lets `milliseconds` pass on the wall. */
function wait(milliseconds: number): void {
  const end = Date.now() + milliseconds;
  while (Date.now() < end);
}

describe('withDeadline', () => {
  it('tok-deadline-stopped: begins again when the clock ran and the work did not', () => {
    measureWork(() => 0);
    let tries = 0;
    const result = withDeadline(20, () => {
      if (++tries < 3) wait(1000);
      return 'done';
    });
    expect([result, tries]).toEqual(['done', 3]);
  });

  it('gives work more time on the wall at every try, so that a busy machine ends it too', () => {
    measureWork(() => 0);
    let tries = 0;
    withDeadline(20, () => {
      tries++;
      wait(70);
    });
    expect(tries).toBeGreaterThan(1);
  });

  it.each([
    ['of the process', () => undefined],
    ['of the thread', threadTime],
  ])('ends work without end by the time %s', (_, clock) => {
    measureWork(clock);
    expect(() => withDeadline(50, () => wait(1e9))).toThrow(DeadlineError);
  });

  it('throws what the work throws', () => {
    expect(() => withDeadline(50, () => JSON.parse('{'))).toThrow(SyntaxError);
  });
});

describe('the time of a thread', () => {
  it('counts work and no waiting', () => {
    const before = threadTime() as number;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    const afterSleep = threadTime() as number;
    expect(afterSleep - before).toBeLessThan(150);
    let sum = 0;
    const end = process.cpuUsage().user + 50_000;
    while (process.cpuUsage().user < end) sum++;
    expect(sum).toBeGreaterThan(0);
    expect((threadTime() as number) - afterSleep).toBeGreaterThan(10);
  });
});
