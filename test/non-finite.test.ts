/** Numbers that are not finite: no text is made of them, and no training that learned nothing ends as if it had gone well. */
import type { Command } from 'commander';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { generateCommand } from '../src/cli/generate.ts';
import { withTokenizer } from '../src/runs/kept-tokenizer.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { saveTensors } from '../src/tensor/tensor-files.ts';
import { NumericsError } from '../src/errors.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { addon } from '../src/native/addon.ts';
import { handleOf } from '../src/native/resource.ts';
import { type Parameter, Tensor } from '../src/tensor/tensor.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import { device } from './device.ts';
import { policy, pretraining, rewarding } from './small-trainings.ts';

const SIZE = { numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device };
const folder = mkdtempSync(join(tmpdir(), 'palm-non-finite-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function fill(parameter: Parameter, value: number): Promise<void> {
  const size = parameter.shape.reduce((product, length) => product * length, 1);
  using values = Tensor.from(new Float32Array(size).fill(value), { shape: parameter.shape, device });
  using weight = await parameter.value();
  await addon().tensorCopy(handleOf(weight), handleOf(values));
}

async function poisoned(value: number, options: object = {}): Promise<PaLM> {
  const palm = new PaLM({ ...SIZE, ...options });
  const norm = palm.parameters().find(({ name }) => name === 'norm') as Parameter;
  await fill(norm, value);
  return palm;
}

const BAD = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
// Each takes another way to a token: fused and plain samplers, greedy and drawn, the fast readers and the plain one.
const WAYS: [string, object, object][] = [
  ['drawn', {}, {}],
  ['greedy', {}, { temperature: 0 }],
  ['filtered', {}, { topK: 5, topP: 0.9, minP: 0.01 }],
  ['drawn in bfloat16', { dtype: 'bfloat16' }, {}],
  ['drawn in float64, without a fast path', { dtype: 'float64' }, {}],
  ['greedy in float64', { dtype: 'float64' }, { temperature: 0 }],
  ['drawn with qkRmsnorm, without a fast path', { qkRmsnorm: true }, {}],
];

describe('a model with non-finite weights (nan-model-generates)', () => {
  it.each(WAYS)('generates no token %s', async (_name, options, drawing) => {
    for (const value of BAD) {
      using palm = await poisoned(value, options);
      const refused = { code: 'ERR_NUMERICS', argument: 'norm' };
      await expect(palm.generate({ prompts: [[1, 2], [3]], maxNewTokens: 3, ...drawing })).rejects.toMatchObject(
        refused,
      );
      const stream = palm.stream({ prompt: [1, 2], maxNewTokens: 3, ...drawing });
      await expect(stream.next()).rejects.toMatchObject(refused);
    }
  });

  it('is reported with the weight of the scope, and works without the scope', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('actor');
    const weight = palm.parameters({ scope: 'actor' })[0] as Parameter;
    await fill(weight, Number.NaN);
    const prompt = { prompts: [[1, 2]], maxNewTokens: 2 };
    await expect(palm.generate({ ...prompt, scope: 'actor' })).rejects.toMatchObject({ argument: weight.name });
    using generation = await palm.generate(prompt);
    expect(generation.sequences.shape[1]).toBeGreaterThan(2);
  });

  it('gives no rollout', async () => {
    using palm = await poisoned(Number.NaN);
    using actorCritic = new ActorCritic(palm);
    const rollout = actorCritic.rollout({ prompts: [[1, 2]], maxNewTokens: 2 });
    await expect(rollout).rejects.toMatchObject({ code: 'ERR_NUMERICS', argument: 'norm' });
  });

  it('is refused even if only its logits are non-finite', async () => {
    using palm = new PaLM({ ...SIZE, dtype: 'float32' });
    await fill(palm.parameters().find(({ name }) => name === 'norm') as Parameter, 3e38);
    await expect(palm.generate({ prompts: [[1]], maxNewTokens: 1 })).rejects.toMatchObject({ argument: 'logits' });
  });
});

/** Runs a training to its end, whose updates are skipped from the `from`-th on. */
async function skipping(
  { optimizer, steps }: Pick<ReturnType<typeof pretraining | typeof policy>, 'optimizer'> & { steps: AsyncGenerator },
  from: number,
): Promise<unknown> {
  optimizer.disturb = async (step) => (step >= from ? { loss: Number.NaN } : {});
  try {
    for await (const _ of steps);
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('a training that skipped all its last steps', () => {
  it.each([1, 11, 12])('pretrain: skipped from step %d of 12 to the end', async (from) => {
    expect(await skipping(pretraining(), from)).toBeInstanceOf(NumericsError);
  });

  it.each([1, 3])('reward: skipped from step %d of 3 to the end', async (from) => {
    expect(await skipping(rewarding({ epochs: 1 }), from)).toBeInstanceOf(NumericsError);
  });

  // 2 updates for each of 2 epochs.
  it.each([1, 2])('ppo-all-updates-skipped: skipped from update %d of 4 on', async (from) => {
    const error = await skipping(policy({ steps: 1, maxSkippedSteps: 5 }), from);
    if (from === 1) expect(error).toMatchObject({ code: 'ERR_NUMERICS', argument: 'loss' });
    else expect(error).toBeUndefined(); // it did learn something
  });

  it('succeeds if steps were skipped only in between', async () => {
    const run = pretraining();
    run.optimizer.disturb = async (step) => (step === 11 ? { loss: Number.NaN } : {});
    for await (const _ of run.steps);
  });
});

describe('the command line', () => {
  beforeEach(() => {
    for (const stream of ['log', 'error'] as const) vi.spyOn(console, stream).mockImplementation(() => {});
    vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
    return () => vi.restoreAllMocks();
  });

  async function saved(name: string, model: PaLM | RewardModel): Promise<string> {
    const path = join(folder, name);
    await saveTensors(path, withTokenizer(model, await loadTokenizer('byte')).contents());
    return path;
  }
  const run = (command: Command, ...args: string[]) =>
    command.exitOverride().parseAsync([...args, '--device', device], { from: 'user' });
  const prompts = join(folder, 'prompts.jsonl');
  writeFileSync(
    prompts,
    '{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "d", "chosen": "e", "rejected": "f"}\n',
  );

  it('palm generate prints no text (nan-model-generates)', async () => {
    using palm = await poisoned(Number.NaN);
    const model = await saved('nan.safetensors', palm);
    await expect(run(generateCommand(), model, '--prompt', 'the cat')).rejects.toMatchObject({ argument: 'norm' });
  });

  it('palm ppo fails with a policy of NaN (ppo-all-updates-skipped)', async () => {
    using palm = await poisoned(Number.NaN);
    using judge = new RewardModel(new PaLM(SIZE), { lora: false });
    const model = await saved('policy.safetensors', palm);
    const reward = await saved('judge.safetensors', judge);
    const args = ['--model', model, '--reward', reward, '--data', prompts, '--out', join(folder, 'ppo')];
    const small = ['--steps', '1', '--sampling.maxNewTokens', '4'];
    await expect(run(trainingCommand('ppo'), ...args, ...small)).rejects.toBeInstanceOf(NumericsError);
  });

  it('palm reward fails with a trunk of NaN, in one step', async () => {
    using palm = await poisoned(Number.NaN);
    const model = await saved('trunk.safetensors', palm);
    const args = ['--model', model, '--data', prompts, '--out', join(folder, 'reward'), '--validationFraction', '0'];
    await expect(run(trainingCommand('reward'), ...args)).rejects.toBeInstanceOf(NumericsError);
  });

  it('palm pretrain fails with a destructive learning rate, in three steps', async () => {
    const text = join(folder, 'text.txt');
    writeFileSync(text, 'Tiger, tiger, burning bright\n'.repeat(20));
    const model = '--model.dim 16 --model.depth 1 --model.heads 2 --model.dimHead 8 --sequenceLength 8 --batchSize 2';
    const args = ['--data', text, '--out', join(folder, 'pretrain'), ...model.split(' ')];
    const ruin = ['--steps', '3', '--lr', '1e37', '--warmupSteps', '0'];
    await expect(run(trainingCommand('pretrain'), ...args, ...ruin)).rejects.toBeInstanceOf(NumericsError);
  });
});
