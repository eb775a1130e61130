/**
 * Readers that share a trunk: whichever is made first, has its optimizer first and trains first, who is trained moves and nobody
 * else does, to the bit.
 */
import { describe, expect, it, vi } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { judge } from '../src/advantages.ts';
import { ppoLoss } from '../src/losses/policy.ts';
import { addon } from '../src/native/addon.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import type { Parameter, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, seed: 1, device };
const X = [
  [1, 2, 3, 4, 5, 6],
  [7, 8, 9, 10, 11, 12],
];
const DTYPES = ['float32', 'bfloat16'] as const;

/** Something that is trained on a trunk. */
interface Trainee {
  parameters: Parameter[];
  /** A loss, differentiated. */
  learn(): Promise<void>;
  dispose(): void;
}
type Kind = 'policy' | 'critic' | 'reward' | 'critic of all weights' | 'reward of all weights';

const MAKE: Record<Kind, (palm: PaLM, name: string) => Trainee> = {
  policy(palm, name) {
    palm.addScope(name, { rank: 2 });
    return {
      parameters: palm.parameters({ scope: name }),
      learn: () => differentiate(palm.loss(X, { scope: name })),
      dispose: () => {},
    };
  },
  critic(palm, name) {
    const scopes = { actor: `${name}-actor`, critic: `${name}-critic` };
    return criticTrainee(new ActorCritic(palm, { lora: 2, scopes }));
  },
  'critic of all weights': (palm) => criticTrainee(new ActorCritic(palm, { lora: false })),
  reward: (palm, name) => rewardTrainee(new RewardModel(palm, { lora: 2, scope: name })),
  'reward of all weights': (palm) => rewardTrainee(new RewardModel(palm, { lora: false })),
};

function criticTrainee(actorCritic: ActorCritic): Trainee {
  return {
    parameters: actorCritic.parameters(),
    async learn() {
      const temperature = 1;
      using rollout = await actorCritic.rollout({ prompts: X, maxNewTokens: 4, temperature, seed: 2 });
      using judgement = await judge(rollout, [1, -1], { klWeight: 0, gamma: 1, lambda: 0.95, whiten: true });
      using now = await actorCritic.evaluate(rollout.sequence, { temperature });
      const options = { clip: 0.2, valueClip: 0.2, valueWeight: 0.5, entropyWeight: 0.1 };
      await differentiate(ppoLoss(now, { ...rollout, ...judgement }, options));
    },
    dispose: () => actorCritic.dispose(),
  };
}

function rewardTrainee(model: RewardModel): Trainee {
  return {
    parameters: model.parameters(),
    learn: () => differentiate(model.rankingLoss(X, { groups: [0, 0], ranks: [0, 1], promptLengths: [2, 3] })),
    dispose: () => model.dispose(),
  };
}

async function differentiate(
  computed: Promise<Tensor | { backward(): Promise<void>; dispose(): void }>,
): Promise<void> {
  const loss = await computed;
  await loss.backward();
  loss.dispose();
}

/** Four steps: with B and the value head at 0, the first reach only what comes last. */
async function train({ learn }: Trainee, optimizer: AdamW): Promise<void> {
  for (let step = 0; step < 4; step++) await trainOnce(learn, optimizer);
}

async function trainOnce(learn: () => Promise<void>, optimizer: AdamW): Promise<void> {
  await learn();
  expect((await optimizer.step()).unreached).toEqual([]);
  optimizer.zeroGrad();
}

function optimizerOf({ parameters }: Trainee): AdamW {
  return new AdamW(parameters, { lr: 0.05, weightDecay: 0 });
}

async function bits(parameters: readonly Parameter[]): Promise<string[]> {
  return await Promise.all(parameters.map(async (parameter) => `${parameter.name}: ${await parameter.data()}`));
}

/** Names of the parameters that are no longer as they were. */
async function moved(parameters: readonly Parameter[], before: string[]): Promise<string[]> {
  const now = await bits(parameters);
  return parameters.filter((_, i) => now[i] !== before[i]).map(({ name }) => name);
}

function names(parameters: readonly Parameter[]): string[] {
  return parameters.map(({ name }) => name);
}

async function expectNoGradient(parameters: readonly Parameter[]): Promise<void> {
  for (const parameter of parameters) expect(await parameter.grad(), parameter.name).toBeNull();
}

/** Trains one of two and looks at everything that there is. */
async function expectOnlyFirstMoves(palm: PaLM, [first, second]: [Trainee, Trainee], work: () => Promise<void>) {
  const [trunk, own, other] = [palm.parameters(), first.parameters, second.parameters];
  const before = await Promise.all([trunk, own, other].map(bits));
  await work();
  expect(await moved(own, before[1] as string[])).toEqual(names(own));
  expect(await moved(other, before[2] as string[])).toEqual([]);
  const shares = own.includes(trunk[0] as Parameter);
  if (!shares) expect(await moved(trunk, before[0] as string[])).toEqual([]);
}

const KINDS = ['policy', 'critic', 'reward'] as const;
const PAIRS = KINDS.flatMap((first) => KINDS.map((second) => [first, second] as const));
/** Pairs of which one trains every weight of the trunk, or of a copy, and the other is no reader of the trunk. */
const WHOLE = [
  ['critic of all weights', 'policy'],
  ['critic of all weights', 'reward of all weights'],
  ['reward of all weights', 'policy'],
  ['reward of all weights', 'critic'],
  ['reward of all weights', 'reward'],
  ['reward of all weights', 'reward of all weights'],
] as const;
const BOTH_ORDERS = WHOLE.flatMap(([a, b]) => [[a, b] as const, [b, a] as const]);

describe.each(DTYPES)('in %s', (dtype) => {
  it.each([...PAIRS, ...BOTH_ORDERS])('%s, then %s', async (firstKind, secondKind) => {
    using palm = new PaLM({ ...SIZE, dtype });
    const first = MAKE[firstKind](palm, 'first');
    using early = optimizerOf(first);
    const second = MAKE[secondKind](palm, 'second');
    using late = optimizerOf(second);
    await expectOnlyFirstMoves(palm, [first, second], () => train(first, early));
    await expectOnlyFirstMoves(palm, [second, first], () => train(second, late));
    await expectOnlyFirstMoves(palm, [first, second], () => train(first, early));
    second.dispose();
    const before = await bits(first.parameters);
    await train(first, early);
    expect(await moved(first.parameters, before)).toEqual(names(first.parameters));
    first.dispose();
  });

  it.each(PAIRS)(
    '%s, then %s, with optimizers in the other order and alternating steps',
    async (firstKind, secondKind) => {
      using palm = new PaLM({ ...SIZE, dtype });
      const first = MAKE[firstKind](palm, 'first');
      const second = MAKE[secondKind](palm, 'second');
      using late = optimizerOf(second);
      using early = optimizerOf(first);
      const before = await bits([...first.parameters, ...second.parameters]);
      const trunk = await bits(palm.parameters());
      for (let step = 0; step < 4; step++) {
        await trainOnce(second.learn, late);
        await trainOnce(first.learn, early);
        await expectNoGradient(palm.parameters());
      }
      const all = [...first.parameters, ...second.parameters];
      expect(await moved(all, before)).toEqual(names(all));
      expect(await moved(palm.parameters(), trunk)).toEqual([]);
      for (const trainee of [second, first]) trainee.dispose();
    },
  );
});

describe('a shared trunk', () => {
  it('keeps the gradients of earlier readers when another is added', async () => {
    using palm = new PaLM(SIZE);
    const critic = MAKE.critic(palm, 'first');
    const reward = MAKE.reward(palm, 'second');
    for (const { parameters, learn } of [critic, reward]) {
      await learn();
      for (const parameter of parameters) expect(await parameter.grad(), parameter.name).not.toBeNull();
    }
    await expectNoGradient(palm.parameters());
    for (const trainee of [critic, reward]) trainee.dispose();
  });

  it('cannot be fully trained with another reader, whichever comes first', async () => {
    for (const kind of ['critic', 'reward'] as const) {
      using palm = new PaLM(SIZE);
      using early = new AdamW(palm.parameters());
      const reader = MAKE[kind](palm, 'reader');
      await differentiate(palm.loss(X));
      await expect(early.step()).rejects.toMatchObject({ code: 'ERR_SHARED_TRUNK' });
      const whole = MAKE['critic of all weights'](palm, '');
      expect(() => optimizerOf(whole)).toThrow(expect.objectContaining({ code: 'ERR_SHARED_TRUNK' }));
      for (const trainee of [whole, reader]) trainee.dispose();
      await early.step();
    }
  });

  it('has no gradients below adapters while an optimizer owns only these', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('a');
    const [trunk, adapters] = [palm.parameters(), palm.parameters({ scope: 'a' })];
    {
      using _adapters = new AdamW(adapters);
      await differentiate(palm.loss(X, { scope: 'a' }));
      await expectNoGradient(trunk);
      for (const parameter of adapters) expect(await parameter.grad()).not.toBeNull();
      using _all = new AdamW(trunk);
      await differentiate(palm.loss(X, { scope: 'a' }));
      expect(await trunk[0]?.grad()).not.toBeNull();
      _all.zeroGrad();
    }
    await differentiate(palm.loss(X, { scope: 'a' }));
    expect(await trunk[0]?.grad()).not.toBeNull();
  });

  it('keeps a graph recorded before an optimizer was created or disposed of', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('a');
    using all = await palm.loss(X, { scope: 'a' });
    using optimizer = new AdamW(palm.parameters({ scope: 'a' }));
    using adapters = await palm.loss(X, { scope: 'a' });
    await all.backward();
    expect(await palm.parameters()[0]?.grad()).not.toBeNull();
    await adapters.backward();
    expect((await optimizer.step()).unreached).toEqual([]);
  });

  it.each(['policyCreate', 'actorCriticCreate'] as const)('is unchanged if %s fails', (name) => {
    using palm = new PaLM(SIZE);
    palm.addScope('kept');
    const create = vi.spyOn(addon(), name).mockImplementation(() => {
      throw new Error('no room');
    });
    try {
      expect(() => new ActorCritic(palm)).toThrow('no room');
      expect(() => new ActorCritic(palm, { lora: false, reference: true })).toThrow('no room');
    } finally {
      create.mockRestore();
    }
    expect(palm.scopes).toEqual(['kept']);
    new AdamW(palm.parameters()).dispose(); // nobody reads it
    using actorCritic = new ActorCritic(palm);
    expect(actorCritic.parameters().length).toBeGreaterThan(0);
  });

  it('is unchanged if one of the names of an actor-critic is taken', () => {
    using palm = new PaLM(SIZE);
    palm.addScope('taken');
    const taken = expect.objectContaining({ code: 'ERR_ARGUMENT', argument: 'scope' });
    expect(() => new ActorCritic(palm, { scopes: { critic: 'taken' } })).toThrow(taken);
    expect(() => new ActorCritic(palm, { scopes: { actor: 'same', critic: 'same' } })).toThrow(taken);
    expect(palm.scopes).toEqual(['taken']);
  });
});
