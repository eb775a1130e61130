/** The losses of policies that learn from their own answers, on recorded numbers. */
import type { PolicyLossOptions } from '../../src/checks/policy-options.ts';
import { flowrlLoss } from '../../src/losses/flowrl.ts';
import { type CorrectionOptions, klLoss, offPolicyWeight, policyLoss, ppoLoss } from '../../src/losses/policy.ts';
import { targetPolicyLoss } from '../../src/losses/target-policy.ts';
import { AdaptiveKl } from '../../src/trainers/schedule.ts';
import type { Loss } from '../../src/tensor/loss.ts';
import { type Parameter, Tensor } from '../../src/tensor/tensor.ts';
import { device } from '../device.ts';
import {
  expectNumbers,
  flat,
  type GoldenCase,
  goldenCases,
  gradientOf,
  type Made,
  type Numbers,
  shapeOf,
} from './cases.ts';

/** Peers compute some of their metrics in float32. */
const METRICS = 1e-6;

/** What a file calls a loss, as options of `policyLoss`. */
const LOSSES: Readonly<Record<string, PolicyLossOptions>> = {
  grpo: { aggregation: 'row-mean' },
  dapo: {},
  'dr-grpo': {},
  gspo: { level: 'sequence' },
  cispo: { kind: 'cispo' },
  spo: { kind: 'spo' },
  ppo: {},
};
/** Our names of metrics that are recorded under others. */
const NAMES: Readonly<Record<string, string>> = { kl: 'klLoss' };
/** Recorded metrics that are no metrics of ours. */
const OTHERS = ['k1', 'samplerKl'];

type Given = Readonly<Record<string, Numbers>>;

function rowsIn({ mask }: Given): number {
  return (mask as number[][]).length;
}

/** A number for each response, given to all its tokens. */
function perToken(numbers: Numbers, { mask }: Given): Numbers {
  return (mask as number[][]).map((row, i) => row.map(() => (numbers as number[])[i] as number));
}

function optionsOf({ options, inputs }: GoldenCase): PolicyLossOptions {
  const { loss, klGradient, maxNewTokens, correction: _, min: _min, max: _max, ...same } = options;
  const denominator = maxNewTokens === undefined ? {} : { denominator: rowsIn(inputs) * (maxNewTokens as number) };
  const kl = klGradient === undefined ? {} : { kl: klGradient as PolicyLossOptions['kl'] };
  return { ...LOSSES[loss as string], ...(same as PolicyLossOptions), ...denominator, ...kl };
}

/** The tensors that `policyLoss` compares, of a case. */
function comparedOf({ inputs, options }: GoldenCase, made: Made) {
  const { rolloutLogProb, advantage, mask, referenceLogProb, logProb } = inputs as Record<string, Numbers>;
  return {
    rolloutLogProb: made.tensor((options.onPolicy ? logProb : rolloutLogProb) as Numbers),
    advantage: made.tensor(perToken(advantage as Numbers, inputs)),
    responseMask: made.mask(mask as Numbers),
    referenceLogProb: referenceLogProb === undefined ? undefined : made.tensor(referenceLogProb),
  };
}

/** An entropy for every token: that of the case, or any. */
function entropyOf({ inputs }: GoldenCase, made: Made): Tensor {
  return made.tensor(inputs.entropy ?? (inputs.mask as number[][]).map((row) => row.map(() => 1)));
}

/** Expects the loss and the gradient of `logProb` of a case, and its metrics where ours are averaged alike. */
async function expectLoss(
  loss: Loss<string>,
  parameter: Parameter,
  one: GoldenCase,
  { tolerance }: Made,
  metrics: Readonly<Record<string, number>> = {},
): Promise<void> {
  expectNumbers(await loss.item(), one.loss, tolerance, 'loss');
  await loss.backward();
  expectNumbers(await gradientOf(parameter), flat(one.gradient.logProb as Numbers), tolerance, 'gradient');
  for (const [name, number] of Object.entries(one.metrics).filter(([each]) => !OTHERS.includes(each)))
    expectNumbers(metrics[NAMES[name] ?? name] as number, number, METRICS, name);
}

async function checkPolicy(one: GoldenCase, made: Made, options = optionsOf(one), weight?: Tensor): Promise<void> {
  const logProb = made.parameter(one.inputs.logProb as Numbers);
  using leaf = await logProb.leaf();
  const compared = { ...comparedOf(one, made), weight };
  using loss = await policyLoss({ logProb: leaf, entropy: entropyOf(one, made) }, compared, options);
  await expectLoss(loss, logProb, one, made, await loss.metrics());
}

goldenCases('grpo', (one, made) => checkPolicy(one, made));

goldenCases('grpo-more', (one, made) => checkPolicy(one, made), {
  'bnpo: mean over the tokens of this piece': 'its result depends on the size of micro-batches',
  'SAPO: a soft gate in place of the clip': 'not offered',
  LUSPO: 'not offered',
  VESPO: 'not offered',
  'GMPO: geometric mean of clipped ratios': 'not offered',
});

goldenCases('rloo', async (one, made) => {
  const { level, clip, onPolicy } = one.options;
  const rows = rowsIn(one.inputs);
  // On policy, the ratio is 1: log p times the advantage.
  const plain: PolicyLossOptions = { kind: 'cispo', denominator: rows };
  const clipped: PolicyLossOptions = { level: level as 'sequence-sum', clip: clip as number };
  await checkPolicy(one, made, onPolicy ? plain : clipped);
});

goldenCases('kl', async (one, made) => {
  const { inputs, options, metrics } = one;
  if (one.expected?.weights !== undefined) return expectWeights(one);
  const rows = inputs.mask as number[][];
  const estimator = options.estimator as 'k1';
  const estimate = async (logProb: Tensor, some: number[], denominator?: number) => {
    const pick = (name: string) => some.map((row) => (inputs[name] as number[][])[row] as number[]);
    const reference = {
      referenceLogProb: made.tensor(pick('referenceLogProb')),
      responseMask: made.mask(pick('mask')),
    };
    return await klLoss(logProb, reference, { estimator, ...(denominator !== undefined && { denominator }) });
  };
  const logProb = made.parameter(inputs.logProb as Numbers);
  using leaf = await logProb.leaf();
  using loss = await estimate(leaf, [...rows.keys()]);
  await expectLoss(loss, logProb, { ...one, metrics: {} }, made);
  for (const [row, sum] of flat(metrics.sum as Numbers).entries()) {
    using alone = await estimate(made.tensor([(inputs.logProb as number[][])[row] as number[]]), [row], 1);
    expectNumbers(await alone.item(), sum, made.tolerance, `sum of row ${row}`);
  }
});

/** The weight of the KL penalty, before and after it has seen each [kl, responses]. */
function expectWeights({ options, expected }: GoldenCase): void {
  const { initial, target, horizon } = options as Record<string, number>;
  const adaptive = new AdaptiveKl(initial as number, { target: target as number, horizon: horizon as number });
  for (const [weight, seen] of expected.weights as unknown as [number, [number, number] | null][]) {
    if (seen !== null) adaptive.update(...seen);
    expectNumbers(adaptive.weight, weight, 1e-9, 'weight');
  }
}

/** Corrections by the name that a peer gives them. */
const CORRECTIONS = { tis: 'token-truncate', icepop: 'token-mask', 'seq-mask-tis': 'geometric-mask' } as const;

goldenCases('off-policy', async (one, made) => {
  const { inputs, options, expected } = one;
  const { correction, mode = CORRECTIONS[correction as 'tis'], min, max } = options;
  const rollout = {
    rolloutLogProb: made.tensor(inputs.rolloutLogProb as Numbers),
    samplerLogProb: made.tensor(inputs.samplerLogProb as Numbers),
    responseMask: made.mask(inputs.mask as Numbers),
  };
  using weight = await offPolicyWeight(rollout, { mode, min, max } as CorrectionOptions);
  if (options.loss !== undefined) return await checkPolicy(one, made, optionsOf(one), weight);
  const found = Array.from(await weight.data(), Number);
  const mask = inputs.mask as number[][];
  const width = (mask[0] as number[]).length;
  const firsts = mask.map((row, i) => found[i * width + row.indexOf(1)] as number);
  const ofRows = String(mode).startsWith('sequence') ? firsts : found;
  if (expected.weight) expectNumbers(ofRows, flat(expected.weight), made.tolerance, 'weight');
  if (expected.keep)
    expectNumbers(
      firsts.map((each) => Number(each > 0)),
      expected.keep,
      0,
      'keep',
    );
});

goldenCases('ppo-loss', async (one, made) => {
  const { inputs, options } = one;
  const tensor = (name: string) => made.tensor(inputs[name] as Numbers);
  const parameters = {
    logProb: made.parameter(inputs.logProb as Numbers),
    value: made.parameter(inputs.value as Numbers),
  };
  using logProb = await parameters.logProb.leaf();
  using value = await parameters.value.leaf();
  const rollout = { rolloutLogProb: tensor('rolloutLogProb'), rolloutValue: tensor('rolloutValue') };
  const learned = {
    advantage: tensor('advantage'),
    returns: tensor('returns'),
    responseMask: made.mask(inputs.mask as Numbers),
  };
  const unused = { samplerLogProb: tensor('rolloutLogProb'), referenceLogProb: tensor('rolloutLogProb') };
  const sequence = Tensor.from(BigInt64Array.from(flat(inputs.mask as Numbers), BigInt), {
    shape: shapeOf(inputs.mask as Numbers),
    device,
  });
  const experience = { sequence, ...rollout, ...learned, ...unused };
  const weights = { entropyWeight: 0, ...(options as { clip: number; valueClip: number; valueWeight: number }) };
  using loss = await ppoLoss({ logProb, value, entropy: entropyOf(one, made) }, experience, weights);
  // Shares of clipped tokens: trlX counts those that the clip holds, PPO's here those whose ratio or value left its range.
  const { clipFraction: _, valueClipFraction: _held, ...metrics } = one.metrics;
  await expectLoss(loss, parameters.logProb, { ...one, metrics }, made, await loss.metrics());
  expectNumbers(await gradientOf(parameters.value), flat(one.gradient.value as Numbers), made.tolerance, 'value');
});

goldenCases('target-policy', async (one, made) => {
  if (one.options.method === 'flow-rl') return await checkFlow(one, made);
  const { inputs, options } = one;
  const logProb = made.parameter(inputs.logProb as Numbers);
  using leaf = await logProb.leaf();
  const { target, ...metrics } = one.metrics as unknown as { target: Numbers[] };
  const samplesPerPrompt = rowsIn(inputs) / target.length;
  const rollout = {
    rolloutLogProb: made.tensor(inputs.rolloutLogProb as Numbers),
    responseMask: made.mask(inputs.mask as Numbers),
  };
  const now = { logProb: leaf, entropy: entropyOf(one, made) };
  const score = made.tensor(inputs.score as Numbers);
  using loss = await targetPolicyLoss(now, rollout, score, { samplesPerPrompt, eta: options.eta as number });
  await expectLoss(loss, logProb, { ...one, metrics }, made);
  const entropies = target.map((row) => -flat(row).reduce((sum, q) => sum + (q > 0 ? q * Math.log(q) : 0), 0));
  const mean = entropies.reduce((sum, entropy) => sum + entropy / target.length, 0);
  expectNumbers((await loss.metrics()).targetEntropy, mean, METRICS, 'target entropy');
});

/** FlowRL: log Z is recorded for every prompt, and the loss takes that of every row. */
async function checkFlow(one: GoldenCase, made: Made): Promise<void> {
  const { inputs, options } = one;
  const ofPrompts = inputs.logZ as number[];
  const samplesPerPrompt = rowsIn(inputs) / ofPrompts.length;
  const parameters = {
    logProb: made.parameter(inputs.logProb as Numbers),
    logPartition: made.parameter(ofPrompts.flatMap((each) => Array(samplesPerPrompt).fill(each))),
  };
  using logProb = await parameters.logProb.leaf();
  using logPartition = await parameters.logPartition.leaf();
  const rollout = {
    rolloutLogProb: made.tensor(inputs.rolloutLogProb as Numbers),
    referenceLogProb: made.tensor(inputs.referenceLogProb as Numbers),
    responseMask: made.mask(inputs.mask as Numbers),
  };
  const { beta, clip, clipHigh } = options as Record<'beta' | 'clip' | 'clipHigh', number>;
  const now = { logProb, logPartition, entropy: entropyOf(one, made) };
  const chosen = { samplesPerPrompt, beta, clip, clipHigh };
  using loss = await flowrlLoss(now, rollout, made.tensor(inputs.score as Numbers), chosen);
  await expectLoss(loss, parameters.logProb, one, made, await loss.metrics());
  const ofRows = await gradientOf(parameters.logPartition);
  const sums = ofPrompts.map((_, prompt) =>
    ofRows.slice(prompt * samplesPerPrompt, (prompt + 1) * samplesPerPrompt).reduce((sum, each) => sum + each, 0),
  );
  expectNumbers(sums, one.gradient.logZ as Numbers, made.tolerance, 'gradient of log Z');
}
