/** What one command leaves, the next one takes: policies, checkpoints, merged files, answers and scores. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { evaluateCommand } from '../src/cli/evaluate.ts';
import { exportCommand } from '../src/cli/export.ts';
import { generateCommand } from '../src/cli/generate.ts';
import { scoreCommand } from '../src/cli/score.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { PaLM } from '../src/models/palm.ts';
import { loadModel } from '../src/models/registry.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { estimate, wins } from '../src/rewards/evaluation.ts';
import { findModel } from '../src/runs/model-file.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-workflow-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

const at = (...names: string[]) => join(folder, ...names);
const write = (name: string, content: string) => {
  writeFileSync(at(name), content);
  return at(name);
};
const linesOf = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
const metrics = (run: string) => linesOf(readFileSync(at(run, 'metrics.jsonl'), 'utf8'));

const SIZE = { numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device };
const byte = await loadTokenizer('byte');
const base = at('base.safetensors');
const policy = at('policy');
const judge = at('judge.safetensors');
const vowels = write(
  'vowels.mjs',
  'export default (answers) => answers.map(({ responseTokens: r }) => r.filter((t) => t % 2).length);',
);
const prompts = write('prompts.jsonl', '{"prompt": "ab"}\n{"prompt": "b"}\n{"prompt": "c"}\n');
const pairs = write(
  'pairs.jsonl',
  Array.from({ length: 8 }, (_, i) => JSON.stringify({ prompt: `${i}?`, chosen: ' yes', rejected: ' no' })).join('\n'),
);

/** Trains `out` for a step or two on the prompts. */
const online = (method: 'ppo' | 'grpo', out: string, ...args: string[]) => {
  const draw = '--rolloutBatch 3 --sampling.maxNewTokens 4 --epochs 1 --warmupSteps 0 --checkpoint.every 1'.split(' ');
  const files = ['--data', prompts, '--out', at(out), '--device', device];
  return palm(trainingCommand(method), ...files, ...draw, ...args);
};

beforeAll(async () => {
  using model = new PaLM(SIZE);
  await model.save(base, { tokenizer: byte });
  using reward = new RewardModel(new PaLM(SIZE), { lora: false, seed: 3 });
  await reward.save(judge, { tokenizer: byte });
});
let trained: Promise<void> | undefined;
beforeEach(async () => {
  trained ??= online('grpo', 'policy', '--model', base, '--reward', vowels, '--steps', '2', '--lr', '0.3');
  await trained;
  Object.assign(printed, { stdout: '', stderr: '' });
});

describe('a policy as --model', () => {
  it('is trained further with its adapters merged, which is said', async () => {
    await online('ppo', 'second', '--model', policy, '--reward', judge, '--steps', '1', '--critic.warmup', '0');
    expect(printed.stderr).toMatch(/policy\/model\.safetensors: adapters actor merged into the weights/);
    const [first] = metrics('second');
    expect(Math.abs(first.kl)).toBeLessThan(1e-4); // the reference is the policy of the first round
    const again = at('second', 'checkpoints', 'step-000001');
    await online('grpo', 'third', '--model', again, '--reward', vowels, '--steps', '1');
    expect(printed.stderr).toContain('adapters actor merged into the weights; critic left out');
  });

  it('is what a reward model is built on, not the model below it', async () => {
    const learn = ['--data', pairs, '--epochs', '1', '--batchSize', '4', '--device', device];
    await palm(trainingCommand('reward'), '--model', policy, '--out', at('on-policy'), ...learn);
    await palm(trainingCommand('reward'), '--model', base, '--out', at('on-base'), ...learn);
    expect(metrics('on-policy')[0].loss).not.toBe(metrics('on-base')[0].loss);
  });

  it('computes the same merged as scoped', async () => {
    const { path } = await findModel(policy);
    using scoped = await PaLM.load(path, { device });
    using merged = await loadModel(path, { device });
    expect(merged.scopes).toEqual([]);
    const [one, two, three] = [
      await scoped.forward([[1, 2, 3]], { scope: 'actor' }),
      await merged.forward([[1, 2, 3]]),
      await scoped.forward([[1, 2, 3]]),
    ];
    const [a, b, c] = await Promise.all([one.logits.data(), two.logits.data(), three.logits.data()]);
    const distance = (x: ArrayLike<unknown>, y: ArrayLike<unknown>) =>
      Math.max(...Array.from(x, (value, i) => Math.abs(Number(value) - Number(y[i]))));
    expect(distance(a, b)).toBeLessThan(1e-4);
    expect(distance(b, c)).toBeGreaterThan(1e-2);
  });

  it('merges the only adapters of a model, and asks which of several', async () => {
    using model = new PaLM(SIZE);
    model.addScope('style');
    await model.save(at('one.safetensors'), { tokenizer: byte });
    model.addScope('other');
    await model.save(at('two.safetensors'), { tokenizer: byte });
    using one = await loadModel(at('one.safetensors'), { device });
    expect(one.scopes).toEqual([]);
    await expect(loadModel(at('two.safetensors'), { device })).rejects.toThrow('got the adapters style, other');
    await palm(exportCommand(), at('two.safetensors'), '--merge', '--scope', 'style', '--out', at('style.safetensors'));
    expect((await findModel(at('style.safetensors'))).scopes).toEqual([]);
  });
});

describe('palm export --merge', () => {
  const greedy = '--temperature 0 --prompt ab --maxNewTokens 8'.split(' ');

  it('writes a model without adapters that generates the same', async () => {
    await palm(exportCommand(), policy, '--merge', '--out', at('merged.safetensors'));
    expect(printed.stdout).toContain('with the adapters actor merged');
    expect(await findModel(at('merged.safetensors'))).toMatchObject({
      kind: 'PaLM',
      scopes: [],
      tokenizer: { type: 'byte' },
    });
    const texts: string[] = [];
    for (const model of [at('merged.safetensors'), policy, base]) {
      printed.stdout = '';
      await palm(generateCommand(), model, ...greedy, '--device', device);
      texts.push(printed.stdout);
    }
    expect(texts[0]).toBe(texts[1]);
    expect(texts[0]).not.toBe(texts[2]);
  });

  it('is refused where it would do nothing', async () => {
    const out = ['--out', at('nothing.safetensors')];
    await expect(palm(exportCommand(), base, '--merge', ...out)).rejects.toThrow('got a model without adapters');
    await expect(palm(exportCommand(), judge, '--merge', ...out)).rejects.toThrow('got a RewardModel');
    await expect(palm(exportCommand(), policy, '--scope', 'actor', ...out)).rejects.toThrow('nothing without --merge');
  });
});

describe('palm generate and palm score', () => {
  const generate = async (...args: string[]) => {
    printed.stdout = '';
    await palm(generateCommand(), ...args, '--maxNewTokens', '4', '--seed', '1', '--device', device);
    return printed.stdout;
  };

  it('answer the prompts of a file, and score the answers', async () => {
    const text = await generate(
      at('policy', 'checkpoints', 'step-000002'),
      '--data',
      prompts,
      '--samples',
      '2',
      '--json',
    );
    const rows = linesOf(text);
    expect(rows.map(({ prompt }) => prompt)).toEqual(['ab', 'ab', 'b', 'b', 'c', 'c']);
    expect(rows[0].response).not.toBe(rows[1].response);
    expect(await generate(policy, '--data', prompts, '--samples', '2', '--json')).toBe(text);

    printed.stdout = '';
    const answers = write('answers.jsonl', `${text}{"prompt": "no response", "id": 7}\n`);
    await palm(scoreCommand(), judge, '--data', answers, '--batchSize', '4', '--device', device);
    const scored = linesOf(printed.stdout);
    expect(scored.map(({ score, ...row }) => row)).toEqual(rows);
    using model = await RewardModel.load(judge, { device });
    const sequence = [...byte.encode(rows[0].prompt + rows[0].response), 256];
    using score = await model.score([sequence], { promptLengths: [2] });
    expect(scored[0].score).toBeCloseTo(await score.item(), 5);
    expect(printed.stderr).toMatch(/skipped rows: 1, the first at .*answers\.jsonl:7: "response" is missing/);
    expect(printed.stderr).toMatch(/^6 responses: mean -?\d/m);

    printed.stdout = '';
    const completions = write('completions.jsonl', text.replaceAll('"response"', '"completion"'));
    await palm(scoreCommand(), judge, '--data', completions, '--batchSize', '4', '--device', device);
    expect(linesOf(printed.stdout).map(({ score }) => score)).toEqual(scored.map(({ score }) => score));
  });

  it('print several continuations of one prompt', async () => {
    const text = await generate(policy, '--prompt', 'ab', '--samples', '3');
    expect(text.match(/^ab/gm)).toHaveLength(3);
    await expect(generate(policy, '--prompt', 'ab', '--data', prompts)).rejects.toThrow(
      '--prompt: got a prompt and --data',
    );
  });

  it('take a prompt from a pipe', async () => {
    const command = `printf 'To be\\n' | ${process.execPath} --import tsx src/cli/main.ts generate ${base} --maxNewTokens 3 --json`;
    const { stdout } = await promisify(execFile)('sh', ['-c', command]);
    expect(JSON.parse(stdout).prompt).toBe('To be');
  });

  it('refuse each the model of the other', async () => {
    await expect(palm(scoreCommand(), base, '--data', prompts)).rejects.toThrow(
      'Train a reward model with palm reward',
    );
    await expect(generate(judge)).rejects.toThrow('goes to --reward');
  });
});

describe('palm evaluate', () => {
  const evaluate = async (...args: string[]) => {
    printed.stdout = '';
    await palm(evaluateCommand(), ...args, '--json', '--device', device);
    return JSON.parse(printed.stdout);
  };

  it('measures the perplexity of a text', async () => {
    const text = write('poem.txt', 'Tiger, tiger, burning bright');
    const { text: found } = await evaluate(base, '--data', text, '--sequenceLength', '9');
    using model = await loadModel(base, { device });
    const tokens = byte.encode('Tiger, tiger, burning bright');
    using loss = await model.loss([0, 9, 18].map((begin) => tokens.slice(begin, begin + 10)));
    expect(found).toEqual({ tokens: 27, loss: found.loss, perplexity: Math.exp(found.loss) });
    expect(found.loss).toBeCloseTo(await loss.item(), 5);
  });

  it('scores answers, and compares them with those of another model', async () => {
    const asked = ['--prompts', prompts, '--samples', '4', '--maxNewTokens', '4', '--reward', vowels];
    const same = await evaluate(policy, ...asked, '--against', policy);
    expect(same.winRate).toEqual({ mean: 0.5, standardError: 0 });
    const better = await evaluate(policy, ...asked, '--against', base);
    expect(better.answers.score.mean).toBeGreaterThan(better.against.score.mean);
    expect(better.winRate.mean).toBeGreaterThan(0.5);
    expect(better.answers).toMatchObject({ model: policy, parts: {}, responseLength: expect.any(Number) });
    expect(better.examples).toHaveLength(3);
    printed.stdout = '';
    await palm(evaluateCommand(), policy, ...asked, '--reward', judge, '--device', device);
    expect(printed.stdout).toMatch(/^score +-?\d+\.\d+ ± \d+\.\d+ \(standard error\)$/m);
    expect(printed.stdout).toMatch(/^score\.judge +-?\d/m);
  });

  it('has standard errors over prompts', () => {
    expect(estimate([1, 3, 2, 6], 2)).toEqual({ mean: 3, standardError: 1 });
    expect(estimate([1, 3], 2)).toEqual({ mean: 2, standardError: undefined });
    expect(wins([1, 2, 3], [2, 2, 2])).toEqual([0, 0.5, 1]);
  });

  it.each([
    ['nothing to measure', [], 'nothing to measure'],
    ['prompts without a reward', ['--prompts', prompts], '--reward: got nothing'],
    ['a reward without prompts', ['--reward', vowels, '--data', prompts], '--prompts: got nothing'],
    ['another model without prompts', ['--against', base, '--data', prompts], '--against'],
  ])('refuses %s', async (_, args, message) => {
    await expect(evaluate(base, ...args)).rejects.toThrow(message);
  });
});
