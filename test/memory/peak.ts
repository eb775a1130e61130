/** What a piece of work holds at most, to be compared with its plan. */
import { expect } from 'vitest';
import type { MemoryPlan } from '../../src/models/memory-items.ts';
import { memory, Tensor } from '../../src/tensor/tensor.ts';

/** Waits until what was disposed of is freed. */
async function settled(): Promise<void> {
  using one = Tensor.from([1]);
  await one.data();
}

/** The most that `work` held at once, of what was allocated during it. */
export async function peakOf(work: () => Promise<void>): Promise<number> {
  await settled();
  const { usedBytes } = memory({ resetPeak: true });
  await work();
  await settled();
  const after = memory();
  expect(after.usedBytes).toBe(usedBytes); // nothing stays behind
  return after.peakBytes - usedBytes;
}

/** A plan may be off by 15 %. */
export function expectNear(plan: MemoryPlan, measured: number): void {
  expect(measured).toBeGreaterThan(15e6);
  const off = plan.totalBytes / measured - 1;
  expect(Math.abs(off), `planned ${plan.totalBytes}, measured ${measured}`).toBeLessThan(0.15);
}

/** Takes all steps. */
export async function drain(steps: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of steps);
}
