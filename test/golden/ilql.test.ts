/** ILQL on recorded numbers: its loss, what it samples from, its returns and the moves of its targets. */
import { describe, expect, it } from 'vitest';
import { ilqlLogits, ilqlLoss } from '../../src/losses/ilql.ts';
import { IlqlPolicy } from '../../src/models/ilql-policy.ts';
import { PaLM } from '../../src/models/palm.ts';
import { addon } from '../../src/native/addon.ts';
import { handleOf } from '../../src/native/resource.ts';
import { type Parameter, Tensor } from '../../src/tensor/tensor.ts';
import { withReturns } from '../../src/trainers/ilql.ts';
import { device } from '../device.ts';
import { casesOf, expectNumbers, flat, goldenCases, gradientOf, type Numbers } from './cases.ts';

type Options = { tau: number; gamma: number; cqlWeight: number; awacWeight: number; beta: number };
const METRICS = { loss_q: 'qLoss', loss_v: 'valueLoss', loss_cql: 'cqlLoss', loss_awac: 'awacLoss' } as const;
const READ = ['logits', 'q1', 'q2', 'targetQ1', 'targetQ2', 'value'] as const;

/** The recorded numbers have a state more than actions: the end. Entries [B, R, …] of [B, R + 1, …]. */
const withoutEnd = (rows: Numbers, actions: number) => (rows as Numbers[][]).map((row) => row.slice(0, actions));

goldenCases('ilql', async ({ options, inputs, loss, metrics, gradient }, { parameter, tensor, mask, tolerance }) => {
  const { action, reward, notDone } = inputs as Record<'action' | 'reward' | 'notDone', Numbers>;
  const actions = (action as number[][])[0]?.length as number;
  const parameters = READ.map((name) => [name, parameter(withoutEnd(inputs[name] as Numbers, actions))] as const);
  const leaves = await Promise.all(parameters.map(async ([name, of]) => [name, await of.leaf()] as const));
  const read = Object.fromEntries(leaves) as unknown as Parameters<typeof ilqlLoss>[0];
  const taken = {
    response: action as number[][],
    reward: tensor(reward),
    responseMask: mask(withoutEnd(notDone, actions)),
  };
  using found = await ilqlLoss(read, taken, options as Options);
  expectNumbers(await found.item(), loss, tolerance, 'loss');
  const measured = await found.metrics();
  for (const [name, ours] of Object.entries(METRICS))
    if (metrics[name] !== undefined) expectNumbers(measured[ours], metrics[name], 1e-6, name);
  await found.backward();
  for (const [name, of] of parameters) {
    const recorded = gradient?.[name];
    if (recorded === undefined) continue;
    expectNumbers(await gradientOf(of), flat(withoutEnd(recorded, actions)), tolerance, `gradient of ${name}`);
  }
});

/** What remains of probability after the k most likely tokens are kept. */
function probabilities(logits: number[], { topK, temperature }: { topK: number; temperature: number }): number[] {
  const least = [...logits].sort((a, b) => b - a)[topK === 0 ? logits.length - 1 : topK - 1] as number;
  const exp = logits.map((logit) => (logit >= least ? Math.exp((logit - Math.max(...logits)) / temperature) : 0));
  const sum = exp.reduce((total, value) => total + value, 0);
  return exp.map((value) => value / sum);
}

const decoding = casesOf('ilql-decode');
const sampled = decoding.filter(({ expected }) => expected.prob !== undefined);

describe('ILQL', () => {
  it.each(sampled)('samples from the recorded probabilities: $name', async ({ options, inputs, expected }) => {
    const width = (inputs.logits as number[][])[0]?.length as number;
    const tensor = (numbers: Numbers) =>
      Tensor.from(Float64Array.from(flat(numbers)), { shape: [(numbers as Numbers[]).length, width], device });
    using logits = await ilqlLogits(
      {
        logits: tensor(inputs.logits as Numbers),
        targetQ1: tensor(inputs.targetQ1 as Numbers),
        targetQ2: tensor(inputs.targetQ2 as Numbers),
      },
      { beta: options.beta as number },
    );
    const all = Array.from(await logits.data(), Number);
    const rows = Array.from({ length: all.length / width }, (_, row) => all.slice(row * width, (row + 1) * width));
    const found = rows.map((row) => probabilities(row, options as { topK: number; temperature: number }));
    expectNumbers(found, expected.prob as Numbers, 1e-9, 'probabilities');
  });

  it.each(decoding.filter(({ expected }) => expected.returns !== undefined))('$name', ({ inputs, expected }) => {
    const samples = (inputs.rawReturns as number[]).map((reward) => ({ prompt: [0], response: [1], reward }));
    const found = withReturns(samples).map(({ reward }) => reward);
    expectNumbers(found, expected.returns as Numbers, 1e-9, 'returns');
  });

  // The recorded targets follow heads of twice their value.
  it.each(decoding.filter(({ expected }) => expected.target !== undefined))(
    'moves its targets as recorded: $name',
    async ({ options, inputs, expected }) => {
      const before = flat(inputs.targetQ1 as Numbers);
      using model = new PaLM({
        numTokens: before.length,
        dim: 2,
        depth: 1,
        heads: 1,
        dimHead: 2,
        dtype: 'float64',
        device,
      });
      using policy = new IlqlPolicy(model, { lora: false });
      const { tensors } = policy.contents();
      const bias = (name: string) =>
        tensors.find((one) => one.name === `ilql.${name}.output.bias`)?.tensor as Parameter;
      for (const [name, values] of Object.entries({ target_q1: before, q1: before.map((value) => 2 * value) })) {
        using given = Tensor.from(Float64Array.from(values), { shape: [before.length], device });
        using value = await bias(name).value();
        await addon().tensorCopy(handleOf(value), handleOf(given));
      }
      await policy.sync(options.alpha as number);
      const found = Array.from(await bias('target_q1').data(), Number);
      expectNumbers(found, expected.target as Numbers, 1e-9, 'targets');
    },
  );

  it('has recorded cases of each kind, unless the folder lacks them', () => {
    if (process.env.PALM_GOLDEN_DIR === undefined) expect([decoding.length, sampled.length]).toEqual([5, 3]);
  });
});
