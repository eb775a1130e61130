/** Small pairs and models that tests of methods learn from. */
import type { Preference } from '../src/data/preferences.ts';
import type { Assembled } from '../src/methods/method.ts';
import { planPreferences } from '../src/models/memory-plan.ts';
import { PaLM } from '../src/models/palm.ts';
import { device } from './device.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';

/** Settings of a training of milliseconds. */
export const QUICK = { batchSize: 4, warmupSteps: 1, evaluateEvery: 4, lr: 1e-2, lora: 4 as number | false };

/** Pairs whose chosen response has the lower tokens; lengths differ. */
export function pairs(count: number, from = 0): Preference[] {
  return Array.from({ length: count }, (_, at) => {
    const i = from + at;
    const row = (length: number, min: number) => Array.from({ length }, (_, t) => min + ((i + t) % 4));
    return { prompt: row(1 + (i % 3), 3), chosen: row(2 + (i % 4), 0), rejected: row(2 + ((i + 1) % 5), 6) };
  });
}

export function model() {
  return new PaLM({ numTokens: 12, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 3, device });
}

/** All that `steps` yields. */
export async function taken<T>(steps: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const step of steps) all.push(step);
  return all;
}

/** Expects that training on three long pairs needs the memory that is planned for it. */
export async function expectPlanned(
  lora: number | false,
  reference: boolean,
  assemble: (model: PaLM, pairs: Preference[]) => Assembled & { parts: Record<'weights' | 'optimizer', Disposable> },
): Promise<void> {
  const sizes = { numTokens: 260, dim: 256, depth: 3, heads: 4, dimHead: 32, ffMult: 3, device };
  using planned = new PaLM(sizes);
  const long = (from: number) => Array.from({ length: 128 }, (_, t) => (from + t) % 260);
  const some = Array.from({ length: 3 }, (_, i) => ({ prompt: long(i), chosen: long(i + 1), rejected: long(i + 2) }));
  const measured = await peakOf(async () => {
    using model = new PaLM(sizes);
    const { parts, train } = assemble(model, some);
    using _policy = parts.weights;
    using _optimizer = parts.optimizer;
    await drain(train());
  });
  expectNear(planPreferences(planned.decoder, { batchSize: 3, length: 256, lora, reference }), measured);
}
