/**
 * DPO on the random-walks task, from compared walks of the model itself: with a little likelihood of chosen walks it learns the way,
 * and without it shows what DPO is known for, that chosen responses become less likely while pairs are told apart.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { dpoConfig, type DpoStep, type LanguageModel, parseConfig } from '../../src/index.ts';
import { comparedPairs, learnToWander, sampledOptimality } from '../../src/demo/learning.ts';
import { dpoMethod } from '../../src/methods/dpo.ts';
import { device } from '../device.ts';

/** 160 steps of 64 pairs, all from 50 walks of every start. */
const PAIRS = 330;
const STEPS = 160;

async function improve(wanderer: LanguageModel, nllWeight: number, seed: number) {
  using model = wanderer.clone();
  const pairs = await comparedPairs(wanderer, PAIRS, seed);
  const epochs = Math.ceil((STEPS * 64) / pairs.length);
  const sizes = { epochs, batchSize: 64, lr: 3e-4, warmupSteps: 0, minLr: 3e-4, lora: false as const, seed };
  const config = parseConfig(dpoConfig, { ...sizes, nllWeight }, 'test');
  const { parts, train } = dpoMethod.assemble(config, { model, pairs });
  using _policy = parts.weights;
  using _optimizer = parts.optimizer;
  const steps: DpoStep[] = [];
  for await (const step of train()) if (steps.push(step) === STEPS) break;
  return { steps, optimality: await sampledOptimality(model, { seed: 1 }) };
}

describe.each([0, 1, 2])('the random walks, seed %i', (seed) => {
  let wanderer: LanguageModel;
  let start: number;

  beforeAll(async () => {
    wanderer = await learnToWander(seed, () => {}, device);
    start = await sampledOptimality(wanderer, { seed: 1 });
  }, 600_000);

  it('become much shorter by DPO with the likelihood of chosen walks', { timeout: 600_000 }, async () => {
    const { steps, optimality } = await improve(wanderer, 0.2, seed);
    expect(steps).toHaveLength(STEPS);
    expect(steps.at(-1)?.accuracy).toBeGreaterThan(0.9);
    expect(optimality).toBeGreaterThanOrEqual(0.65);
    expect(optimality - start).toBeGreaterThanOrEqual(0.3);
  });

  it('show chosen walks losing likelihood by DPO alone, while pairs are told apart', { timeout: 600_000 }, async () => {
    const { steps } = await improve(wanderer, 0, seed);
    expect(steps.at(-1)?.accuracy).toBeGreaterThan(0.9);
    expect(steps.at(-1)?.chosenLogProb ?? 0).toBeLessThan((steps[0]?.chosenLogProb ?? 0) - 1);
  });
});
