/** Supervised fine-tuning on the random-walks task: from the shortest of random walks a model learns the way. */
import { expect, it } from 'vitest';
import { parseConfig, sftConfig } from '../../src/index.ts';
import { letterTokenizer, optimality, randomWalks } from '../../src/demo/random-walks.ts';
import { sftMethod } from '../../src/methods/sft.ts';
import { howGood, SEEDS, wandererOf } from './walks.ts';

/** The shortest of 4000 random walks, as prompt and response. */
const SHORTEST = randomWalks({ count: 4000, seed: 5 })
  .filter((walk) => optimality(walk) === 1)
  .map((walk) => letterTokenizer.encode(walk))
  .map(([start, ...way]) => ({ prompt: [start as number], response: [...way, letterTokenizer.eosToken as number] }));

it.each(SEEDS)(
  'learns the way that the shortest walks show, with its own rate, seed %i',
  async (seed) => {
    const { wanderer: model, start } = await wandererOf(seed);
    const config = parseConfig(sftConfig, { epochs: 4, batchSize: 64, seed, evaluateEvery: 1000 }, 'test');
    const { parts, train } = sftMethod.assemble(config, { model, examples: SHORTEST });
    for await (const _step of train());
    const end = await howGood(model, parts.weights.scopes[0]);
    expect(start).toBeLessThan(0.45);
    expect(end).toBeGreaterThanOrEqual(0.9);
    parts.weights.dispose();
    parts.optimizer.dispose();
    model.dispose();
  },
  600_000,
);
