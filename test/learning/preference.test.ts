/**
 * KTO, ORPO, SimPO and CPO on the random-walks task, from compared or labelled walks of the model itself: once from walks of the
 * pretrained model, or in four rounds, each from new walks.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import {
  cpoConfig,
  ktoConfig,
  type Label,
  type LanguageModel,
  methods,
  orpoConfig,
  parseConfig,
  simpoConfig,
} from '../../src/index.ts';
import { comparedPairs, walksOf } from '../../src/demo/learning.ts';
import { letterTokenizer } from '../../src/demo/random-walks.ts';
import type { Assembled } from '../../src/methods/method.ts';
import { ALL, howGood, SEEDS, wandererOf } from './walks.ts';

const PAIRS = 330;
const SETTINGS = { batchSize: 64, warmupSteps: 0, lora: false as const };

/** Takes the first `count` steps. */
async function take(
  { parts, train }: Assembled & { parts: Record<'weights' | 'optimizer', Disposable> },
  count: number,
) {
  using _policy = parts.weights;
  using _optimizer = parts.optimizer;
  for await (const { step } of train()) if (step === count) break;
}

/** Walks of the model, 50 from every start; good are those above the mean of their start. */
async function labelledWalks(model: LanguageModel, seed: number): Promise<Label[]> {
  const walks = await walksOf(model, 50, { seed });
  return walks.map(({ walk, optimality }, row) => {
    const same = walks.slice(row - (row % 50), row - (row % 50) + 50);
    const mean = same.reduce((sum, other) => sum + other.optimality, 0) / same.length;
    const response = walk.slice(1).filter((token) => token !== letterTokenizer.padToken);
    return { prompt: walk.slice(0, 1), response, good: optimality > mean };
  });
}

/** Four rounds of 40 steps, each on pairs of new walks. */
async function inRounds(wanderer: LanguageModel, seed: number, name: keyof typeof ROUNDS): Promise<number> {
  using model = wanderer.clone();
  for (const round of [0, 1, 2, 3]) {
    const pairs = await comparedPairs(model, PAIRS, 10 * seed + round);
    const epochs = Math.ceil((40 * 64) / pairs.length);
    await take(ROUNDS[name].assemble({ ...SETTINGS, epochs, seed }, { model, pairs }), 40);
  }
  return await howGood(model);
}

type Given = typeof SETTINGS & { epochs: number; seed: number };
type Ingredients = Parameters<typeof methods.orpo.assemble>[1];
/** The methods that learn in rounds, and how good walks have to become. */
const ROUNDS = {
  orpo: {
    gate: 0.93,
    assemble: (given: Given, ingredients: Ingredients) =>
      methods.orpo.assemble(
        parseConfig(orpoConfig, { ...given, beta: 0.5, lr: 1e-3, minLr: 1e-3 }, 'test'),
        ingredients,
      ),
  },
  simpo: {
    gate: 0.78,
    assemble: (given: Given, ingredients: Ingredients) =>
      methods.simpo.assemble(parseConfig(simpoConfig, { ...given, lr: 3e-4, minLr: 3e-4 }, 'test'), ingredients),
  },
  cpo: {
    gate: 0.78,
    assemble: (given: Given, ingredients: Ingredients) =>
      methods.cpo.assemble(parseConfig(cpoConfig, { ...given, lr: 1e-3, minLr: 1e-3 }, 'test'), ingredients),
  },
};

describe.each(SEEDS)('the random walks, seed %i', (seed) => {
  let wanderer: LanguageModel;
  let start: number;

  beforeAll(async () => {
    ({ wanderer, start } = await wandererOf(seed));
  }, 600_000);

  it('become much shorter by KTO', { timeout: 600_000 }, async () => {
    using model = wanderer.clone();
    const labels = await labelledWalks(wanderer, seed);
    const epochs = Math.ceil((160 * 64) / labels.length);
    const config = parseConfig(ktoConfig, { ...SETTINGS, epochs, seed, lr: 1e-3, minLr: 1e-3 }, 'test');
    await take(methods.kto.assemble(config, { model, labels }), 160);
    const optimality = await howGood(model);
    if (ALL) console.log(`kto, seed ${seed}: ${start.toFixed(3)} → ${optimality.toFixed(3)}`);
    expect(optimality).toBeGreaterThanOrEqual(0.68);
    expect(optimality - start).toBeGreaterThanOrEqual(0.3);
  });

  // One seed of one method each time; all of them by `npm run test:learning`.
  it.each(ALL ? (['orpo', 'simpo', 'cpo'] as const) : (['orpo'] as const))(
    'become short in rounds of %s',
    { timeout: 600_000 },
    async (name) => {
      const optimality = await inRounds(wanderer, seed, name);
      if (ALL) console.log(`${name}, seed ${seed}: ${start.toFixed(3)} → ${optimality.toFixed(3)}`);
      expect(optimality).toBeGreaterThanOrEqual(ROUNDS[name].gate);
    },
  );
});
