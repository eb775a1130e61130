/** GRPO: its loss on recorded numbers, its trainer, and the contract of a trainer. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type GrpoConfigInput, grpoConfig } from '../src/config/grpo.ts';
import { parseConfig } from '../src/config/schema.ts';
import { ConfigError, ShapeError } from '../src/errors.ts';
import { type GrpoLossOptions, grpoLoss } from '../src/losses/policy.ts';
import { grpoMethod } from '../src/methods/grpo.ts';
import { planPpo } from '../src/models/memory-plan.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy } from '../src/models/policy.ts';
import { rowsOf } from '../src/tensor/rows.ts';
import { type Parameter, Tensor } from '../src/tensor/tensor.ts';
import type { GrpoStep } from '../src/trainers/grpo.ts';
import type { Reward } from '../src/trainers/rollouts.ts';
import { ROLLOUT_READS, trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';
import { distance } from './parity/numbers.ts';

const EOS = 1;
const PROMPTS = [[2, 3], [4], [5, 6, 7], [8, 9], [10], [11, 12]];
/** Likes the token 5. */
const fives: Reward = (answers) => answers.map(({ response }) => response.filter((token) => token === 5).length);

function model() {
  return new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, seed: 3, device });
}

function config(options: GrpoConfigInput) {
  const quick = { epochs: 2, lr: 1e-2, lora: 4 as number | false, warmupSteps: 0 };
  const sampling = { maxNewTokens: 6, samplesPerPrompt: 2 };
  return parseConfig(grpoConfig, { ...quick, sampling, ...options }, 'test');
}

trainerContract('grpo', {
  // Two responses to each prompt make the rows.
  config({ rows, steps, batchSize: minibatchSize, accumulate }, settings) {
    const rolloutBatch = Math.max(1, Math.ceil(rows / 2));
    return config({ steps, rolloutBatch, minibatchSize, accumulate, ...settings });
  },
  ingredients({ lora, seed, klWeight }, rows) {
    const prompts = Array.from({ length: Math.ceil(rows / 2) }, (_, i) => PROMPTS[i % PROMPTS.length] as number[]);
    const policy = new Policy(model(), { lora, seed, reference: klWeight > 0 });
    return { policy, reward: fives, prompts, eosToken: EOS };
  },
  resumes: {
    'with all weights and a KL penalty': { lora: false, klWeight: 0.1 },
    'with rows that weigh the same': { loss: { aggregation: 'row-mean' } },
  },
  otherReads: ROLLOUT_READS,
  takesSignal: true,
});

async function train(options: GrpoConfigInput, reward: Reward = fives): Promise<GrpoStep[]> {
  const all = config({ steps: 6, rolloutBatch: 6, minibatchSize: 12, ...options });
  const policy = new Policy(model(), { lora: all.lora, reference: all.klWeight > 0 });
  const { parts, train } = grpoMethod.assemble(all, { policy, reward, prompts: PROMPTS, eosToken: EOS });
  using _policy = policy;
  using _optimizer = parts.optimizer;
  const steps: GrpoStep[] = [];
  for await (const step of train()) steps.push(step);
  return steps;
}

describe('training by GRPO', () => {
  it.each(['dapo', 'row-mean'] as const)('earns more from its reward, aggregation %s', async (aggregation) => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 8 };
    const steps = await train({ sampling, minibatchSize: 24, steps: 20, lora: false, loss: { aggregation } });
    const mean = (some: GrpoStep[]) => some.reduce((sum, { score }) => sum + score, 0) / some.length;
    expect(mean(steps.slice(-3))).toBeGreaterThan(mean(steps.slice(0, 3)) + 0.3);
    for (const { firstLogRatio, samplerGap } of steps) {
      expect(firstLogRatio).toBeLessThanOrEqual(1e-6);
      expect(samplerGap).toBeLessThanOrEqual(0.05);
    }
  });

  it('learns nothing from rewards that are all equal', async () => {
    const steps = await train({ lora: false }, (answers) => answers.map(() => 0.1));
    for (const { zeroStdShare, scoreStd, gradNorm } of steps) {
      expect(zeroStdShare).toBe(1);
      expect(scoreStd).toBe(0);
      expect(gradNorm).toBe(0);
    }
  });

  it('measures KL where there is a reference, and takes its weight from the reward', async () => {
    const [first, , third] = await train({ klWeight: 0.1, score: { norm: 'none' } });
    expect(first).toMatchObject({ kl: 0 });
    expect(third?.kl).not.toBe(0);
    expect(third?.reward).toBeCloseTo((third?.score ?? 0) - 0.1 * (third?.kl ?? 0), 4);
    const [alone] = await train({ lora: false, steps: 1 });
    expect(alone?.kl).toBeUndefined();
  });

  it('needs the memory that is planned for it', async () => {
    const sizes = { numTokens: 260, dim: 256, depth: 3, heads: 4, dimHead: 32, ffMult: 3, device };
    using planned = new PaLM(sizes);
    const prompts = Array.from({ length: 8 }, (_, i) => Array<number>(32).fill(i));
    const shape = { rolloutBatch: 8, minibatchSize: 8, lora: 8, klWeight: 0.1 };
    const sampling = { samplesPerPrompt: 2, maxNewTokens: 96 };
    const measured = await peakOf(async () => {
      using policy = new Policy(new PaLM(sizes));
      const reward: Reward = (answers) => answers.map((_, i) => i % 2);
      const all = config({ ...shape, sampling, steps: 1, epochs: 1 });
      const { parts, train } = grpoMethod.assemble(all, { policy, reward, prompts });
      using _optimizer = parts.optimizer;
      await drain(train());
      policy.model.dispose();
    });
    const run = { ...shape, ...sampling, promptLength: 32, reference: true, critic: false };
    expectNear(planPpo(planned.decoder, run), measured);
  });

  it('refuses one response to a prompt, which has nothing to be compared with', () => {
    expect(() => config({ sampling: { maxNewTokens: 4, samplesPerPrompt: 1 } })).toThrow(ConfigError);
  });
});

interface Golden {
  inputs: Record<'logProb' | 'rolloutLogProb' | 'mask', number[][]> & { advantage: number[] };
  cases: {
    name: string;
    options: { loss: 'grpo' | 'dapo'; clip: number; clipHigh?: number; denominator?: number };
    loss: number;
    metrics: Record<string, number>;
    gradient: { logProb: number[][] };
  }[];
}
const golden: Golden = JSON.parse(readFileSync(new URL('fixtures/methods/grpo.json', import.meta.url), 'utf8'));

describe.each([
  ['float64', Float64Array, 1e-9],
  ['float32', Float32Array, 1e-5],
] as const)('grpoLoss in %s', (dtype, Floats, tolerance) => {
  const { inputs } = golden;
  const shape = [inputs.mask.length, inputs.mask[0]?.length ?? 0];
  const tensor = (rows: number[][]) => Tensor.from(Floats.from(rows.flat()), { shape, dtype, device });
  const entropy = tensor(inputs.mask.map((row) => row.map(() => 1)));
  const rolloutLogProb = tensor(inputs.rolloutLogProb);
  const advantage = tensor(inputs.advantage.map((of) => Array<number>(shape[1] as number).fill(of)));
  const responseMask = Tensor.from(Uint8Array.from(inputs.mask.flat()), { shape, dtype: 'bool', device });
  const all = inputs.mask.map((_, row) => row);
  const parameter = () => Tensor.parameter(Floats.from(inputs.logProb.flat()), { shape, dtype, device });

  async function lossOf(logProb: Parameter, rows: readonly number[], options: GrpoLossOptions) {
    using leaf = await logProb.leaf();
    using some = await rowsOf({ logProb: leaf, entropy, rolloutLogProb, advantage, responseMask }, rows);
    return await grpoLoss(some, some, options);
  }

  it.each(golden.cases)('gives the recorded loss, metrics and gradient: $name', async ({ options, ...expected }) => {
    const { loss: kind, ...limits } = options;
    const logProb = parameter();
    using loss = await lossOf(logProb, all, { ...limits, aggregation: kind === 'dapo' ? 'dapo' : 'row-mean' });
    expect(Math.abs((await loss.item()) - expected.loss)).toBeLessThanOrEqual(tolerance);
    if (kind === 'dapo' && options.denominator === undefined) {
      const metrics: Record<string, number> = await loss.metrics();
      for (const [name, number] of Object.entries(expected.metrics))
        expect(Math.abs((metrics[name] as number) - number), name).toBeLessThanOrEqual(1e-6);
    }
    await loss.backward();
    expect(distance(await gradientOf(logProb), expected.gradient.logProb.flat())).toBeLessThanOrEqual(tolerance);
  });

  it.each(['dapo', 'row-mean'] as const)(
    'adds up over pieces given the count of the whole: %s',
    async (aggregation) => {
      const tokens = inputs.mask.flat().reduce((sum, real) => sum + real, 0);
      const options = { clip: 0.2, aggregation, denominator: aggregation === 'dapo' ? tokens : all.length };
      const [whole, pieced] = [parameter(), parameter()];
      using loss = await lossOf(whole, all, { clip: 0.2, aggregation });
      await loss.backward();
      let sum = 0;
      for (const rows of [all.slice(0, 3), all.slice(3)]) {
        using share = await lossOf(pieced, rows, options);
        await share.backward();
        sum += await share.item();
      }
      expect(Math.abs(sum - (await loss.item()))).toBeLessThanOrEqual(tolerance);
      expect(distance(await gradientOf(pieced), await gradientOf(whole))).toBeLessThanOrEqual(tolerance);
    },
  );
});

async function gradientOf(parameter: Parameter): Promise<number[]> {
  using gradient = await parameter.grad();
  return Array.from((await gradient?.data()) ?? [], Number);
}

it('grpoLoss refuses shapes that differ', async () => {
  const of = (rows: number) => Tensor.from(new Float32Array(2 * rows), { shape: [rows, 2], device });
  const responseMask = Tensor.from(new Uint8Array(4), { shape: [2, 2], dtype: 'bool', device });
  const compared = { rolloutLogProb: of(2), advantage: of(3), responseMask };
  const options = { clip: 0.2, aggregation: 'dapo' as const };
  await expect(grpoLoss({ logProb: of(2), entropy: of(2) }, compared, options)).rejects.toBeInstanceOf(ShapeError);
});
