/** Process rewards: labels of steps, the model that scores them, its trainer, and the contract of a trainer. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type ProcessRewardConfigInput, processRewardConfig } from '../src/config/process-reward.ts';
import { parseConfig } from '../src/config/schema.ts';
import type { Solution } from '../src/data/solutions.ts';
import { ArgumentError, FileError } from '../src/errors.ts';
import { processRewardMethod } from '../src/methods/process-reward.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import type { ProcessRewardStep } from '../src/trainers/process-reward.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 12, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 3, device };

/** A solution whose steps are right if they end in a low token; one step has no label. */
function solution(i: number): Solution {
  const steps = Array.from({ length: 1 + (i % 3) }, (_, n) => {
    const last = (i * 5 + n * 7) % 12;
    return { tokens: [5 + ((i + n) % 3), last], good: n === 1 && i % 2 === 1 ? null : last < 6 };
  });
  return { prompt: [1 + (i % 4)], steps };
}
const solutions = (count: number, from = 0) => Array.from({ length: count }, (_, i) => solution(from + i));

function config(options: ProcessRewardConfigInput) {
  const quick = { batchSize: 4, warmupSteps: 1, evaluateEvery: 4, lr: 1e-2, lora: 4 as number | false };
  return parseConfig(processRewardConfig, { ...quick, ...options }, 'test');
}

trainerContract('process-reward', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.ceil((steps * batchSize * accumulate) / Math.max(rows, 1));
    return config({ epochs, batchSize, accumulate, evaluateEvery: 50, ...settings });
  },
  ingredients: (_, rows) => ({ model: new PaLM(SIZE), solutions: solutions(rows), validation: solutions(7, 20) }),
  resumes: { 'with dropout': { dropout: 0.3 }, 'with all weights': { lora: false } },
});

describe('training on labels of steps', () => {
  it.each([4, false] as const)('learns which steps are right, lora %s', async (lora) => {
    const ingredients = { model: new PaLM(SIZE), solutions: solutions(24), validation: solutions(12, 24) };
    const { parts, train } = processRewardMethod.assemble(config({ epochs: 12, lora }), ingredients);
    const steps: ProcessRewardStep[] = [];
    for await (const step of train()) steps.push(step);
    const [first, last] = [steps[0], steps.at(-1)] as [ProcessRewardStep, ProcessRewardStep];
    expect(last.validationAccuracy).toBeGreaterThan(0.9);
    expect(last.validationLoss).toBeLessThan(first.loss);
    // A step that ends in a low token scores above one that ends in a high token, and the answer as its last step does.
    const sequence = [[1, 5, 2, 6, 11]];
    using scores = await parts.weights.tokenScores(sequence, { promptLengths: [1] });
    using score = await parts.weights.score(sequence, { promptLengths: [1] });
    const [, , right = 0, , wrong = 0] = Array.from(await scores.data(), Number);
    expect(right).toBeGreaterThan(wrong);
    expect(Number((await score.data())[0])).toBeCloseTo(wrong, 5);
  });

  it('counts labels, not steps', async () => {
    const steps = [true, null, false].map((good, i) => ({ tokens: [2 + i], good }));
    const some = [{ prompt: [1], steps }];
    const { train } = processRewardMethod.assemble(config({ batchSize: 1 }), {
      model: new PaLM(SIZE),
      solutions: some,
    });
    for await (const step of train()) expect(step.labels).toBe(2);
  });

  it('refuses solutions without a label or with an empty step', async () => {
    const refusal = async (step: Solution['steps'][number]) => {
      const some = [{ prompt: [1], steps: [step] }];
      const { train } = processRewardMethod.assemble(config({}), { model: new PaLM(SIZE), solutions: some });
      await train().next();
    };
    await expect(refusal({ tokens: [2], good: null })).rejects.toMatchObject({ argument: 'solutions[0].steps' });
    await expect(refusal({ tokens: [], good: true })).rejects.toBeInstanceOf(ArgumentError);
    await expect(refusal({ tokens: [99], good: true })).rejects.toMatchObject({
      argument: 'solutions[0].steps[0].tokens[0]',
    });
  });
});

describe('a reward model with pooling: last', () => {
  it('reads the last token of a row, beside a longer one as alone', async () => {
    using model = new RewardModel(new PaLM(SIZE), { lora: false, pooling: 'last' });
    using alone = await model.score([[1, 2, 3]]);
    using beside = await model.score(
      [
        [1, 2, 3, 0, 0],
        [4, 5, 6, 7, 8],
      ],
      { lengths: [3, 5] },
    );
    using tokens = await model.tokenScores([[4, 5, 6, 7, 8]]);
    const [short, long] = Array.from(await beside.data(), Number);
    expect(short).toBeCloseTo(Number((await alone.data())[0]), 5);
    expect(long).toBeCloseTo(Number((await tokens.data())[4]), 5);
  });

  it('keeps its pooling and shift in files', async () => {
    const path = join(folder, 'model.safetensors');
    using model = new RewardModel(new PaLM(SIZE), { lora: false, pooling: 'last' });
    using before = await model.score([[1, 2, 3]]);
    model.shift = 1.5;
    await model.save(path);
    using loaded = await RewardModel.load(path, { device });
    using after = await loaded.score([[1, 2, 3]]);
    expect(loaded.shift).toBe(1.5);
    expect(Number((await after.data())[0])).toBeCloseTo(Number((await before.data())[0]) + 1.5, 5);
  });

  it('cannot score steps by ratings', async () => {
    using model = new RewardModel(new PaLM(SIZE), { lora: false, numBins: 3 });
    await expect(model.tokenScores([[1, 2]])).rejects.toMatchObject({ argument: 'numBins' });
  });
});

const folder = mkdtempSync(join(tmpdir(), 'palm-steps-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('files of steps', () => {
  /** The solutions that a run trains on, and what it says about the file. */
  const opened = async (lines: object[], options: ProcessRewardConfigInput = {}) => {
    const at = (name: string) => join(folder, name);
    writeFileSync(at('rows.jsonl'), lines.map((line) => JSON.stringify(line)).join('\n'));
    using model = new PaLM({ ...SIZE, numTokens: 260 });
    await model.save(at('model.safetensors'));
    const named = { model: at('model.safetensors'), data: at('rows.jsonl'), tokenizer: 'byte', out: folder, device };
    const config = parseConfig(processRewardMethod.schema, { ...named, batchSize: 1, lora: 4, ...options }, 'test');
    const { notices, start } = await processRewardMethod.open(config);
    const { train, rows, parts } = await start();
    const labels: number[] = [];
    for await (const step of train()) labels.push((step as ProcessRewardStep).labels);
    (parts.weights as RewardModel).dispose();
    return { notices, rows, labels };
  };
  const solved = { question: { problem: 'q' }, label: { steps: [step('a', 1), step('b', 0), step('c', -1)] } };
  function step(text: string, rating: number) {
    return { completions: [{ text, rating }], chosen_completion: 0 };
  }

  it.each([
    ['positive', 3],
    ['negative', 3],
    ['skip', 2],
  ] as const)('with steps that are neither right nor wrong, %s, have %i labels', async (neutral, count) => {
    const { labels } = await opened([solved], { neutral, epochs: 1, validationFraction: 0 });
    expect(labels).toEqual([count]);
  });

  it('may have solutions without a label, which are skipped', async () => {
    const rows = [[true], [null]].map((labels) => ({ prompt: 'q', completions: ['a'], labels }));
    const run = await opened(rows, { epochs: 1, validationFraction: 0 });
    expect(run.rows).toMatchObject({ solutions: 1, skipped: 1 });
    expect(run.notices).toEqual([expect.stringContaining('none of its steps has a label')]);
    await expect(opened(rows.slice(1))).rejects.toBeInstanceOf(FileError);
  });

  it('lose the last steps of a long solution', async () => {
    const rows = [{ prompt: 'q', completions: ['aaa', 'bbb', 'ccc'], labels: [true, true, false] }];
    const run = await opened(rows, { epochs: 1, validationFraction: 0, maxLength: 9 });
    expect(run.rows).toMatchObject({ solutions: 1, responsesCut: 1 });
    expect(run.labels).toEqual([2]);
  });
});
