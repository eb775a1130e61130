/** Supervised fine-tuning: targets, packing, its trainer on rows, and the contract of a trainer. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type SftConfigInput, sftConfig } from '../src/config/sft.ts';
import { parseConfig } from '../src/config/schema.ts';
import { type Completion, type TrainingExample, targetsOf } from '../src/data/completions.ts';
import { ArgumentError, DataError, ShapeError } from '../src/errors.ts';
import { sftLoss } from '../src/losses/text.ts';
import { loadExamples } from '../src/methods/examples.ts';
import { sftMethod } from '../src/methods/sft.ts';
import type { LanguageModel } from '../src/models/language-model.ts';
import { planPretraining } from '../src/models/memory-plan.ts';
import { PaLM } from '../src/models/palm.ts';
import { predict, predictionOf } from '../src/models/prediction.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { ByteTokenizer } from '../src/tokenizer/byte.ts';
import type { SftStep } from '../src/trainers/sft.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';
import { relativeDistance } from './parity/numbers.ts';

/** A row whose response repeats the tokens of its prompt, a few higher; lengths differ. */
function row(i: number): Completion {
  const tokens = (length: number, min: number) => Array.from({ length }, (_, t) => min + ((i + t) % 4));
  return { prompt: tokens(1 + (i % 3), 3), response: tokens(2 + ((i * i) % 5), 7) };
}
const rows = (count: number, from = 0) => Array.from({ length: count }, (_, i) => row(from + i));

function config(options: SftConfigInput) {
  return parseConfig(sftConfig, { batchSize: 4, warmupSteps: 1, evaluateEvery: 4, lr: 1e-2, ...options }, 'test');
}

const SIZE = { numTokens: 12, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 3, device };

trainerContract('sft', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.ceil((steps * batchSize * accumulate) / Math.max(rows, 1));
    return config({ epochs, batchSize, accumulate, evaluateEvery: 50, ...settings });
  },
  ingredients: (_, count) => ({ model: new PaLM(SIZE), examples: rows(count), validation: rows(7, 20) }),
  resumes: { 'with LoRA': { lora: 4 }, 'without packing, on all tokens': { packing: false, lossOn: 'all' } },
});

/** Trains a new model; gives its steps and the numbers of its weights. */
async function train(options: SftConfigInput, examples: TrainingExample[] = rows(12), size: object = SIZE) {
  using model = new PaLM({ ...SIZE, ...size });
  const ingredients = { model, examples, validation: rows(7, 20) };
  const { parts, train } = sftMethod.assemble(config(options), ingredients);
  using _ = parts.optimizer;
  const steps: SftStep[] = [];
  for await (const step of train()) steps.push(step);
  return { steps, weights: await numbersOf(model), scopes: model.scopes };
}

async function numbersOf(model: LanguageModel): Promise<number[]> {
  const all = await Promise.all(model.parameters().map((parameter) => parameter.data()));
  return all.flatMap((array) => Array.from(array, Number));
}

describe('supervised fine-tuning', () => {
  it.each([false, 4] as const)('learns the responses, lora %s', async (lora) => {
    const { steps, scopes } = await train({ epochs: 10, lora, lr: lora === false ? 1e-2 : 5e-2 });
    const [first, last] = [steps[0], steps.at(-1)] as [SftStep, SftStep];
    expect(last.step).toBe(30);
    const share = lora === false ? 0.5 : 0.9; // adapters of attention alone move a model with random weights less
    expect(last.loss).toBeLessThan(share * first.loss);
    expect(last.validationLoss).toBeLessThan(share * first.loss);
    expect(last.tokenAccuracy).toBeGreaterThan(first.tokenAccuracy);
    expect(last.entropy).toBeLessThan(first.entropy);
    expect(steps.filter((step) => step.validationLoss !== undefined).map(({ step }) => step % 4)).toContain(0);
    expect(scopes).toEqual(lora === false ? [] : ['actor']);
  });

  it('trains only adapters with LoRA', async () => {
    using untrained = new PaLM(SIZE);
    expect((await train({ epochs: 1, lora: 4 })).weights).toEqual(await numbersOf(untrained));
  });

  it.each([{}, { lossOn: 'all' }, { loss: 'dft' }] as const)('gives the same packed as padded, %o', async (options) => {
    const [packed, padded] = [await train({ ...options }), await train({ ...options, packing: false })];
    for (const [i, { loss, gradNorm, entropy, tokenAccuracy, validationLoss = 0 }] of packed.steps.entries()) {
      const other = padded.steps[i] as SftStep;
      expect(relativeDistance([loss, gradNorm, entropy], [other.loss, other.gradNorm, other.entropy])).toBeLessThan(
        1e-5,
      );
      expect(tokenAccuracy).toBeCloseTo(other.tokenAccuracy, 6);
      expect(validationLoss).toBeCloseTo(other.validationLoss ?? 0, 5);
    }
    expect(relativeDistance(packed.weights, padded.weights)).toBeLessThan(1e-5);
  });

  it('counts tokens and targets', async () => {
    const examples = [{ prompt: [1, 2, 3], response: [4, 5] }, { tokens: [6, 7, 8] }];
    const [first] = (await train({ epochs: 1, batchSize: 2 }, examples)).steps;
    expect(first).toMatchObject({ tokens: 8, targetShare: 4 / 8 });
    const [all] = (await train({ epochs: 1, batchSize: 2, lossOn: 'all' }, examples)).steps;
    expect(all).toMatchObject({ tokens: 8, targetShare: 6 / 8 });
  });

  it('begins at the loss of the model on the response alone', async () => {
    using model = new PaLM(SIZE);
    using loss = await model.loss([[3, 4, 7, 8, 9]], { mask: [[0, 0, 1, 1, 1]] });
    const { steps } = await train({ epochs: 1, batchSize: 1 }, [{ prompt: [3, 4], response: [7, 8, 9] }]);
    expect(steps[0]?.loss).toBeCloseTo(await loss.item(), 5);
  });

  it('uses the dropout of the model in training only', async () => {
    const dropping = { attnDropout: 0.3, ffDropout: 0.3 };
    const { steps } = await train({ epochs: 1 }, rows(12), dropping);
    const again = await train({ epochs: 1 }, rows(12), dropping);
    expect(steps.map(({ loss }) => loss)).toEqual(again.steps.map(({ loss }) => loss));
    expect(steps[0]?.loss).not.toBe((await train({ epochs: 1 })).steps[0]?.loss);
  });

  it('refuses rows without a target, foreign tokens and models that see ahead', async () => {
    const refusal = (examples: TrainingExample[], size = {}) => train({}, examples, size);
    await expect(refusal([{ prompt: [1], response: [] }])).rejects.toMatchObject({ argument: 'examples[0]' });
    await expect(refusal([{ prompt: [], response: [1] }])).rejects.toThrow(/nothing to learn/);
    await expect(refusal([{ prompt: [1], response: [99] }])).rejects.toMatchObject({
      argument: 'examples[0], token 1',
    });
    await expect(refusal([{ tokens: [1, 2], targets: [true, false] }])).rejects.toThrow(/nothing to learn/);
    await expect(refusal(rows(4), { causal: false })).rejects.toBeInstanceOf(ArgumentError);
  });

  it.each([8, false] as const)('needs the memory that is planned for it, lora %s', async (lora) => {
    const sizes = { numTokens: 260, dim: 256, depth: 3, heads: 4, dimHead: 32, ffMult: 3, device };
    using planned = new PaLM(sizes);
    const long = (from: number) => Array.from({ length: 128 }, (_, t) => (from + t) % 260);
    const examples = Array.from({ length: 6 }, (_, i) => ({ prompt: long(i), response: long(i + 1) }));
    const measured = await peakOf(async () => {
      using model = new PaLM(sizes);
      const { parts, train } = sftMethod.assemble(config({ lora, batchSize: 6 }), { model, examples });
      using _weights = parts.weights;
      using _optimizer = parts.optimizer;
      await drain(train());
    });
    expectNear(planPretraining(planned.decoder, { batchSize: 6, length: 256, lora }), measured);
  });
});

describe('the targets of a row', () => {
  it('exclude its first token, which nothing predicts', () => {
    const targets = (example: TrainingExample, lossOn: 'response' | 'all' = 'response') =>
      targetsOf(example, lossOn).targets;
    expect(targets({ prompt: [1, 2], response: [3] })).toEqual([false, false, true]);
    expect(targets({ prompt: [1, 2], response: [3] }, 'all')).toEqual([false, true, true]);
    expect(targets({ prompt: [], response: [3, 4] })).toEqual([false, true]);
    expect(targets({ tokens: [1, 2, 3] })).toEqual([false, true, true]);
    expect(targets({ tokens: [1, 2, 3], targets: [true, false, true] })).toEqual([false, false, true]);
  });
});

describe('the prediction of a model', () => {
  it('is of every token but the first of each sequence', async () => {
    using model = new PaLM(SIZE);
    using read = await model.forward([[1, 2, 3, 4, 5]], { segments: [[1, 1, 1, 2, 2]] });
    using now = await predict(model, [[1, 2, 3, 4, 5]], { segments: [[1, 1, 1, 2, 2]], grad: false });
    const logits = Array.from(await read.logits.data(), Number);
    const logProb = Array.from(await now.logProb.data(), Number);
    const right = Array.from(await now.right.data(), Number);
    for (const [t, token] of [1, 2, 3, 4, 5].entries()) {
      const before = logits.slice((t - 1) * 12, t * 12);
      const first = t === 0 || t === 3;
      const total = Math.log(before.reduce((sum, logit) => sum + Math.exp(logit), 0));
      expect(logProb[t]).toBeCloseTo(first ? 0 : (before[token] as number) - total, 5);
      expect(right[t]).toBe(!first && before.indexOf(Math.max(...before)) === token ? 1 : 0);
    }
  });

  it('agrees with that of its logits, and the loss with the cross entropy', async () => {
    using model = new PaLM({ ...SIZE, dtype: 'float64' });
    const tokens = [[4, 5, 6, 7]];
    using read = await model.forward(tokens);
    using own = await predict(model, tokens, { grad: false });
    using other = await predictionOf(read.logits, [[5, 6, 7, 0]]);
    const [a, b] = [await own.logProb.data(), await other.logProb.data()];
    expect(relativeDistance(Array.from(a, Number).slice(1), Array.from(b, Number).slice(0, 3))).toBeLessThan(1e-10);
    using loss = await sftLoss(own, [[0, 1, 1, 1]], { loss: 'nll' });
    using expected = await model.loss(tokens);
    expect(await loss.item()).toBeCloseTo(await expected.item(), 10);
  });

  it('refuses what does not fit', async () => {
    using model = new PaLM(SIZE);
    await expect(predict(model, [[1]])).rejects.toBeInstanceOf(ShapeError);
    using logits = Tensor.from(new Float32Array(6), { shape: [1, 2, 3], device });
    await expect(predictionOf(logits, [[0, 3]])).rejects.toBeInstanceOf(ArgumentError);
    using now = await predictionOf(logits, [[0, 2]]);
    await expect(sftLoss(now, [[1]], { loss: 'nll' })).rejects.toBeInstanceOf(ShapeError);
    await expect(sftLoss(now, [[0, 1]], { loss: 'ntl' as never })).rejects.toMatchObject({ argument: 'loss' });
  });
});

describe('files of rows', () => {
  const folder = mkdtempSync(join(tmpdir(), 'palm-sft-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const load = async (lines: object[], options: { maxLength?: number; validationFraction?: number } = {}) => {
    const data = join(folder, 'rows.jsonl');
    writeFileSync(data, lines.map((line) => JSON.stringify(line)).join('\n'));
    return await loadExamples({ data, maxLength: 64, validationFraction: 0, seed: 0, ...options }, tokenizer);
  };
  const tokenizer = new ByteTokenizer();
  /** What is learned of each row, with what stands before it; `$` is the eos. */
  const texts = (examples: TrainingExample[]) =>
    examples.map((example) => {
      const { tokens, targets } = targetsOf(example, 'response');
      const spell = (all: number[]) => all.map((token) => (token === 256 ? '$' : String.fromCharCode(token))).join('');
      return [spell(tokens.filter((_, t) => !targets[t])), spell(tokens.filter((_, t) => targets[t]))];
    });

  it.each([
    ['a completion', { prompt: 'a', completion: ' b' }, ['a', ' b$']],
    ['the chosen side of a pair', { prompt: 'a', chosen: ' b', rejected: ' c' }, ['a', ' b$']],
    ['a text', { text: 'abc' }, ['a', 'bc$']],
    [
      'what the assistant says',
      { messages: ['user', 'assistant', 'user', 'assistant'].map((role, i) => ({ role, content: 'abcd'[i] })) },
      ['\n\nHuman: a\n\nAssistant:\n\nHuman: c\n\nAssistant:', ' b$ d$'],
    ],
  ])('learn %s', async (_, line, expected) => {
    const { train } = await load([line], { maxLength: 256 });
    expect(texts(train)).toEqual([expected]);
  });

  it('lose the beginning of a prompt, then the end of a response, and tell of it', async () => {
    const { train, counts, notices } = await load(
      [
        { prompt: 'abcdef', completion: 'xyz' },
        { prompt: 'abcdef', completion: 'uvwxyz' },
        { prompt: 'a', completion: '' },
      ],
      { maxLength: 6 },
    );
    expect(texts(train)).toEqual([
      ['ef', 'xyz$'],
      ['ef', 'uvwx'],
    ]);
    expect(counts).toEqual({ heldOut: 0, skipped: 1, promptsCut: 2, responsesCut: 1 });
    expect(notices).toHaveLength(2);
  });

  it('are held out by prompt', async () => {
    const rows = Array.from({ length: 20 }, (_, i) => ({ prompt: `${i % 5}`, completion: `${i}` }));
    const { train, validation, longest } = await load(rows, { validationFraction: 0.2 });
    expect([train.length, validation.length, longest]).toEqual([16, 4, 4]);
    expect(new Set(validation.map((row) => (row as Completion).prompt.join())).size).toBe(1);
  });

  it('of plain text are passages, of which every token but the first is learned once', async () => {
    const data = join(folder, 'text.txt');
    writeFileSync(data, 'abcdefgh');
    const reading = { maxLength: 4, validationFraction: 0, seed: 0 };
    const { train } = await loadExamples({ ...reading, data }, tokenizer);
    expect(texts(train)).toEqual([
      ['a', 'bcd'],
      ['d', 'efg'],
      ['g', 'h'],
    ]);
    expect((await loadExamples({ ...reading, data: [data, data], maxLength: 8 }, tokenizer)).train).toHaveLength(2);
    writeFileSync(join(folder, 'rows.jsonl'), '{"text": "abc"}');
    const mixed = loadExamples({ ...reading, data: [join(folder, 'rows.jsonl'), data] }, tokenizer);
    await expect(mixed).rejects.toBeInstanceOf(DataError);
  });

  it('of another kind are refused', async () => {
    await expect(load([{ prompt: 'a', completion: 'b', label: true }])).rejects.toBeInstanceOf(DataError);
  });
});
