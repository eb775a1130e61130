/** Recorded numbers of the losses that learn from preferences: of pairs with and without a reference, and of labelled responses. */
import { expect } from 'vitest';
import {
  cpoLoss,
  dpoLoss,
  type DpoLossOptions,
  ktoLoss,
  type KtoLossOptions,
  logRatio,
  type Loss,
  orpoLoss,
  type Parameter,
  RunningMean,
  simpoLoss,
  type Tensor,
} from '../../src/index.ts';
import {
  casesOf,
  expectNumbers,
  flat,
  goldenCases,
  type GoldenCase,
  gradientOf,
  type Made,
  type Numbers,
} from './cases.ts';

/** Whether a metric means the same: what trl calls `nll` is 0 where it has no weight. */
function isMeasured(name: string, { options }: GoldenCase): boolean {
  return name !== 'nll' || options.nllWeight !== 0;
}

/** Compares loss and metrics, and after the backward pass gradients, with those recorded. */
async function expectCase(
  one: GoldenCase,
  { tolerance }: Made,
  loss: Loss<string>,
  gradients: Readonly<Record<string, () => Promise<Numbers>>>,
  more: (metrics: Record<string, number>) => Record<string, number> = () => ({}),
): Promise<void> {
  expectNumbers(await loss.item(), one.loss, tolerance, 'loss');
  const metrics = await loss.metrics();
  const found: Record<string, number> = { ...metrics, ...more(metrics) };
  for (const [name, wanted] of Object.entries(one.metrics).filter(([name]) => isMeasured(name, one)))
    expectNumbers(found[name] ?? Number.NaN, wanted, Math.max(tolerance, 1e-6), name);
  await loss.backward();
  for (const [name, wanted] of Object.entries(one.gradient))
    expectNumbers((await gradients[name]?.()) ?? [], flat(wanted), tolerance, `gradient of ${name}`);
}

/** The gradient of a parameter, all zeros if no backward pass has reached it. */
async function slopes(parameter: Parameter): Promise<number[]> {
  const found = await gradientOf(parameter);
  return found.length > 0 ? found : Array.from(await parameter.data(), Number).map(() => 0);
}

/** The options of a case, those of a list. */
function pick(options: GoldenCase['options'], ...names: string[]): never {
  return Object.fromEntries(Object.entries(options).filter(([name]) => names.includes(name))) as never;
}

async function checkPairs(
  one: GoldenCase,
  made: Made,
  lossOf: (logProb: Tensor, mask: Tensor) => Promise<Loss<string>>,
): Promise<void> {
  using logProb = made.parameter(one.inputs.logProb as Numbers);
  using leaf = await logProb.leaf();
  using mask = made.mask(one.inputs.mask as Numbers);
  using loss = await lossOf(leaf, mask);
  await expectCase(one, made, loss, { logProb: () => gradientOf(logProb) });
}

async function checkDpo(one: GoldenCase, made: Made): Promise<void> {
  using reference = made.tensor(one.inputs.referenceLogProb as Numbers);
  await checkPairs(one, made, (logProb, mask) =>
    dpoLoss(logProb, reference, mask, one.options as never as DpoLossOptions),
  );
}

/** The cases that are left out, by their options, with the reason. */
function without(file: string, reason: string, out: (options: GoldenCase['options']) => boolean) {
  return Object.fromEntries(casesOf(file).flatMap(({ name, options }) => (out(options) ? [[name, reason]] : [])));
}

/** The weights of a mixture of losses, by their recorded names. */
function mixtureOf({ loss, losses, weights, beta }: GoldenCase['options']): DpoLossOptions {
  const names = (losses ?? [loss]) as string[];
  const weightOf = (name: string) => (weights as number[] | undefined)?.[names.indexOf(name)] ?? 1;
  const [lossWeight, bcoWeight, nllWeight] = ['sigmoid', 'bco', 'nll'].map((name) =>
    names.includes(name) ? weightOf(name) : 0,
  );
  return { beta: beta as number, lossWeight, bcoWeight, nllWeight };
}

/** Recorded at the start of a run, where the mean of rewards is 0. */
async function checkMixture(one: GoldenCase, made: Made): Promise<void> {
  using reference = made.tensor(one.inputs.referenceLogProb as Numbers);
  const mixture = { ...mixtureOf(one.options), delta: 0 };
  await checkPairs(one, made, (logProb, mask) => dpoLoss(logProb, reference, mask, mixture));
}

goldenCases(
  'online-preferences',
  async ({ inputs, options, loss, gradient }, made) => {
    const names = ['logProb', 'otherLogProb', 'referenceLogProb', 'otherReferenceLogProb'] as const;
    const [own, other, ownReference, otherReference] = names.map((name) => inputs[name] as number[][]) as number[][][];
    const first = inputs.firstIsChosen as number[];
    const chosen = <T>(a: T[], b: T[], wanted: number) => a.map((row, i) => (first[i] === wanted ? row : (b[i] as T)));
    const rows = <T>(a: T[], b: T[]) => [...chosen(a, b, 1), ...chosen(a, b, 0)];
    const logProb = made.parameter(rows(own as Numbers[], other as Numbers[]));
    using leaf = await logProb.leaf();
    using reference = made.tensor(rows(ownReference as Numbers[], otherReference as Numbers[]));
    const all = [...(own as number[][]), ...(other as number[][])].map((row) => row.map(() => 1));
    using found = await dpoLoss(leaf, reference, made.mask(all), { beta: options.beta as number });
    expectNumbers(await found.item(), loss, made.tolerance, 'loss');
    await found.backward();
    const slopes = rows(gradient.logProb as Numbers[], gradient.otherLogProb as Numbers[]);
    expectNumbers(await gradientOf(logProb), flat(slopes), made.tolerance, 'gradient');
  },
  without('online-preferences', 'not offered', ({ method }) => method !== 'online-dpo'),
);

const SECOND_WAVE = ['nca', 'sppo', 'aot', 'aot-unpaired', 'discopop'];

goldenCases('dpo', checkDpo);
goldenCases(
  'dpo-more',
  (one, made) => (one.options.loss === 'exo' ? checkDpo(one, made) : checkMixture(one, made)),
  without(
    'dpo-more',
    'not offered',
    ({ loss, weighting }) => weighting !== undefined || SECOND_WAVE.includes(loss as string),
  ),
);

const notOffered = without(
  'reference-free',
  'AlphaPO, and a likelihood of the prompt, are not offered',
  ({ alpha, nll }) => alpha !== undefined || nll === 'sequence',
);
goldenCases(
  'reference-free',
  async (one, made) => {
    const { options } = one;
    await checkPairs(one, made, (logProb, mask) => {
      if (options.method === 'orpo') return orpoLoss(logProb, mask, pick(options, 'beta'));
      if (options.method === 'simpo')
        return simpoLoss(logProb, mask, pick(options, 'beta', 'gammaOverBeta', 'nllWeight'));
      expect(options.method).toBe('cpo');
      return cpoLoss(logProb, mask, pick(options, 'loss', 'beta', 'labelSmoothing', 'nllWeight'));
    });
  },
  notOffered,
);

goldenCases('kto', async (one, made) => {
  const { inputs } = one;
  const options = { loss: 'kto', ...one.options } as KtoLossOptions;
  using logProb = made.parameter(inputs.logProb as Numbers);
  using other = made.parameter(inputs.klLogProb as Numbers);
  using leaf = await logProb.leaf();
  using otherLeaf = await other.leaf();
  using reference = made.tensor(inputs.referenceLogProb as Numbers);
  using otherReference = made.tensor(inputs.klReferenceLogProb as Numbers);
  using mask = made.mask(inputs.mask as Numbers);
  using otherMask = made.mask(inputs.klMask as Numbers);
  using desirable = made.mask(inputs.desirable as Numbers);
  using mismatched = await logRatio(otherLeaf, otherReference, otherMask);
  const given = options.loss === 'kto' ? { ...options, mismatched: [mismatched] } : options;
  using loss = await ktoLoss(leaf, reference, mask, desirable, given);
  const gradients = {
    logProb: () => gradientOf(logProb),
    klLogProb: async () => await slopes(other),
  };
  await expectCase(one, made, loss, gradients, (metrics) => ({
    margin: (metrics.desirableReward as number) - (metrics.undesirableReward as number),
  }));
  expect((await slopes(other)).filter((slope) => slope !== 0)).toEqual([]); // z0 is a constant
});

goldenCases('bco', async (one, made) => {
  const [good, bad] = [flat(one.inputs.desirableLogProb as Numbers), flat(one.inputs.undesirableLogProb as Numbers)];
  const references = ['desirableReferenceLogProb', 'undesirableReferenceLogProb'].flatMap((name) =>
    flat(one.inputs[name] as Numbers),
  );
  const rows = (sums: number[]) => sums.map((sum) => [0, sum]); // a response of one token
  using logProb: Parameter = made.parameter(rows([...good, ...bad]));
  using leaf = await logProb.leaf();
  using reference = made.tensor(rows(references));
  using mask = made.mask(references.map(() => [0, 1]));
  using desirable = made.mask([...good.map(() => 1), ...bad.map(() => 0)]);
  const { beta } = one.options as { beta: number };
  using ratios = await logRatio(leaf, reference, mask);
  const rewards = Array.from(await ratios.data(), Number).map((ratio) => beta * ratio);
  const { mean: delta } = new RunningMean().including(rewards);
  using loss = await ktoLoss(leaf, reference, mask, desirable, { loss: 'bco', ...one.options, beta, delta });
  const ofTokens = async () => (await gradientOf(logProb)).filter((_, i) => i % 2 === 1);
  const gradients = {
    desirableLogProb: async () => (await ofTokens()).slice(0, good.length),
    undesirableLogProb: async () => (await ofTokens()).slice(good.length),
  };
  await expectCase(one, made, loss, gradients, () => ({ delta }));
});
