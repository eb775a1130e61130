/**
 * A reward that says the same of every answer must teach nothing: with λ < 1 and a critic that knows nothing, the mean of the
 * scores praises or blames the end of every answer, and their length runs away.
 */
import { describe, expect, it } from 'vitest';
import {
  ActorCritic,
  AdamW,
  Batches,
  PaLM,
  type PpoConfigInput,
  type PpoStep,
  parseConfig,
  ppo,
  ppoConfig,
  type Reward,
  RewardModel,
  type ScoreStatistics,
} from '../../src/index.ts';
import type { Answer } from '../../src/trainers/rollouts.ts';
import { Tensor } from '../../src/tensor/tensor.ts';
import { device } from '../device.ts';

const EOS = 0;
const MODEL = { numTokens: 16, dim: 32, depth: 1, heads: 2, dimHead: 16, device };
const PROMPTS = Array.from({ length: 16 }, (_, i) => [i % 16, (7 * i + 3) % 16]);
const TASK: PpoConfigInput = { steps: 12, rolloutBatch: 16, sampling: { maxNewTokens: 24, samplesPerPrompt: 4 } };
/** As it was before: scores as they are, and a critic that learns from the first step along with the policy. */
const RAW: PpoConfigInput = { score: { norm: 'none' }, critic: { warmup: 0 }, warmupSteps: 0, klWeight: 0, lr: 3e-3 };

async function train(reward: Reward, options: PpoConfigInput = {}): Promise<PpoStep[]> {
  using palm = new PaLM({ ...MODEL, seed: 1 });
  const config = parseConfig(ppoConfig, { ...TASK, ...options }, 'test');
  using actorCritic = new ActorCritic(palm, { lora: config.lora, reference: true });
  using optimizer = new AdamW(actorCritic.parameters(), { weightDecay: 0 });
  const batches = new Batches({ size: PROMPTS.length, batchSize: config.rolloutBatch, seed: config.seed });
  const steps: PpoStep[] = [];
  const parts = { actorCritic, reward, prompts: PROMPTS, batches, optimizer, eosToken: EOS };
  for await (const step of ppo(parts, config)) steps.push(step);
  return steps;
}

const constant = (value: number) => (answers: readonly Answer[]) => answers.map(() => value);
const fives = (answers: readonly Answer[]) =>
  answers.map(({ response }) => response.filter((token) => token === 5).length);
/** Mean length of the last four iterations: of 256 answers. */
const lengthOf = (steps: readonly PpoStep[]) => steps.slice(-4).reduce((sum, step) => sum + step.responseLength / 4, 0);

/** Gives every answer the score `value`. */
class ConstantModel extends RewardModel {
  readonly value: number;
  constructor(value: number, statistics: ScoreStatistics) {
    super(new PaLM(MODEL), { lora: 2 });
    this.value = value;
    this.statistics = statistics;
  }

  override async score(...[sequence]: Parameters<RewardModel['score']>): Promise<Tensor> {
    return Tensor.from(new Float32Array((sequence as Tensor).shape[0] as number).fill(this.value), { device });
  }
}

describe.each([8, false] as const)('a constant reward, lora %s', (lora) => {
  it.each([-5, 0, 5, 0.1])('of %d moves nothing', async (value) => {
    for (const { kl, approxKl, explainedVariance } of await train(constant(value), { lora })) {
      expect(kl).toBe(0);
      expect(approxKl).toBe(0);
      expect(explainedVariance).toBeLessThanOrEqual(1);
    }
  });

  it('of a reward model that gave the held-out answers the same moves nothing', async () => {
    using model = new ConstantModel(5, { mean: 5, deviation: 0 });
    for (const { kl } of await train(model, { lora })) expect(kl).toBe(0);
  });

  it.each([-1.5, 1.5])(
    '%d deviations off those of the held-out answers moves little: the critic learns it first',
    async (off) => {
      using model = new ConstantModel(5 + off, { mean: 5, deviation: 1 });
      const still = lengthOf(await train(constant(0), { lora }));
      const steps = await train(model, { lora });
      expect(Math.abs(lengthOf(steps) / still - 1)).toBeLessThan(0.1);
    },
  );
});

describe('D2: the same reward and a constant', () => {
  it('train the same', async () => {
    const expected = await train(fives);
    expect(expected.at(-1)?.kl).toBeGreaterThan(1e-4);
    for (const shift of [-50, 50]) {
      const shifted = await train((answers) => fives(answers).map((score) => score + shift));
      for (const [i, { kl, score, policyLoss, responseLength }] of shifted.entries()) {
        const step = expected[i] as PpoStep;
        expect(score - shift).toBeCloseTo(step.score, 6);
        expect(kl).toBeCloseTo(step.kl as number, 4);
        expect(policyLoss).toBeCloseTo(step.policyLoss, 4);
        expect(responseLength).toBeCloseTo(step.responseLength, 1);
      }
    }
  });

  it('do not where scores are taken as they are: what is tested here can be seen', async () => {
    const [low, still, high] = [
      lengthOf(await train(constant(-5), RAW)),
      lengthOf(await train(constant(0), RAW)),
      lengthOf(await train(constant(5), RAW)),
    ];
    expect(low).toBeGreaterThan(1.1 * (still as number));
    expect(high).toBeLessThan(0.9 * (still as number));
  });
});
