/** GRPO: what is its own beside the contract of a trainer, and the loss that methods without a critic share. */
import { describe, expect, it } from 'vitest';
import type { GrpoConfigInput } from '../src/config/grpo.ts';
import { ArgumentError, ConfigError, ShapeError } from '../src/errors.ts';
import { type PolicyLossOptions, policyLoss } from '../src/index.ts';
import { grpoMethod } from '../src/methods/grpo.ts';
import { planPpo } from '../src/models/memory-plan.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy } from '../src/models/policy.ts';
import { rowsOf } from '../src/tensor/rows.ts';
import { type Parameter, Tensor } from '../src/tensor/tensor.ts';
import type { GrpoStep } from '../src/trainers/grpo.ts';
import type { Reward } from '../src/trainers/rollouts.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { casesOf, gradientOf } from './golden/cases.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';
import { distance } from './parity/numbers.ts';
import { configOf, fives, policySubject, scoreOf, stepsOf } from './policies.ts';

trainerContract('grpo', {
  ...policySubject('grpo'),
  resumes: {
    'with all weights and a KL penalty': { lora: false, klWeight: 0.1 },
    'with one ratio per response, and a KL in the loss': { klWeight: 0.1, loss: { level: 'sequence', kl: 'unbiased' } },
  },
});

const config = (options: GrpoConfigInput) => configOf('grpo', options);

async function train(options: GrpoConfigInput, reward: Reward = fives): Promise<GrpoStep[]> {
  return (await stepsOf('grpo', options, reward)) as unknown as GrpoStep[];
}

/** Variants by name: what docs/grpo.md has in its table. */
const VARIANTS: Readonly<Record<string, GrpoConfigInput>> = {
  dapo: { loss: { clipHigh: 0.28 } },
  'row-mean': { loss: { aggregation: 'row-mean' } },
  'Dr. GRPO': { loss: { aggregation: 'dr-grpo' }, advantage: { scale: 'none' } },
  GSPO: { loss: { level: 'sequence', clip: 0.02, clipHigh: 0.03 } },
  CISPO: { loss: { kind: 'cispo', ratioCap: 5 } },
  SPO: { loss: { kind: 'spo', clip: 0.2 } },
  MaxRL: { advantage: { estimator: 'max-rl' }, score: { norm: 'none' } },
};

describe('training by GRPO', () => {
  it.each(Object.keys(VARIANTS))('earns more from its reward: %s', async (name) => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 8 };
    const steps = await stepsOf('grpo', { sampling, minibatchSize: 24, steps: 20, lora: false, ...VARIANTS[name] });
    expect(scoreOf(steps.slice(-3))).toBeGreaterThan(scoreOf(steps.slice(0, 3)) + 0.3);
    for (const { firstLogRatio, samplerGap } of steps as unknown as GrpoStep[]) {
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

  it('draws other prompts in place of those whose answers score alike, at most three times', async () => {
    // Even prompts are scored by a counter, odd ones all alike.
    let count = 0;
    const halfAlike: Reward = (answers) => answers.map(({ prompt }) => ((prompt[0] as number) % 2 ? 1 : count++));
    const sampling = { maxNewTokens: 3, samplesPerPrompt: 2, dynamic: true };
    const steps = await train({ sampling, rolloutBatch: 6, score: { norm: 'none' } }, halfAlike);
    for (const { promptsDrawn, groupsDropped, zeroStdShare } of steps) {
      expect({ promptsDrawn, groupsDropped, zeroStdShare }).toEqual({
        promptsDrawn: 12,
        groupsDropped: 4,
        zeroStdShare: 0,
      });
    }
    const alike = await train({ sampling, rolloutBatch: 6, steps: 2 }, (answers) => answers.map(() => 1));
    for (const step of alike) expect(step).toMatchObject({ promptsDrawn: 18, groupsDropped: 18, zeroStdShare: 1 });
  });

  it('draws the same prompts and answers however often it is resumed', async () => {
    const sampling = { maxNewTokens: 3, samplesPerPrompt: 2, dynamic: true };
    const once = await train({ sampling, steps: 3 });
    expect((await train({ sampling, steps: 3 })).map(({ score }) => score)).toEqual(once.map(({ score }) => score));
  });

  it('leaves the reward alone where the KL is in the loss', async () => {
    const options = { klWeight: 0.1, score: { norm: 'none' as const }, loss: { kl: 'unbiased' as const } };
    const [first, , third] = await train(options);
    expect(first?.klLoss).toBeGreaterThan(0); // after the first update
    expect(third?.reward).toBeCloseTo(third?.score ?? 0, 5);
  });

  it.each([
    ['one response to a prompt', { sampling: { samplesPerPrompt: 1 } }],
    ['a cap that a clip does not use', { loss: { ratioCap: 2 } }],
    ['a clip that cispo does not use', { loss: { kind: 'cispo', clip: 0.2 } }],
    ['a token mean of one ratio per response', { loss: { level: 'sequence', aggregation: 'dapo' } }],
    ['a scale that pass-k does not have', { advantage: { estimator: 'pass-k', scale: 'group' } }],
  ])('refuses %s', (_, options) => {
    expect(() => config(options as GrpoConfigInput)).toThrow(ConfigError);
  });

  it.each([
    ['a KL in the loss without a weight', { loss: { kl: 'k3' } }],
    ['max-rl with scores that are normalised', { advantage: { estimator: 'max-rl' }, score: { norm: 'running' } }],
  ])('refuses %s before the first step', async (_, options) => {
    await expect(train(options as GrpoConfigInput)).rejects.toThrow(ConfigError);
  });
});

/** The inputs of the recorded cases. */
const inputs = (casesOf('grpo')[0]?.inputs ?? {}) as Record<'logProb' | 'rolloutLogProb' | 'mask', number[][]> & {
  advantage: number[];
};

describe.each([
  ['float64', Float64Array, 1e-9],
  ['float32', Float32Array, 1e-5],
] as const)('policyLoss in %s', (dtype, Floats, tolerance) => {
  const shape = [inputs.mask.length, inputs.mask[0]?.length ?? 0];
  const tensor = (rows: number[][]) => Tensor.from(Floats.from(rows.flat()), { shape, dtype, device });
  const entropy = tensor(inputs.mask.map((row) => row.map(() => 1)));
  const rolloutLogProb = tensor(inputs.rolloutLogProb);
  const advantage = tensor(inputs.advantage.map((of) => Array<number>(shape[1] as number).fill(of)));
  const responseMask = Tensor.from(Uint8Array.from(inputs.mask.flat()), { shape, dtype: 'bool', device });
  const all = inputs.mask.map((_, row) => row);
  const parameter = () => Tensor.parameter(Floats.from(inputs.logProb.flat()), { shape, dtype, device });

  async function lossOf(logProb: Parameter, rows: readonly number[], options: PolicyLossOptions) {
    using leaf = await logProb.leaf();
    using some = await rowsOf({ logProb: leaf, entropy, rolloutLogProb, advantage, responseMask }, rows);
    return await policyLoss(some, some, options);
  }

  it.each<PolicyLossOptions>([{ aggregation: 'dapo' }, { aggregation: 'row-mean' }, { level: 'sequence' }])(
    'adds up over pieces given the count of the whole: %j',
    async (chosen) => {
      const tokens = inputs.mask.flat().reduce((sum, real) => sum + real, 0);
      const options = { ...chosen, denominator: chosen.aggregation === 'dapo' ? tokens : all.length, tokens };
      const [whole, pieced] = [parameter(), parameter()];
      using loss = await lossOf(whole, all, chosen);
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

it('policyLoss refuses shapes that differ', async () => {
  const of = (rows: number) => Tensor.from(new Float32Array(2 * rows), { shape: [rows, 2], device });
  const responseMask = Tensor.from(new Uint8Array(4), { shape: [2, 2], dtype: 'bool', device });
  const compared = { rolloutLogProb: of(2), advantage: of(3), responseMask };
  await expect(policyLoss({ logProb: of(2), entropy: of(2) }, compared, {})).rejects.toBeInstanceOf(ShapeError);
});

it('policyLoss refuses options that its kind does not use', async () => {
  const of = () => Tensor.from(new Float32Array(4), { shape: [2, 2], device });
  const responseMask = Tensor.from(new Uint8Array(4), { shape: [2, 2], dtype: 'bool', device });
  const compared = { rolloutLogProb: of(), advantage: of(), responseMask };
  const now = { logProb: of(), entropy: of() };
  for (const options of [{ ratioCap: 2 }, { kind: 'cispo', clip: 0.1 }, { kind: 'spo', dualClip: 3 }, { kl: 'k3' }])
    await expect(policyLoss(now, compared, options as PolicyLossOptions)).rejects.toBeInstanceOf(ArgumentError);
});
