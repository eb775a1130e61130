/** Low-rank scopes: how they start, what alpha scales, what files say of it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { addon } from '../src/native/addon.ts';
import { AdamW } from '../src/optim.ts';
import type { ScopeOptions } from '../src/models/language-model.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import type { Parameter, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';
import { distance, relativeDistance } from './parity/numbers.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 1, device };
const X = [
  [1, 2, 3, 4, 5, 6, 7],
  [7, 8, 9, 10, 11, 12, 13],
];
const folder = mkdtempSync(join(tmpdir(), 'palm-lora-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function numbers(tensor: Tensor | Parameter): Promise<number[]> {
  return Array.from(await tensor.data(), Number);
}

async function values(parameters: readonly Parameter[]): Promise<number[]> {
  return (await Promise.all(parameters.map(numbers))).flat();
}

async function gradients(parameters: readonly Parameter[]): Promise<number[][]> {
  return await Promise.all(
    parameters.map(async (parameter) => {
      using grad = (await parameter.grad()) as Tensor;
      return await numbers(grad);
    }),
  );
}

async function backward(palm: PaLM, scope: string): Promise<void> {
  using loss = await palm.loss(X, { scope });
  await loss.backward();
}

async function logitsOf(palm: PaLM, scope?: string): Promise<number[]> {
  using out = await palm.forward(X, { scope });
  out.embeddings.dispose();
  return await numbers(out.logits);
}

/** A model with a scope `s` whose Bs have moved. */
async function trained(options: ScopeOptions, config: object = {}): Promise<PaLM> {
  const palm = new PaLM({ ...SIZE, ...config });
  palm.addScope('s', options);
  using optimizer = new AdamW(palm.parameters({ scope: 's' }), { lr: 0.1 });
  await backward(palm, 's');
  await optimizer.step();
  optimizer.zeroGrad();
  return palm;
}

describe('a new scope', () => {
  it('is initialised as in peft: A uniform within 1 / √in, B 0, at every width', async () => {
    for (const [dim, heads] of [
      [64, 2],
      [1024, 3],
    ] as const) {
      using palm = new PaLM({ ...SIZE, dim, heads, depth: 1 });
      palm.addScope('s', { rank: 32 });
      for (const parameter of palm.parameters({ scope: 's' })) {
        const drawn = await numbers(parameter);
        if (parameter.name.endsWith('.b')) {
          expect(drawn.every((value) => value === 0)).toBe(true);
          continue;
        }
        const bound = 1 / Math.sqrt(parameter.shape[0] as number);
        const square = drawn.reduce((sum, value) => sum + value * value, 0) / drawn.length;
        expect(Math.max(...drawn.map(Math.abs))).toBeLessThanOrEqual(Math.fround(bound));
        expect(Math.abs(square / (bound ** 2 / 3) - 1)).toBeLessThan(0.15);
      }
    }
  });

  it('depends on the seed, and only on it', async () => {
    const drawn: Record<string, (seed: number) => Promise<number[]>> = {
      async addScope(seed) {
        using palm = new PaLM(SIZE);
        palm.addScope('s', { seed });
        return await values(palm.parameters({ scope: 's' }));
      },
      async RewardModel(seed) {
        using palm = new PaLM(SIZE);
        using model = new RewardModel(palm, { seed });
        return await values(model.model.parameters({ scope: 'reward' }));
      },
      async ActorCritic(seed) {
        using palm = new PaLM(SIZE);
        using actorCritic = new ActorCritic(palm, { seed });
        return await values(actorCritic.parameters());
      },
    };
    for (const [name, draw] of Object.entries(drawn)) {
      const first = await draw(1);
      expect(await draw(1), name).toEqual(first);
      expect(await draw(2), name).not.toEqual(first);
    }
  });

  it.each([
    ['alpha', { alpha: 0 }],
    ['alpha', { alpha: Number.NaN }],
    ['alpha', { alpha: '8' as unknown as number }],
    ['seed', { seed: -1 }],
    ['rank', { rank: 0 }],
  ])('refuses a bad %s: %o', (name, options) => {
    using palm = new PaLM(SIZE);
    const refused = expect.objectContaining({ code: 'ERR_ARGUMENT', argument: `addScope.${name}` });
    expect(() => palm.addScope('s', options)).toThrow(refused);
    expect(palm.scopes).toEqual([]);
  });

  it('refuses alpha without adapters', () => {
    using palm = new PaLM(SIZE);
    const refused = expect.objectContaining({ code: 'ERR_ARGUMENT' });
    expect(() => new RewardModel(palm, { lora: false, alpha: 8 })).toThrow(refused);
    expect(() => new ActorCritic(palm, { lora: false, alpha: 8 })).toThrow(refused);
  });
});

describe('alpha', () => {
  it('scales the output of adapters: twice the rank gives twice the gradient of B', async () => {
    const of = async (alpha: number) => {
      using palm = new PaLM(SIZE);
      palm.addScope('s', { rank: 4, alpha });
      await backward(palm, 's');
      return (await gradients(palm.parameters({ scope: 's' }).filter(({ name }) => name.endsWith('.b')))).flat();
    };
    const once = await of(4);
    expect(await of(8)).toEqual(once.map((value) => 2 * value));
  });

  it.each([4, 1, 40])('%d at rank 4 gives equal gradients in fused and plain blocks', async (alpha) => {
    using palm = await trained({ rank: 4, alpha });
    const all = [...palm.parameters(), ...palm.parameters({ scope: 's' })];
    const of = async (kernels: boolean) => {
      await addon().useKernels(kernels);
      palm.unfreeze();
      using loss = await palm.loss(X, { scope: 's' });
      await loss.backward();
      const found = await gradients(all);
      using optimizer = new AdamW(all);
      optimizer.zeroGrad();
      return found;
    };
    const plain = await of(false);
    const fused = await of(true);
    for (const [i, { name }] of all.entries()) {
      expect(relativeDistance(fused[i] as number[], plain[i] as number[]), name).toBeLessThan(1e-4);
    }
  });

  it.each(['float32', 'bfloat16'] as const)('has the same effect in decoding as in forward, %s', async (dtype) => {
    using palm = await trained({ rank: 4, alpha: 10 }, { dtype });
    using out = await palm.generate({ prompts: [[1, 2, 3]], maxNewTokens: 12, seed: 1, scope: 's' });
    using unscoped = await palm.forward(out.sequences);
    using scoped = await palm.forward(out.sequences, { scope: 's' });
    const sequence = (await numbers(out.sequences)) as number[];
    const logProbs = await numbers(out.logProbs);
    const expected = async (logits: Tensor) => {
      const flat = await numbers(logits);
      return logProbs.map((_, t) => (t < 3 ? 0 : logProb(flat.slice((t - 1) * 19, t * 19), sequence[t] as number)));
    };
    const near = distance(logProbs, await expected(scoped.logits));
    expect(near).toBeLessThan(dtype === 'float32' ? 1e-4 : 0.1);
    expect(distance(logProbs, await expected(unscoped.logits))).toBeGreaterThan(5 * near);
  });

  it('is applied in merging and kept in copies', async () => {
    using palm = await trained({ rank: 4, alpha: 10 });
    const scoped = await logitsOf(palm, 's');
    expect(distance(scoped, await logitsOf(palm))).toBeGreaterThan(0.01);
    using copy = palm.clone();
    expect(await logitsOf(copy, 's')).toEqual(scoped);
    await palm.mergeScope('s');
    expect(distance(await logitsOf(palm), scoped)).toBeLessThan(1e-5);
  });
});

describe('files', () => {
  it('keep the alpha of a scope', async () => {
    const path = join(folder, 'alpha.safetensors');
    using palm = await trained({ rank: 4, alpha: 10 });
    await palm.save(path);
    using again = await PaLM.load(path, { device });
    expect(again.description().scopes).toEqual({ s: { rank: 4, alpha: 10 } });
    expect(await logitsOf(again, 's')).toEqual(await logitsOf(palm, 's'));
  });

  it('of a reward model keep alpha', async () => {
    const path = join(folder, 'reward.safetensors');
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm, { lora: 2, alpha: 6 });
    await model.save(path);
    using again = await RewardModel.load(path, { device });
    expect(again.model.description().scopes).toEqual({ reward: { rank: 2, alpha: 6 } });
  });

  it('of 0.1.0 record only the rank: their scale is 1', async () => {
    const path = join(folder, 'old.safetensors');
    using palm = await trained({ rank: 4 });
    await palm.save(path);
    rewrite(path, (palm) => Object.assign(palm, { scopes: { s: 4 } }));
    using again = await PaLM.load(path, { device });
    expect(await logitsOf(again, 's')).toEqual(await logitsOf(palm, 's'));
  });

  it.each([{ rank: 4 }, { rank: 4, alpha: 0 }, { rank: 4, alpha: 'two' }, { alpha: 4 }, [4], null])(
    'are refused where they say %o of a scope',
    async (size) => {
      const path = join(folder, 'bad.safetensors');
      using palm = await trained({ rank: 4 });
      await palm.save(path);
      rewrite(path, (palm) => Object.assign(palm, { scopes: { s: size } }));
      await expect(PaLM.load(path, { device })).rejects.toMatchObject({ code: 'ERR_FILE' });
    },
  );

  it('with the names of palm-rlhf-pytorch cannot store a scale, which that library lacks', async () => {
    const path = join(folder, 'python.safetensors');
    using palm = await trained({ rank: 4, alpha: 10 });
    const refused = { code: 'ERR_ARGUMENT', argument: 'alpha of scope s', received: '10' };
    await expect(palm.save(path, { names: 'python' })).rejects.toMatchObject(refused);
    using plain = await trained({ rank: 4 });
    await plain.save(path, { names: 'python' });
    using again = await PaLM.load(path, { device });
    expect(await logitsOf(again, 's')).toEqual(await logitsOf(plain, 's'));
  });
});

/** Changes what a file says of the PaLM in it. */
function rewrite(path: string, change: (palm: object) => unknown): void {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString('utf8', 8, 8 + length));
  const metadata = JSON.parse(header.__metadata__['palm-rlhf']);
  change(metadata.palm);
  header.__metadata__['palm-rlhf'] = JSON.stringify(metadata);
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc(-text.length & 7, ' ')]);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(padded.length));
  writeFileSync(path, Buffer.concat([prefix, padded, file.subarray(8 + length)]));
}

function logProb(logits: number[], token: number): number {
  const top = Math.max(...logits);
  return (logits[token] as number) - top - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
}
