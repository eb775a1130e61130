/** A policy: the policy of an ActorCritic without a critic, to the bit, with a reference that stays as it is. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy, type PolicyOptions, ROLLOUT, type RolloutInput } from '../src/models/policy.ts';
import { maskedMean } from '../src/losses/reductions.ts';
import { addon } from '../src/native/addon.ts';
import { AdamW } from '../src/optim.ts';
import { loadTensors, saveTensors } from '../src/tensor/tensor-files.ts';
import { memory, type Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 1, device };
const ROWS = [
  [1, 2, 3, 4, 5, 6],
  [7, 8, 9, 10, 11, 12],
];
const PROMPTS = [[1, 2, 3], [4], [5, 6]];
const SAMPLING = { prompts: PROMPTS, maxNewTokens: 8, eosToken: 0, samplesPerPrompt: 2, temperature: 0.8, seed: 5 };
const KINDS = [
  ['LoRA', { lora: 4 }],
  ['all weights', { lora: false, reference: true }],
] as const;
const folder = mkdtempSync(join(tmpdir(), 'palm-policy-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function numbers(tensor: Tensor): Promise<number[]> {
  return Array.from(await tensor.data(), Number);
}

/** A policy that two steps have moved, as they move every other of its kind. */
async function trained<Who extends Policy>(policy: Who): Promise<Who> {
  const [scope] = policy.scopes;
  const parameters = policy.model.parameters(scope === undefined ? {} : { scope });
  using optimizer = new AdamW(parameters, { lr: 0.05 });
  for (let step = 0; step < 2; step++) {
    using loss = await policy.model.loss(ROWS, { scope });
    await loss.backward();
    await optimizer.step();
    optimizer.zeroGrad();
  }
  return policy;
}

/** The distribution's logarithm at each token but the first of a row, and entropy, of logits [B, T, V]. */
function predicted(logits: number[], sequence: number[][], temperature: number) {
  const V = SIZE.numTokens;
  return sequence.flatMap((row, b) =>
    row.map((token, t) => {
      if (t === 0) return { logProb: 0, entropy: 0 };
      const start = (b * row.length + t - 1) * V;
      const scaled = logits.slice(start, start + V).map((logit) => logit / temperature);
      const total = Math.log(scaled.reduce((sum, logit) => sum + Math.exp(logit), 0));
      const all = scaled.map((logit) => logit - total);
      return { logProb: all[token] as number, entropy: -all.reduce((sum, log) => sum + Math.exp(log) * log, 0) };
    }),
  );
}

describe.each(KINDS)('%s', (_name, options) => {
  it('computes logProb and entropy from the logits at the temperature', async () => {
    using palm = new PaLM(SIZE);
    using policy = await trained(new Policy(palm, options));
    using forward = await palm.forward(ROWS, { scope: policy.scopes[0] });
    const expected = predicted(await numbers(forward.logits), ROWS, 0.8);
    using now = await policy.logProb(ROWS, { temperature: 0.8 });
    for (const name of ['logProb', 'entropy'] as const) {
      expect(now[name].shape).toEqual([2, 6]);
      const found = await numbers(now[name]);
      for (const [i, place] of expected.entries()) expect(found[i]).toBeCloseTo(place[name], 5);
    }
  });

  it('equals an ActorCritic in logProb and reference, bit for bit', async () => {
    using first = new PaLM(SIZE);
    using second = new PaLM(SIZE);
    using policy = await trained(new Policy(first, options));
    using actorCritic = await trained(new ActorCritic(second, options));
    using mine = await policy.logProb(ROWS, { temperature: 0.8 });
    using theirs = await actorCritic.evaluate(ROWS, { temperature: 0.8 });
    for (const name of ['logProb', 'entropy'] as const) {
      expect(await numbers(mine[name])).toEqual(await numbers(theirs[name]));
    }
    using reference = await policy.referenceLogProb(ROWS, { temperature: 0.8 });
    using other = await actorCritic.referenceLogProb(ROWS, { temperature: 0.8 });
    expect(await numbers(reference)).toEqual(await numbers(other));
    expect(await numbers(reference)).not.toEqual(await numbers(mine.logProb));
  });

  it('equals an ActorCritic in rollouts from the same seed, bit for bit', async () => {
    using first = new PaLM(SIZE);
    using second = new PaLM(SIZE);
    using policy = await trained(new Policy(first, options));
    using actorCritic = await trained(new ActorCritic(second, options));
    const input = {
      ...SAMPLING,
      reference: true,
      pieces: [
        [4, 0, 2],
        [1, 5, 3],
      ],
    };
    using mine = await policy.rollout(input);
    using theirs = await actorCritic.rollout(input);
    expect(Object.keys(mine).sort()).toEqual([...ROLLOUT].sort());
    expect(Object.keys(theirs).sort()).toEqual([...ROLLOUT, 'rolloutValue'].sort());
    for (const name of ROLLOUT) expect(await numbers(mine[name]), name).toEqual(await numbers(theirs[name]));
    expect(await numbers(mine.referenceLogProb)).not.toEqual(await numbers(mine.rolloutLogProb));
  });

  it('keeps the original model as reference, whatever is trained', async () => {
    using palm = new PaLM(SIZE);
    using untouched = palm.clone();
    using policy = new Policy(palm, options);
    expect(policy.hasReference).toBe(true);
    const reference = async () => {
      using logProb = await policy.referenceLogProb(ROWS, { temperature: 0.8 });
      return await numbers(logProb);
    };
    const before = await reference();
    using forward = await untouched.forward(ROWS);
    const expected = predicted(await numbers(forward.logits), ROWS, 0.8);
    for (const [i, { logProb }] of expected.entries()) expect(before[i]).toBeCloseTo(logProb, 5);
    await trained(policy);
    expect(await reference()).toEqual(before);
  });

  it('gives gradients only to its own parameters, and none without grad', async () => {
    using palm = new PaLM(SIZE);
    using policy = await trained(new Policy(palm, options));
    expect(policy.lora).toBe(options.lora);
    const own = policy.parameters();
    expect(own).toEqual(options.lora === false ? palm.parameters() : palm.parameters({ scope: 'actor' }));
    using optimizer = new AdamW(own);
    for (const grad of [false, true]) {
      using now = await policy.logProb([[1, 2, 3, 4, 5, 6]], { grad });
      using mean = await maskedMean(now.logProb);
      if (grad) await mean.backward();
      else await expect(mean.backward()).rejects.toThrow(/a tensor without a graph/);
    }
    for (const parameter of palm.parameters()) {
      using gradient = await parameter.grad();
      if (options.lora === false) expect(gradient, parameter.name).not.toBeNull();
      else expect(gradient, parameter.name).toBeNull();
    }
    expect((await optimizer.step()).unreached).toEqual([]);
  });

  it('is restored from its file, which loads as a language model too', async () => {
    const path = join(folder, `${options.lora}.safetensors`);
    using palm = new PaLM(SIZE);
    using policy = await trained(new Policy(palm, options));
    const contents = policy.contents();
    expect(JSON.parse(contents.metadata.get('palm-rlhf') as string)).toMatchObject({ model: 'Policy' });
    await saveTensors(path, contents);

    using fresh = new PaLM({ ...SIZE, seed: 9 });
    using again = new Policy(fresh, options);
    await loadTensors(path, again.contents().tensors);
    const read = async (who: Policy) => {
      using now = await who.logProb(ROWS, { grad: false });
      using reference = await who.referenceLogProb(ROWS);
      return await Promise.all([now.logProb, reference].map(numbers));
    };
    expect(await read(again)).toEqual(await read(policy));

    using loaded = await PaLM.load(path, { device });
    const [scope] = policy.scopes;
    expect(loaded.scopes).toEqual(policy.scopes);
    using ours = await palm.forward(ROWS, { scope });
    using theirs = await loaded.forward(ROWS, { scope });
    expect(await numbers(theirs.logits)).toEqual(await numbers(ours.logits));
  });

  it('leaves only the model and its scopes when disposed', async () => {
    using palm = new PaLM(SIZE);
    using optimizer = new AdamW(palm.parameters());
    const learn = async () => {
      using loss = await palm.loss(ROWS);
      await loss.backward();
      await optimizer.step();
      optimizer.zeroGrad();
    };
    await learn();
    const before = memory();
    const policy = new Policy(palm, options);
    (await policy.logProb(ROWS, { grad: false })).dispose();
    if (options.lora) await expect(learn()).rejects.toMatchObject({ code: 'ERR_SHARED_TRUNK' });
    policy.dispose();
    await learn();
    expect(palm.scopes).toEqual(options.lora ? ['actor'] : []);
    for (const scope of palm.scopes) palm.removeScope(scope);
    await learn();
    expect(memory()).toMatchObject({ liveTensors: before.liveTensors, liveBytes: before.liveBytes });
    await expect(policy.logProb(ROWS)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });
});

describe('a policy refuses', () => {
  const policyOf = (options: PolicyOptions, model: object = {}) => new Policy(new PaLM({ ...SIZE, ...model }), options);

  it('a model whose tokens attend to later tokens', () => {
    expect(() => policyOf({}, { causal: false })).toThrow(/a causal model/);
  });

  it.each([
    [{ rank: 4 }, 'Policy.rank'],
    [{ scopes: { actor: 'a' } }, 'Policy.scopes'],
    [{ lora: false, scope: 'own' }, 'Policy.scope'],
    [{ lora: false, alpha: 2 }, 'Policy.alpha'],
    [{ lora: 0 }, 'addScope.rank'],
    [{ alpha: 0 }, 'addScope.alpha'],
    [{ seed: -1 }, 'addScope.seed'],
  ])('%o', (options, argument) => {
    expect(() => policyOf(options as PolicyOptions)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT', argument }),
    );
  });

  it('an existing scope, and leaves the model unchanged', () => {
    using palm = new PaLM(SIZE);
    palm.addScope('actor');
    expect(() => new Policy(palm)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT', argument: 'scope' }));
    expect(palm.scopes).toEqual(['actor']);
    using policy = new Policy(palm, { scope: 'another' });
    expect(policy.scopes).toEqual(['another']);
  });

  it.each(KINDS)('partial construction: %s', (_name, options) => {
    using palm = new PaLM(SIZE);
    const { liveBytes } = memory();
    const create = vi.spyOn(addon(), 'policyCreate').mockImplementation(() => {
      throw new Error('no room');
    });
    try {
      expect(() => new Policy(palm, options)).toThrow('no room');
    } finally {
      create.mockRestore();
    }
    expect(palm.scopes).toEqual([]);
    expect(memory().liveBytes).toBe(liveBytes);
  });

  it.each([0, -1, 1e-7, Number.NaN, Number.POSITIVE_INFINITY])('the temperature %d', async (temperature) => {
    using policy = policyOf({});
    const refused = { code: 'ERR_ARGUMENT', argument: 'temperature' };
    await expect(policy.logProb(ROWS, { temperature })).rejects.toMatchObject(refused);
    await expect(policy.referenceLogProb(ROWS, { temperature })).rejects.toMatchObject(refused);
  });

  it('to answer at the temperature 0', async () => {
    using policy = policyOf({});
    await expect(policy.rollout({ ...SAMPLING, temperature: 0 })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });

  it.each([{ topK: 3 }, { topP: 0.9 }, { minP: 0.1 }, { weights: 'int8' }])('to answer with %o', async (filter) => {
    using policy = policyOf({});
    const rollout = policy.rollout({ ...SAMPLING, ...filter } as RolloutInput);
    await expect(rollout).rejects.toMatchObject({ code: 'ERR_ARGUMENT', expected: 'none' });
  });

  it('to be read while dropout is on', async () => {
    using policy = policyOf({}, { ffDropout: 0.1 });
    policy.model.train();
    for (const read of [
      () => policy.logProb(ROWS),
      () => policy.referenceLogProb(ROWS),
      () => policy.rollout(SAMPLING),
    ]) {
      await expect(read()).rejects.toThrow(/model\.eval/);
    }
  });

  it('to ask a reference that it does not have', async () => {
    using policy = policyOf({ lora: false });
    expect(policy.hasReference).toBe(false);
    await expect(policy.referenceLogProb(ROWS)).rejects.toThrow(/reference: true/);
    await expect(policy.rollout({ ...SAMPLING, reference: true })).rejects.toThrow(/reference: true/);
  });

  it("to continue after an abort, with the signal's reason", async () => {
    using policy = policyOf({});
    const reason = new Error('enough');
    await expect(policy.rollout({ ...SAMPLING, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});
