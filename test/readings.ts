/** What a model gives and the gradients of its loss, to be compared between dtypes, kernels and devices. */
import { expect } from 'vitest';
import { addon } from '../src/native/addon.ts';
import type { PaLM } from '../src/models/palm.ts';
import type { Tensor } from '../src/tensor/tensor.ts';
import type { drawn } from './parity/weights.ts';

type Weights = ReturnType<typeof drawn>;
export type Numbers = Record<string, number[]>;

/** Numbers that bfloat16 holds exactly, so that both precisions read the same model. */
export function representable(weights: Weights): Weights {
  return new Map(
    [...weights].map(([name, weight]) => {
      const bits = new Uint32Array(Float32Array.from(weight.data).buffer).map((word) => word & 0xffff0000);
      return [name, { ...weight, data: Float64Array.from(new Float32Array(bits.buffer)) }];
    }),
  );
}

export async function withKernels<T>(on: boolean, work: () => Promise<T>): Promise<T> {
  await addon().useKernels(on);
  try {
    return await work();
  } finally {
    await addon().useKernels(true);
  }
}

export async function numbersOf(tensor: Tensor | null): Promise<number[]> {
  if (tensor === null) return [];
  using read = tensor;
  return Array.from(await read.data(), Number);
}

/** ‖a − b‖ / ‖b‖. */
export function distance(a: number[], b: number[]): number {
  const norm = (values: number[]) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  expect(a.length).toBe(b.length);
  return norm(a.map((value, i) => value - (b[i] as number))) / (norm(b) + 1e-12);
}

/** What a reading gives and every gradient of its loss, by name. */
export async function readings(palm: PaLM, tokens: number[][], scope: string | undefined): Promise<Numbers> {
  const of = scope === undefined ? {} : { scope };
  const all: Numbers = {};
  {
    using output = await palm.forward(tokens, of);
    all.logits = Array.from(await output.logits.data(), Number);
  }
  using loss = await palm.loss(tokens, of);
  await loss.backward();
  all.loss = [await loss.item()];
  const parameters = [...palm.parameters(), ...(scope === undefined ? [] : palm.parameters({ scope }))];
  for (const parameter of parameters) {
    const grad = await numbersOf(await parameter.grad());
    if (grad.length > 0) all[`gradient of ${parameter.name}`] = grad;
  }
  return all;
}
