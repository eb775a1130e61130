/** Policies of which only the top layers are trained: what moves, what the reference is, and that sharing layers changes no number. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { inspectCommand } from '../src/cli/inspect.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { type DpoConfigInput, dpoConfig } from '../src/config/dpo.ts';
import { type PpoConfigInput, ppoConfig } from '../src/config/ppo.ts';
import { parseConfig } from '../src/config/schema.ts';
import { dpoMethod } from '../src/methods/dpo.ts';
import type { Method } from '../src/methods/method.ts';
import { actorCriticOf, ppoMethod } from '../src/methods/ppo.ts';
import { methods } from '../src/methods.ts';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { AveragedPolicy } from '../src/models/averaged-policy.ts';
import { IlqlPolicy } from '../src/models/ilql-policy.ts';
import { ImplicitPRM } from '../src/models/implicit-prm.ts';
import { LanguageModel } from '../src/models/language-model.ts';
import { planPreferences } from '../src/models/memory-plan.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy } from '../src/models/policy.ts';
import { AdamW } from '../src/optim.ts';
import { memory, type Parameter, type Tensor } from '../src/tensor/tensor.ts';
import { saveTensors } from '../src/tensor/tensor-files.ts';
import { dpo } from '../src/trainers/dpo.ts';
import { ppo } from '../src/trainers/ppo.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';
import { pairs, QUICK, taken } from './pairs.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-top-layers-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

/** PaLM: parallel blocks, and a head that is the embedding. Llama: sequential blocks, and a head of its own. */
const MODELS = {
  palm: async () => new PaLM({ numTokens: 16, dim: 16, depth: 3, heads: 2, dimHead: 8, seed: 3, device }),
  llama: () => LanguageModel.load(join(import.meta.dirname, 'parity/families/cases/llama'), { device }),
} satisfies Record<string, () => Promise<LanguageModel>>;
const KINDS = ['palm', 'llama'] as const;
const HEAD = ['value_head.weight', 'value_head.bias'];
const X = [
  [1, 2, 3, 4, 5],
  [6, 7, 8, 9, 10],
];

type Bytes = ReadonlyMap<string, Buffer>;

async function bytesOf(tensors: readonly { name: string; tensor: Pick<Tensor, 'data'> }[]): Promise<Bytes> {
  const entries = tensors.map(async ({ name, tensor }) => {
    const { buffer, byteOffset, byteLength } = await tensor.data();
    return [name, Buffer.from(Buffer.from(buffer, byteOffset, byteLength))] as const;
  });
  return new Map(await Promise.all(entries));
}

function parametersOf(of: { parameters(): Parameter[] }): Promise<Bytes> {
  return bytesOf(of.parameters().map((tensor) => ({ name: tensor.name, tensor })));
}

/** The names of what is trained with the top `layers`. */
function namesAbove({ decoder }: LanguageModel, all: Iterable<string>, layers: number): string[] {
  const isTop = (name: string) => Number(/^layers\.(\d+)\./.exec(name)?.[1]) >= decoder.depth - layers;
  return [...all].filter((name) => isTop(name) || name === 'norm' || name === 'head');
}

function dpoOf(options: DpoConfigInput) {
  return parseConfig(dpoConfig, { ...QUICK, lora: false, epochs: 2, nllWeight: 0.2, ...options }, 'test');
}

describe('learning with the top layers alone', () => {
  it.each(KINDS)('moves them, the final norm and a head of its own, and no other bit: %s', async (kind) => {
    using model = await MODELS[kind]();
    const before = await parametersOf(model);
    const config = dpoOf({ optimisation: { numLayersUnfrozen: 1 } });
    const { parts, train } = dpoMethod.assemble(config, { model, pairs: pairs(8) });
    using policy = parts.weights;
    using _ = parts.optimizer;
    await drain(train());
    const after = await parametersOf(model);
    const moved = [...before.keys()].filter((name) => !before.get(name)?.equals(after.get(name) as Buffer));
    const top = namesAbove(model, before.keys(), 1);
    expect(moved).toEqual(top);
    expect(policy.parameters().map(({ name }) => name)).toEqual(top);
    expect(top.includes('head')).toBe(kind === 'llama');
  });

  it.each(KINDS)(
    'is DPO with a whole copy as reference and these weights in the optimizer, to the bit: %s',
    async (kind) => {
      const config = dpoOf({ lr: 1e-2, optimisation: { numLayersUnfrozen: 2 } });
      using model = await MODELS[kind]();
      const run = dpoMethod.assemble(config, { model, pairs: pairs(8), validation: pairs(3, 9) });
      using _optimizer = run.parts.optimizer;
      const steps = await taken(run.train());

      using whole = await MODELS[kind]();
      using policy = new Policy(whole, { lora: false, reference: true });
      const top = namesAbove(whole, (await parametersOf(whole)).keys(), 2);
      using optimizer = new AdamW(
        policy.parameters().filter(({ name }) => top.includes(name)),
        { lr: 1e-2, weightDecay: 0 },
      );
      const { batches } = dpoMethod.assemble(config, { model: await MODELS[kind](), pairs: pairs(8) }).parts;
      const plain = await taken(dpo({ policy, optimizer, batches, pairs: pairs(8), validation: pairs(3, 9) }, config));
      const numbers = (all: typeof plain) => all.map(({ timing: _, ...step }) => step);
      expect(numbers(steps)).toEqual(numbers(plain));
      expect(await parametersOf(model)).toEqual(await parametersOf(whole));
    },
  );

  it('is PPO with a whole copy as reference and these weights in the optimizer, to the bit', async () => {
    const input: PpoConfigInput = {
      ...{ steps: 3, rolloutBatch: 4, minibatchSize: 4, epochs: 2, lr: 1e-2, lora: false, warmupSteps: 0 },
      ...{ sampling: { maxNewTokens: 5 }, critic: { warmup: 1 }, optimisation: { numLayersUnfrozen: 1 } },
    };
    const config = parseConfig(ppoConfig, input, 'test');
    const given = {
      reward: (answers: { response: number[] }[]) =>
        answers.map(({ response }) => response.filter((t) => t > 8).length),
      prompts: [[2, 3], [4], [5, 6, 7], [8, 9]],
    };
    using model = await MODELS.palm();
    using actorCritic = actorCriticOf(model, config);
    const run = ppoMethod.assemble(config, { actorCritic, ...given });
    using _optimizer = run.parts.optimizer;
    const steps = await taken(run.train());

    using whole = await MODELS.palm();
    using plain = new ActorCritic(whole, { lora: false, reference: true });
    const trained = actorCritic.parameters().map(({ name }) => name);
    const same = plain.parameters().filter(({ name }) => trained.includes(name));
    using optimizer = new AdamW(same, { lr: 1e-2, weightDecay: 0 });
    using other = actorCriticOf(await MODELS.palm(), config);
    const { batches, runningScores } = ppoMethod.assemble(config, { actorCritic: other, ...given }).parts;
    const parts = { actorCritic: plain, optimizer, batches, runningScores, ...given };
    const numbers = (all: typeof steps) => all.map(({ timing: _, ...step }) => step);
    expect(numbers(steps)).toEqual(numbers(await taken(ppo(parts, run.config))));
    expect(trained).toEqual([...namesAbove(model, (await parametersOf(model)).keys(), 1), ...HEAD]);
    expect(await parametersOf(actorCritic)).toEqual(await parametersOf({ parameters: () => same }));
  });

  it.each(KINDS)('trains all layers, but no embedding, with as many layers as there are: %s', async (kind) => {
    using model = await MODELS[kind]();
    const { depth } = model.decoder;
    using policy = new Policy(model, { lora: false, reference: true, numLayersUnfrozen: depth });
    const all = model.parameters().map(({ name }) => name);
    expect(policy.parameters().map(({ name }) => name)).toEqual(all.slice(1));
    expect(all[0]).toBe('token_embedding');
  });

  it('leaves no gradient below, and gives it back when the policy is disposed of', async () => {
    using model = await MODELS.palm();
    const policy = new Policy(model, { lora: false, numLayersUnfrozen: 1 });
    const reached = async () => {
      using loss = await model.loss(X);
      await loss.backward();
      const grads = await Promise.all(model.parameters().map((parameter) => parameter.grad()));
      return model.parameters().flatMap(({ name }, i) => (grads[i] === null ? [] : [name]));
    };
    expect(await reached()).toEqual(namesAbove(model, (await parametersOf(model)).keys(), 1));
    expect(() => new AdamW(model.parameters())).toThrow(expect.objectContaining({ argument: 'parameters' }));
    policy.dispose();
    expect(await reached()).toEqual(model.parameters().map(({ name }) => name));
  });
});

describe('the reference of such a policy', () => {
  it.each(KINDS)('stays the model as it was, while the policy learns: %s', async (kind) => {
    using model = await MODELS[kind]();
    using untouched = await MODELS[kind]();
    using original = new Policy(untouched, { lora: false });
    using then = await original.logProb(X, { grad: false });
    const expected = await then.logProb.data();
    const config = dpoOf({ optimisation: { numLayersUnfrozen: 2 } });
    const { parts, train } = dpoMethod.assemble(config, { model, pairs: pairs(8) });
    using policy = parts.weights;
    using _ = parts.optimizer;
    for await (const _step of train()) {
      using reference = await policy.referenceLogProb(X);
      expect(await reference.data()).toEqual(expected);
    }
    using now = await policy.logProb(X, { grad: false });
    expect(await now.logProb.data()).not.toEqual(expected);
  });

  it.each([1, 3])('is read with the policy as without it, to the bit, with %d layers', async (numLayersUnfrozen) => {
    using model = await MODELS.palm();
    using policy = new Policy(model, { lora: false, reference: true, numLayersUnfrozen });
    using optimizer = new AdamW(policy.parameters(), { lr: 1e-2 });
    using loss = await model.loss(X);
    await loss.backward();
    await optimizer.step();
    using now = await policy.logProb(X, { grad: false });
    using reference = await policy.referenceLogProb(X);
    using both = await policy.compare(X, { grad: false });
    for (const [one, other] of [
      [both.logProb, now.logProb],
      [both.entropy, now.entropy],
      [both.referenceLogProb, reference],
    ] as const)
      expect(await one.data()).toEqual(await other.data());
    expect(await both.logProb.data()).not.toEqual(await both.referenceLogProb.data());
  });

  it('is no second model: files and memory hold copies of the trained layers alone', async () => {
    using model = await MODELS.palm();
    const before = memory().liveBytes;
    using policy = new Policy(model, { lora: false, reference: true, numLayersUnfrozen: 1 });
    const added = memory().liveBytes - before;
    const names = policy.contents().tensors.map(({ name }) => name);
    const copied = names.filter((name) => name.startsWith('reference.'));
    expect(copied).toEqual(policy.parameters().map(({ name }) => `reference.${name}`));
    const own = policy.parameters().reduce((sum, { shape }) => sum + shape.reduce((n, size) => n * size, 4), 0);
    expect(added).toBeGreaterThanOrEqual(own);
    expect(added).toBeLessThan(1.1 * own);
  });

  it('is read from the file of an ImplicitPRM again, and the layers from that of an IlqlPolicy', async () => {
    using model = await MODELS.palm();
    using prm = new ImplicitPRM(model, { lora: false, numLayersUnfrozen: 1 });
    using optimizer = new AdamW(prm.parameters(), { lr: 1e-1 });
    using loss = await model.loss(X);
    await loss.backward();
    await optimizer.step();
    const mask = X.map((row) => row.map((_, t) => t > 1));
    using score = await prm.score(X, mask);
    await saveTensors(join(folder, 'prm.safetensors'), prm.contents());
    using loaded = await ImplicitPRM.load(join(folder, 'prm.safetensors'), { device });
    using again = await loaded.score(X, mask);
    expect(await again.data()).toEqual(await score.data());
    expect((await score.data())[0]).not.toBe(0);
    expect(loaded.numLayersUnfrozen).toBe(1);
    const { tensors, metadata } = prm.contents();
    const wrong = [...metadata].map(([key, text]) => [key, text.replace('Unfrozen":1', 'Unfrozen":9')] as const);
    await saveTensors(join(folder, 'wrong.safetensors'), { tensors, metadata: new Map(wrong) });
    await expect(ImplicitPRM.load(join(folder, 'wrong.safetensors'))).rejects.toMatchObject({ code: 'ERR_FILE' });
    prm.dispose();
    using ilql = new IlqlPolicy(model, { lora: false, numLayersUnfrozen: 2 });
    await saveTensors(join(folder, 'ilql.safetensors'), ilql.contents());
    using other = await IlqlPolicy.load(join(folder, 'ilql.safetensors'), { device });
    expect(other.parameters().map(({ name }) => name)).toEqual(ilql.parameters().map(({ name }) => name));
  });
});

describe('an average of such a policy', () => {
  it('is of the trained layers, and its file has the others too', async () => {
    using model = await MODELS.palm();
    using policy = new Policy(model, { lora: false, numLayersUnfrozen: 1 });
    using average = new AveragedPolicy(policy);
    await average.update(0.5);
    expect(average.parameters().map(({ name }) => name)).toEqual(policy.parameters().map(({ name }) => name));
    expect(await bytesOf(average.contents().tensors)).toEqual(await parametersOf(model));
  });
});

describe('unfrozen layers', () => {
  it.each([
    [{ lora: 4, numLayersUnfrozen: 1 }, '1 together with lora: 4'],
    [{ numLayersUnfrozen: 1 }, '1 together with lora: 8'],
    [{ lora: false, numLayersUnfrozen: 4 }, '4'],
    [{ lora: false, numLayersUnfrozen: 0 }, '0'],
    [{ lora: false, numLayersUnfrozen: 1.5 }, '1.5'],
  ] as const)('are refused, and nothing is frozen: %j', async (options, received) => {
    using model = await MODELS.palm();
    const refusal = expect.objectContaining({ code: 'ERR_ARGUMENT', argument: 'numLayersUnfrozen', received });
    expect(() => new Policy(model, options)).toThrow(refusal);
    const run = { batchSize: 1, length: 4, lora: 8, ...options };
    expect(() => planPreferences(model.decoder, run)).toThrow(refusal);
    expect(model.scopes).toEqual([]);
    using _ = new AdamW(model.parameters());
  });
});

describe('every method that trains a policy', () => {
  const REST: Partial<Record<keyof typeof methods, true>> = { pretrain: true, reward: true, 'process-reward': true };
  const names = (Object.keys(methods) as (keyof typeof methods)[]).filter((name) => !REST[name]);
  const rows = {
    prompts: { prompt: 'a' },
    pairs: { prompt: 'a', chosen: 'b', rejected: 'c' },
    labels: { prompt: 'a', completion: 'b', label: true },
    samples: { prompt: 'a', completion: 'b', reward: 1 },
  };
  const KINDS_OF_ROWS: Partial<Record<keyof typeof methods, keyof typeof rows>> = {
    ...{ sft: 'samples', ilql: 'samples', kto: 'labels', 'implicit-prm': 'labels' },
    ...{ dpo: 'pairs', cpo: 'pairs', orpo: 'pairs', simpo: 'pairs' },
  };

  it.each(names)('%s trains the top layers, and plans for it', async (name) => {
    const { schema, open }: Method = methods[name];
    const kind = KINDS_OF_ROWS[name] ?? 'prompts';
    const [model, data, reward] = ['tiny.safetensors', `${kind}.jsonl`, 'reward.mjs'].map((file) => join(folder, file));
    using tiny = new PaLM({ numTokens: 258, dim: 16, depth: 2, heads: 2, dimHead: 8, seed: 3, device });
    await tiny.save(model as string);
    writeFileSync(data as string, [1, 2].map(() => JSON.stringify(rows[kind])).join('\n'));
    writeFileSync(reward as string, 'export default (answers) => answers.map(() => 1);');
    const unfrozen = { numLayersUnfrozen: 1 };
    const given = {
      ...{ model, data, out: join(folder, 'out'), tokenizer: 'byte', lora: false, device },
      ...(kind === 'prompts' ? { reward } : {}),
      ...(name === 'ilql' || name === 'rft' ? unfrozen : { optimisation: unfrozen }),
    };
    const { plan, start } = await open(parseConfig(schema, given, name) as never);
    const { parts } = await start();
    const policy = parts.weights as Policy;
    expect(policy.numLayersUnfrozen).toBe(1);
    const frozen = policy.model.parameters().filter((parameter) => parameter.frozen);
    expect(frozen.map((parameter) => parameter.name)).toEqual(
      [...(await parametersOf(tiny)).keys()].filter((each) => !namesAbove(tiny, [each], 1).includes(each)),
    );
    const bytes = (what: string) => plan.always.find((item) => item.what === what)?.bytes as number;
    expect(bytes('gradients')).toBeLessThan(bytes('model'));
    for (const part of Object.values(parts)) (part as Partial<Disposable> | undefined)?.[Symbol.dispose]?.();
    policy.model.dispose();
  });
});

describe('palm dpo --optimisation.numLayersUnfrozen', () => {
  const [base, data, out] = ['base.safetensors', 'pairs.jsonl', 'run'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const train = (place: string, ...args: string[]) => {
    const files = ['--model', base, '--data', data, '--out', place, '--tokenizer', 'byte', '--device', device];
    const sizes = ['--batchSize', '4', '--validationFraction', '0'];
    return palm(trainingCommand('dpo'), ...files, ...sizes, ...args);
  };

  it('trains the top layer of a file, which the run and its model tell; resuming keeps to it', async () => {
    using model = new PaLM({ numTokens: 258, dim: 16, depth: 2, heads: 2, dimHead: 8, seed: 3, device });
    await model.save(base);
    const rows = Array.from({ length: 8 }, (_, i) => ({ prompt: `${i}`, chosen: 'yes', rejected: 'no' }));
    writeFileSync(data, rows.map((row) => JSON.stringify(row)).join('\n'));
    await train(out, '--no-lora', '--optimisation.numLayersUnfrozen', '1');
    await palm(inspectCommand(), out);
    expect(printed.stdout).toMatch(/^numLayersUnfrozen +1$/m);
    using trained = await PaLM.load(join(out, 'model.safetensors'), { device });
    const [before, after] = [await parametersOf(model), await parametersOf(trained)];
    const moved = [...before.keys()].filter((name) => !before.get(name)?.equals(after.get(name) as Buffer));
    expect(moved).toEqual(namesAbove(model, before.keys(), 1));
    await expect(train(out, '--resume', '--optimisation.numLayersUnfrozen', '2')).rejects.toMatchObject({
      argument: '--optimisation.numLayersUnfrozen',
      received: '2',
    });
  });

  it.each([
    [[], '2 together with lora: 8'],
    [['--no-lora', '--optimisation.numLayersUnfrozen', '3'], '3'],
  ])('is refused before anything is created with %j', async (args, received) => {
    const place = join(folder, 'refused');
    const refused = train(place, '--optimisation.numLayersUnfrozen', '2', ...args);
    await expect(refused).rejects.toMatchObject({ argument: 'numLayersUnfrozen', received });
    expect(existsSync(place)).toBe(false);
  });
});

describe('the plan of such a run matches the memory used', () => {
  it('by DPO, with a branch as reference', async () => {
    const sizes = { numTokens: 260, dim: 256, depth: 3, heads: 4, dimHead: 32, ffMult: 3, device };
    using planned = new PaLM(sizes);
    const long = (from: number) => Array.from({ length: 128 }, (_, t) => (from + t) % 260);
    const some = Array.from({ length: 3 }, (_, i) => ({ prompt: long(i), chosen: long(i + 1), rejected: long(i + 2) }));
    const config = dpoOf({ batchSize: 3, epochs: 1, optimisation: { numLayersUnfrozen: 1 } });
    const measured = await peakOf(async () => {
      using model = new PaLM(sizes);
      const { parts, train } = dpoMethod.assemble(config, { model, pairs: some });
      using _policy = parts.weights;
      using _optimizer = parts.optimizer;
      await drain(train());
    });
    const run = { batchSize: 3, length: 256, lora: false, numLayersUnfrozen: 1 } as const;
    expectNear(planPreferences(planned.decoder, run), measured);
  });
});

trainerContract('dpo', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.ceil((steps * batchSize * accumulate) / Math.max(rows, 1));
    return dpoOf({ epochs, batchSize, accumulate, optimisation: { numLayersUnfrozen: 2 }, ...settings });
  },
  ingredients: (_, rows) => ({
    model: new PaLM({ numTokens: 12, dim: 16, depth: 3, heads: 2, dimHead: 8, ffMult: 2, seed: 3, device }),
    pairs: pairs(rows),
  }),
});
