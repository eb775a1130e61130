/** What a GPU would be told of precision and order, read back: no GPU is needed for that. */
import { afterAll, expect, it } from 'vitest';
import { Batches } from '../src/data/batches.ts';
import { Windows } from '../src/data/text.ts';
import { pretrainConfig } from '../src/config/pretrain.ts';
import { parseConfig } from '../src/config/schema.ts';
import { addon } from '../src/native/addon.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { useDeterministic } from '../src/tensor/tensor.ts';
import { pretrain } from '../src/trainers/pretrain.ts';
import { device } from './device.ts';

afterAll(() => useDeterministic(false));

it('uses IEEE float32 products on a GPU, and float32 partial sums of bfloat16 products', async () => {
  using palm = new PaLM({ numTokens: 9, dim: 8, depth: 1, heads: 1, dimHead: 8, device });
  using loss = await palm.loss([[1, 2, 3]]);
  await loss.item();
  expect(addon().info()).toMatchObject({ cudaFloat32: 'ieee', cudaBfloat16Sums: 'float32' });
});

it('uses deterministic algorithms on request', async () => {
  expect(addon().info().deterministic).toBe(false);
  await useDeterministic(true);
  expect(addon().info().deterministic).toBe(true);
  await useDeterministic(false);
  expect(addon().info().deterministic).toBe(false);
  await expect(useDeterministic(1 as never)).rejects.toMatchObject({ code: 'ERR_ARGUMENT', argument: 'on' });
});

it('uses them in a `deterministic` trainer, never turns them off, and trains the same on the CPU', async () => {
  const losses = [];
  for (const deterministic of [false, true, false]) {
    using palm = new PaLM({ numTokens: 9, dim: 16, depth: 1, heads: 2, dimHead: 8, device, seed: 1 });
    const text = new Windows(
      Int32Array.from({ length: 200 }, (_, i) => i % 9),
      12,
    );
    using optimizer = new AdamW(palm.parameters(), { lr: 1e-2 });
    const batches = new Batches({ size: text.size, batchSize: 4, seed: 1 });
    const config = parseConfig(pretrainConfig, { steps: 3, batchSize: 4, deterministic }, 'config');
    for await (const step of pretrain({ model: palm, optimizer, text, batches }, config)) losses.push(step.loss);
    expect(addon().info().deterministic).toBe(losses.length > 3);
  }
  expect(losses).toEqual([...losses.slice(0, 3), ...losses.slice(0, 3), ...losses.slice(0, 3)]);
});
