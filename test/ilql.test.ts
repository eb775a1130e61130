/** ILQL: heads and states of the policy, its targets and files, sampling by value, and the contract of a trainer. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { generateCommand } from '../src/cli/generate.ts';
import { type IlqlConfigInput, ilqlConfig } from '../src/config/ilql.ts';
import { parseConfig } from '../src/config/schema.ts';
import { loadSamples, type ScoredSample } from '../src/data/samples.ts';
import { ArgumentError, FileError, ShapeError } from '../src/errors.ts';
import { type IlqlActions, ilqlLogits, ilqlLoss } from '../src/losses/ilql.ts';
import { ilqlMethod } from '../src/methods/ilql.ts';
import { IlqlPolicy } from '../src/models/ilql-policy.ts';
import { planIlql } from '../src/models/ilql-plan.ts';
import { PaLM } from '../src/models/palm.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { saveTensors } from '../src/tensor/tensor-files.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import { withReturns } from '../src/trainers/ilql.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';
import { distance } from './parity/numbers.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-ilql-'));
afterAll(() => rmSync(folder, { recursive: true }));

const WEIGHTS = { tau: 0.7, gamma: 0.9, cqlWeight: 0.1, awacWeight: 1, beta: 0.5 };

function model(options: object = {}) {
  return new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, seed: 3, device, ...options });
}

function config(options: IlqlConfigInput) {
  const target = { alpha: 0.5, every: 1 };
  return parseConfig(ilqlConfig, { lr: 1e-2, lora: 4, warmupSteps: 0, target, ...options }, 'test');
}

/** Samples of different lengths; those that say 5 more often have the higher reward. */
function samplesOf(count: number): ScoredSample[] {
  return Array.from({ length: count }, (_, i) => {
    const response = Array.from({ length: 1 + (i % 4) }, (_, t) => ((i + t) % 3 === 0 ? 5 : 6 + ((i * t) % 5)));
    return { prompt: [2, 3].slice(i % 2), response, reward: response.filter((token) => token === 5).length };
  });
}

trainerContract('ilql', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.max(1, Math.round((steps * batchSize * accumulate) / Math.max(1, rows)));
    return config({ epochs, batchSize, accumulate, ...settings });
  },
  ingredients: (_config, rows) => ({ model: model(), samples: samplesOf(rows) }),
  resumes: {
    'with all weights': { lora: false },
    'with targets that move every third step': { target: { alpha: 0.3, every: 3 } },
  },
});

/** The numbers of a tensor. */
const numbers = async (tensor: Tensor) => Array.from(await tensor.data(), Number);

/** All tensors of a policy whose names start with `prefix`, as one list. */
async function valuesOf(policy: IlqlPolicy, prefix: string): Promise<number[]> {
  const some = policy.contents().tensors.filter(({ name }) => name.startsWith(prefix));
  expect(some).toHaveLength(4);
  return (await Promise.all(some.map(({ tensor }) => numbers(tensor as Tensor)))).flat();
}

/** Trains for a few steps. */
async function trained(options: IlqlConfigInput, samples = samplesOf(8), sizes: object = {}) {
  const { parts, train } = ilqlMethod.assemble(config({ batchSize: 8, ...options }), { model: model(sizes), samples });
  using _optimizer = parts.optimizer;
  const steps = [];
  for await (const step of train()) steps.push(step);
  return { policy: parts.weights, steps };
}

describe('a policy for ILQL', () => {
  it('reads each state where it ends, whatever follows', async () => {
    using trunk = model();
    using policy = new IlqlPolicy(trunk, { lora: false });
    using read = await policy.actionValues([[1, 2, 3, 4]], [[1, 2]], { grad: false });
    using short = await policy.actionValues([[1, 2, 3]], [[1, 2]], { grad: false });
    using forward = await trunk.forward([[1, 2, 3, 4]]);
    expect(distance(await numbers(read.logits), (await numbers(forward.logits)).slice(16, 48))).toBeLessThan(1e-6);
    for (const name of ['q1', 'q2', 'targetQ1', 'targetQ2', 'value'] as const)
      expect(distance(await numbers(read[name]), await numbers(short[name])), name).toBeLessThan(1e-6);
    expect(read.q1.shape).toEqual([1, 2, 16]);
    expect(read.value.shape).toEqual([1, 2]);
  });

  it('refuses states outside the sequence', async () => {
    using trunk = model();
    using policy = new IlqlPolicy(trunk);
    await expect(policy.actionValues([[1, 2]], [[2]])).rejects.toThrow(/state/);
    await expect(policy.actionValues([[1, 2]], [[0], [1]])).rejects.toBeInstanceOf(ShapeError);
  });

  it('has targets that start as copies, move by alpha and are never trained', async () => {
    const { policy } = await trained({ epochs: 3, target: { alpha: 0.5, every: 100 } });
    using trunk = policy.model;
    using _ = policy;
    using fresh = new IlqlPolicy(model(), { lora: 4, seed: 0 });
    expect(await valuesOf(fresh, 'ilql.target_q1.')).toEqual(await valuesOf(fresh, 'ilql.q1.'));
    expect(await valuesOf(fresh, 'ilql.target_q1.')).not.toEqual(await valuesOf(fresh, 'ilql.target_q2.'));
    const [q, before] = [await valuesOf(policy, 'ilql.q1.'), await valuesOf(policy, 'ilql.target_q1.')];
    expect(before).toEqual(await valuesOf(fresh, 'ilql.target_q1.'));
    expect(q).not.toEqual(before);
    await policy.sync(0.25);
    const halfway = before.map((target, i) => 0.25 * (q[i] as number) + 0.75 * target);
    expect(distance(await valuesOf(policy, 'ilql.target_q1.'), halfway)).toBeLessThan(1e-6);
    await policy.sync(1);
    expect(await valuesOf(policy, 'ilql.target_q2.')).toEqual(await valuesOf(policy, 'ilql.q2.'));
    expect(trunk.scopes).toEqual(['actor']);
    fresh.model.dispose();
  });

  it.each([4, false] as const)('is the same from its file, and a language model too: lora %s', async (lora) => {
    const { policy } = await trained({ epochs: 2, lora });
    using _trunk = policy.model;
    using _policy = policy;
    const path = join(folder, `policy-${lora}.safetensors`);
    await saveTensors(path, policy.contents());
    using loaded = await IlqlPolicy.load(path, { device });
    using _loadedTrunk = loaded.model;
    expect([loaded.lora, loaded.scopes]).toEqual([policy.lora, policy.scopes]);
    const input = { prompts: [[2, 3], [4]], maxNewTokens: 6, seed: 1, beta: 3 };
    using here = await policy.generate(input);
    using there = await loaded.generate(input);
    expect(await numbers(there.sequences)).toEqual(await numbers(here.sequences));
    expect(await numbers(there.logProbs)).toEqual(await numbers(here.logProbs));
    using language = await PaLM.load(path, { device });
    expect(language.scopes).toEqual(policy.scopes);
  });

  it('is not read from the file of another model', async () => {
    using trunk = model();
    const path = join(folder, 'palm.safetensors');
    await trunk.save(path);
    await expect(IlqlPolicy.load(path)).rejects.toBeInstanceOf(FileError);
  });
});

describe('sampling by value', () => {
  const input = { prompts: [[2, 3]], maxNewTokens: 5, samplesPerPrompt: 4, seed: 5 };

  it.each([
    { beta: 3, temperature: 1, topK: undefined },
    { beta: 8, temperature: 0.7, topK: 4 },
  ])('draws from the logits that the loss also reads: $beta, T $temperature, top $topK', async (drawing) => {
    const { beta, temperature, topK } = drawing;
    const { policy } = await trained({ epochs: 4 });
    using _trunk = policy.model;
    using _policy = policy;
    using drawn = await policy.generate({ ...input, beta, temperature, topK });
    const states = Array.from({ length: 4 }, () => [1, 2, 3, 4, 5]);
    using read = await policy.actionValues(drawn.sequences, states, { grad: false });
    using logits = await ilqlLogits(read, { beta });
    const [all, tokens, found] = await Promise.all([logits, drawn.sequences, drawn.logProbs].map(numbers));
    for (let row = 0; row < 4; row++)
      for (let t = 0; t < 5; t++) {
        const some = (all as number[]).slice((row * 5 + t) * 16, (row * 5 + t + 1) * 16);
        const least = [...some].sort((a, b) => b - a)[(topK ?? 16) - 1] as number;
        const kept = some.filter((logit) => logit >= least);
        const sum = Math.log(kept.reduce((total, logit) => total + Math.exp(logit / temperature), 0));
        const logit = some[(tokens as number[])[row * 7 + 2 + t] as number] as number;
        expect(Math.abs(logit / temperature - sum - ((found as number[])[row * 7 + 2 + t] as number))).toBeLessThan(
          1e-4,
        );
      }
  });

  it('is that of the policy alone at beta 0, and streams the same tokens', async () => {
    using trunk = model();
    using policy = new IlqlPolicy(trunk);
    using alone = await trunk.generate({ ...input, scope: 'actor' });
    using none = await policy.generate({ ...input, beta: 0 });
    expect(await numbers(none.sequences)).toEqual(await numbers(alone.sequences));
    using readout = policy.readout({ beta: 9 });
    using whole = await policy.generate({ ...input, samplesPerPrompt: 1, beta: 9 });
    const streamed: number[] = [];
    const stream = { prompt: [2, 3], maxNewTokens: 5, seed: 5, scope: 'actor', readout };
    for await (const { token } of trunk.stream(stream)) streamed.push(token);
    expect((await numbers(whole.sequences)).slice(2)).toEqual(streamed);
  });

  it('refuses what it cannot do', async () => {
    using trunk = model();
    using other = model();
    using policy = new IlqlPolicy(trunk);
    using readout = policy.readout({ beta: 1 });
    await expect(other.generate({ ...input, readout })).rejects.toBeInstanceOf(ArgumentError);
    await expect(policy.generate({ ...input, beta: 1, weights: 'int8' })).rejects.toBeInstanceOf(ArgumentError);
    await expect(policy.generate({ ...input, beta: Number.NaN })).rejects.toBeInstanceOf(ArgumentError);
  });
});

describe('palm generate --beta', () => {
  capturePrinted();

  it('samples by the values of an ILQL model, and refuses models without values', async () => {
    const { policy } = await trained({ epochs: 1 }, samplesOf(8), { numTokens: 258 });
    using trunk = policy.model;
    using _ = policy;
    const [valued, plain] = [join(folder, 'valued.safetensors'), join(folder, 'plain.safetensors')];
    await saveTensors(valued, policy.contents());
    await trunk.save(plain);
    const told = ['--tokenizer', 'byte', '--prompt', 'ab', '--maxNewTokens', '4', '--seed', '7', '--device', device];
    await palm(generateCommand(), valued, '--beta', '50', ...told);
    using drawn = await policy.generate({
      prompts: [[97, 98]],
      maxNewTokens: 4,
      seed: 7,
      beta: 50,
      eosToken: 256,
      suppress: [257],
    });
    const tokenizer = await loadTokenizer('byte');
    const tokens = (await numbers(drawn.sequences)).filter((token) => token < 256);
    expect(printed.stdout).toBe(`${tokenizer.decode(tokens)}\n`);
    await expect(palm(generateCommand(), plain, '--beta', '50', ...told)).rejects.toMatchObject({ argument: '--beta' });
  });
});

describe('ilqlLoss', () => {
  const [rows, tokens, vocabulary] = [3, 4, 6];
  const random = (count: number, seed: number) =>
    Float64Array.from({ length: count }, (_, i) => Math.sin(7.3 * i + 11.1 * seed));
  const tensor = (values: Float64Array, shape: number[]) => Tensor.from(values, { shape, device });
  const lengths = [4, 1, 3];
  const mask = lengths.map((length) => Array.from({ length: tokens }, (_, t) => (t < length ? 1 : 0)));

  /** The loss of some rows; outside of responses stands `garbage`. */
  async function lossOf(some: readonly number[], denominator?: number, garbage?: number): Promise<number[]> {
    const fill = (values: Float64Array, width: number) =>
      garbage === undefined
        ? values
        : values.map((value, i) => (mask.flat()[Math.floor(i / width)] === 1 ? value : garbage));
    const pick = (values: Float64Array, width: number) => {
      const all = fill(values, width);
      const each = tokens * width;
      return Float64Array.from(some.flatMap((row) => [...all.slice(row * each, (row + 1) * each)]));
    };
    const wide = (seed: number) =>
      tensor(pick(random(rows * tokens * vocabulary, seed), vocabulary), [some.length, tokens, vocabulary]);
    const thin = (seed: number) => tensor(pick(random(rows * tokens, seed), 1), [some.length, tokens]);
    const read = { logits: wide(1), q1: wide(2), q2: wide(3), targetQ1: wide(4), targetQ2: wide(5), value: thin(6) };
    const actions: IlqlActions = {
      response: some.map((row) => Array.from({ length: tokens }, (_, t) => (row + 2 * t) % vocabulary)),
      reward: thin(7),
      responseMask: some.map((row) => mask[row] as number[]),
    };
    using loss = await ilqlLoss(read, actions, { ...WEIGHTS, denominator });
    return [await loss.item(), ...Object.values(await loss.metrics())];
  }

  it('adds up over pieces given the count of the whole', async () => {
    const [whole, one, others] = [await lossOf([0, 1, 2]), await lossOf([0], 8), await lossOf([1, 2], 8)];
    const sum = one.map((value, i) => value + (others[i] as number));
    expect(distance(sum, whole)).toBeLessThan(1e-5);
    expect(Math.abs((sum[0] as number) - (whole[0] as number))).toBeLessThan(1e-12);
  });

  it.each([1e6, Number.NaN])('does not see what stands outside of responses: %d', async (garbage) => {
    expect(await lossOf([0, 1, 2], undefined, garbage)).toEqual(await lossOf([0, 1, 2]));
  });

  it('refuses shapes that differ, and tokens that the model does not have', async () => {
    using trunk = model();
    using policy = new IlqlPolicy(trunk);
    using read = await policy.actionValues([[1, 2, 3]], [[0, 1]]);
    using reward = Tensor.from([[0, 1]], { device });
    const actions = { response: [[2, 3]], reward, responseMask: [[1, 1]] };
    using fine = await ilqlLoss(read, actions, WEIGHTS);
    expect(await fine.item()).toBeGreaterThan(0);
    await expect(ilqlLoss(read, { ...actions, response: [[2]] }, WEIGHTS)).rejects.toBeInstanceOf(ShapeError);
    await expect(ilqlLoss(read, { ...actions, response: [[2, 16]] }, WEIGHTS)).rejects.toThrow(/response/);
    await expect(ilqlLoss({ ...read, q2: read.value }, actions, WEIGHTS)).rejects.toBeInstanceOf(ShapeError);
  });
});

describe('training by ILQL', () => {
  it('reads each response token in the state before it, and pays at the last one', async () => {
    const samples = [
      { prompt: [2, 3, 4], response: [5, 6], reward: 2 },
      { prompt: [7], response: [8, 9, 1], reward: 0 },
    ];
    const { policy, steps } = await trained({ epochs: 1, batchSize: 2, loss: WEIGHTS }, samples);
    policy.model.dispose();
    policy.dispose();
    using trunk = model();
    using fresh = new IlqlPolicy(trunk, { lora: 4, seed: 0 });
    const losses = [
      { sequence: [[2, 3, 4, 5, 6]], states: [[2, 3]], response: [[5, 6]], reward: [[0, Math.SQRT1_2]] },
      { sequence: [[7, 8, 9, 1]], states: [[0, 1, 2]], response: [[8, 9, 1]], reward: [[0, 0, -Math.SQRT1_2]] },
    ].map(async ({ sequence, states, response, reward }) => {
      using read = await fresh.actionValues(sequence, states, { grad: false });
      using paid = Tensor.from(reward, { device });
      const responseMask = response.map((row) => row.map(() => 1));
      using loss = await ilqlLoss(read, { response, reward: paid, responseMask }, { ...WEIGHTS, denominator: 5 });
      return await loss.item();
    });
    const [first, second] = await Promise.all(losses);
    expect(steps[0]?.loss).toBeCloseTo((first as number) + (second as number), 5);
  });

  it('finds the tokens that pay', async () => {
    const { policy, steps } = await trained({ epochs: 40, lora: false });
    using _trunk = policy.model;
    using _policy = policy;
    expect(steps.at(-1)?.qLoss).toBeLessThan((steps[0]?.qLoss as number) / 2);
    using read = await policy.actionValues([[2, 3]], [[1]], { grad: false });
    const [five, six] = [5, 6];
    const q = await numbers(read.q1);
    expect(q[five]).toBeGreaterThan((q[six] as number) + 0.5);
  });

  it('learns values of 0 from rewards that are all equal', () => {
    expect(withReturns([0.1, 0.1, 0.1].map((reward) => ({ prompt: [1], response: [2], reward })))).toMatchObject(
      Array(3).fill({ reward: 0 }),
    );
  });

  it('refuses samples without a response before it changes anything', async () => {
    await expect(trained({ epochs: 1 }, [{ prompt: [1], response: [], reward: 1 }])).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT', argument: 'samples[0].response' }),
    );
  });

  it.each([4, false] as const)('needs the memory that is planned for it: lora %s', async (lora) => {
    const sizes = { numTokens: 1000, dim: 128, depth: 2, heads: 4, dimHead: 32, ffMult: 3 };
    using planned = model(sizes);
    const samples = Array.from({ length: 8 }, (_, i) => ({
      prompt: Array<number>(32).fill(i),
      response: Array<number>(96).fill(i),
      reward: i,
    }));
    const measured = await peakOf(async () => {
      using trunk = model(sizes);
      const { parts, train } = ilqlMethod.assemble(config({ lora, batchSize: 8, epochs: 1 }), {
        model: trunk,
        samples,
      });
      using _policy = parts.weights;
      using _optimizer = parts.optimizer;
      await drain(train());
    });
    expectNear(planIlql(planned.decoder, { batchSize: 8, length: 128, responseLength: 96, lora }), measured);
  });
});

describe('loadSamples', () => {
  async function load(lines: unknown[], limits = { maxLength: 8 }) {
    const path = join(folder, 'samples.jsonl');
    writeFileSync(path, lines.map((line) => JSON.stringify(line)).join('\n'));
    return await loadSamples(path, await loadTokenizer('byte'), limits);
  }
  const bytes = (text: string) => [...Buffer.from(text)];

  it('reads texts as tokens and keeps their rewards', async () => {
    const { samples, skipped } = await load([
      { prompt: 'ab', completion: 'c', reward: -1.5 },
      { prompt: 'd', completion: 'ef', reward: 2 },
    ]);
    const { eosToken } = await loadTokenizer('byte');
    const end = eosToken === undefined ? [] : [eosToken];
    expect(samples).toEqual([
      { prompt: bytes('ab'), response: [...bytes('c'), ...end], reward: -1.5 },
      { prompt: bytes('d'), response: [...bytes('ef'), ...end], reward: 2 },
    ]);
    expect(skipped).toEqual([]);
  });

  it('cuts prompts on the left and responses on the right, and counts both', async () => {
    const { samples, cut } = await load([
      { prompt: 'abcdefghij', completion: 'x', reward: 0 },
      { prompt: 'abc', completion: 'uvwxyzuvwxyz', reward: 1 },
    ]);
    for (const { prompt, response } of samples) expect(prompt.length + response.length).toBeLessThanOrEqual(8);
    expect(samples[0]?.prompt.at(-1)).toBe(bytes('j')[0]);
    expect(samples[1]?.response.slice(0, 3)).toEqual(bytes('uvw'));
    expect(cut).toEqual({ prompts: 2, responses: 1 });
  });

  it('refuses rows without a reward, and says how many', async () => {
    const good = { prompt: 'a', completion: 'b', reward: 1 };
    const refused = load([good, { prompt: 'a', completion: 'c' }]);
    await expect(refused).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_DATA', received: '1 of 2 rows without "reward"' }),
    );
  });
});
