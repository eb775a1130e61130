/** Another family takes a table and a class: what is said of models holds for one that is made here, with heads of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type Family, type ModelConfig, SITES } from '../src/families/family.ts';
import { openSafetensors } from '../src/files/safetensors/safetensors.ts';
import { ActorCritic, AdamW, PaLM, planPretraining, RewardModel } from '../src/index.ts';
import { LanguageModel } from '../src/models/language-model.ts';
import type { NamedScopes } from '../src/models/model-file.ts';
import { loadTensors } from '../src/tensor/tensor-files.ts';
import { DESCRIPTION, PLAIN_ROPE } from './decoders.ts';
import { distance } from './parity/numbers.ts';

interface GroupedConfig extends ModelConfig {
  kvHeads: number;
}

const grouped: Family<GroupedConfig> = {
  kind: 'Grouped',
  key: 'grouped',
  targets: ['query', 'value'],
  modules: SITES,
  resolve: (config) => config as GroupedConfig,
  describe: ({ kvHeads }) => ({ ...DESCRIPTION, kvHeads, ropes: [PLAIN_ROPE] }),
};

class Grouped extends LanguageModel<GroupedConfig> {
  constructor(config: GroupedConfig, blank?: NamedScopes) {
    super(grouped, config, blank);
  }

  protected override blank(scopes: NamedScopes): this {
    return new Grouped(this.config, scopes) as this;
  }
}

const CONFIG = { seed: 3, kvHeads: 2 };
const X = [
  [1, 2, 3, 4, 5, 6, 7],
  [8, 9, 10, 11, 12, 13, 14],
];
const folder = mkdtempSync(join(tmpdir(), 'palm-family-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function logitsOf(model: LanguageModel, scope?: string): Promise<number[]> {
  using out = await model.forward(X, { scope });
  return Array.from(await out.logits.data(), Number);
}

/** Trains all weights, or the adapters of `scope` alone. */
async function learn(model: LanguageModel, scope?: string): Promise<number[]> {
  using optimizer = new AdamW(model.parameters({ scope }), { lr: 0.03 });
  const losses: number[] = [];
  for (let step = 0; step < 8; step++) {
    using loss = await model.loss(X, { scope });
    await loss.backward();
    await optimizer.step();
    optimizer.zeroGrad();
    losses.push(await loss.item());
  }
  return losses;
}

describe('a model of another family', () => {
  it('trains, and generates the same with and without a cache', async () => {
    using model = new Grouped(CONFIG);
    const losses = await learn(model);
    expect(losses.at(-1)).toBeLessThan((losses[0] as number) - 0.3);
    using out = await model.generate({ prompts: [[1, 2, 3]], maxNewTokens: 8, temperature: 0 });
    const tokens = Array.from(await out.sequences.data(), Number);
    using read = await model.forward([tokens]);
    const logits = Array.from(await read.logits.data(), Number);
    const row = (t: number) => logits.slice(t * DESCRIPTION.numTokens, (t + 1) * DESCRIPTION.numTokens);
    expect(tokens.slice(3)).toEqual(tokens.slice(3).map((_, i) => row(2 + i).indexOf(Math.max(...row(2 + i)))));
    const streamed: number[] = [];
    for await (const { token } of model.stream({ prompt: [1, 2, 3], maxNewTokens: 8, temperature: 0 })) {
      streamed.push(token);
    }
    expect(streamed).toEqual(tokens.slice(3));
  });

  it('has adapters only on the sites of its family, and merges them', async () => {
    using model = new Grouped(CONFIG);
    model.addScope('tune', { rank: 2, alpha: 4 });
    expect(model.parameters({ scope: 'tune' }).map(({ name }) => name)).toEqual(
      [0, 1].flatMap((layer) =>
        ['query.a', 'query.b', 'value.a', 'value.b'].map((name) => `scopes.tune.layers.${layer}.${name}`),
      ),
    );
    await learn(model, 'tune');
    const scoped = await logitsOf(model, 'tune');
    expect(distance(scoped, await logitsOf(model))).toBeGreaterThan(0.01);
    using copy = model.clone();
    expect(copy).toBeInstanceOf(Grouped);
    expect(await logitsOf(copy, 'tune')).toEqual(scoped);
    await model.mergeScope('tune');
    expect(distance(await logitsOf(model), scoped)).toBeLessThan(1e-5);
  });

  it('is described in its file under the key of its family, and is not loaded as PaLM', async () => {
    const path = join(folder, 'grouped.safetensors');
    using model = new Grouped(CONFIG);
    model.addScope('tune', { rank: 2 });
    await model.save(path);
    await using file = await openSafetensors(path);
    expect(JSON.parse(file.metadata.get('palm-rlhf') as string)).toEqual({
      ...{ format: 1, model: 'Grouped' },
      grouped: { config: CONFIG, scopes: { tune: { rank: 2, alpha: 2 } } },
    });
    using again = new Grouped({ ...CONFIG, seed: 4 }, [['tune', { rank: 2, alpha: 2 }]]);
    await loadTensors(path, again.contents().tensors);
    expect(await logitsOf(again, 'tune')).toEqual(await logitsOf(model, 'tune'));
    await expect(PaLM.load(path)).rejects.toMatchObject({ code: 'ERR_FILE', received: 'a Grouped' });
    await expect(model.save(path, { names: 'python' })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });

  it('can be the trunk of reward models and actor-critics', async () => {
    using model = new Grouped(CONFIG);
    using rewardModel = new RewardModel(model, { lora: 2 });
    using actorCritic = new ActorCritic(model, { lora: 2 });
    using score = await rewardModel.score(X, { promptLengths: [2, 3] });
    expect(score.shape).toEqual([2]);
    using rollout = await actorCritic.rollout({ prompts: [[1], [2, 3]], maxNewTokens: 4, seed: 1, reference: true });
    const [sampled, read] = await Promise.all([rollout.samplerLogProb.data(), rollout.rolloutLogProb.data()]);
    expect(distance(sampled, read)).toBeLessThan(1e-5);
    const sites = actorCritic.parameters().flatMap(({ name }) => /layers\.0\.(\w+)\.a/.exec(name)?.[1] ?? []);
    expect(new Set(sites)).toEqual(new Set(['query', 'value']));
  });

  it('has a memory plan for its training', () => {
    using one = new Grouped({ ...CONFIG, kvHeads: 1 });
    using four = new Grouped({ ...CONFIG, kvHeads: 4 });
    const bytes = (model: LanguageModel) => {
      const { always } = planPretraining(model.decoder, { batchSize: 2, length: 8 });
      return always.find(({ what }) => what === 'model')?.bytes;
    };
    const numbers = (model: LanguageModel) =>
      model.parameters().reduce((total, { shape }) => total + shape.reduce((product, size) => product * size, 1), 0);
    for (const model of [one, four]) expect(bytes(model)).toBe(4 * numbers(model));
    expect(bytes(four)).toBeGreaterThan(bytes(one) as number);
  });
});
