/**
 * The fused sequential block against the plain one: float32 against float64, bfloat16 about as near to it as the plain
 * block.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { addon, type DecoderDescription } from '../src/native/addon.ts';
import { Decoder, type Scope, weightsOf } from './decoders.ts';
import { SEQUENTIAL } from './block-descriptions.ts';
import { againWithOtherInstructions } from './instruction-sets.ts';
import { ids } from './parity/weights.ts';
import { distance, representable, withKernels } from './readings.ts';

const ROWS = [1, 2, 3].map((seed) => ids(37, 17, seed));
const SEGMENTS = ROWS.map((row, i) => row.map((_, t) => Math.floor((t + i) / 9)));
const SITES = ['query', 'key', 'value', 'output', 'up', 'gate', 'down'];

type Reading = Map<string, number[]>;

/** Numbers of one model: logits and all gradients, through a scope on every linear if `scoped`, packed if `packed`. */
async function reading(
  description: DecoderDescription,
  { scoped = false, packed = false, seed = 3 } = {},
): Promise<Reading> {
  using model = await Decoder.of(description, representable(weightsOf(description, seed)));
  const sites = SITES.filter((name) => description.gated || name !== 'gate');
  const scope: Scope | undefined = scoped ? model.scope(sites, 3, 6) : undefined;
  await scope?.draw(seed + 2);
  const segments = packed ? SEGMENTS : undefined;
  const found = await model.gradients(ROWS, scope, segments);
  found.set('logits', await model.logits(ROWS, scope, segments));
  scope?.[Symbol.dispose]();
  return found;
}

/** The mean distance of all numbers of a reading from the true ones. */
function errorOf(found: Reading, truth: Reading): number {
  return [...truth].reduce((sum, [of, numbers]) => sum + distance(found.get(of) as number[], numbers), 0) / truth.size;
}

const WAYS = { whole: {}, 'through adapters': { scoped: true }, packed: { packed: true } };
/** Errors in bfloat16, of each family by way: those of fused blocks, in parts of those of plain ones. */
const ratios = new Map(Object.keys(WAYS).map((way): [string, number[]] => [way, []]));

describe.each(Object.entries(SEQUENTIAL))('%s', (_name, description) => {
  it('is computed by fused blocks', () => {
    expect(addon().decoderFallbacks(description)).toEqual({});
  });

  it.each(Object.entries(WAYS))('%s: float32 is near float64', async (_way, how) => {
    const truth = await withKernels(false, () => reading({ ...description, dtype: 'float64' }, how));
    const fused = await reading(description, how);
    expect([...fused.keys()].sort()).toEqual([...truth.keys()].sort());
    for (const [of, numbers] of truth) expect(distance(fused.get(of) as number[], numbers), of).toBeLessThan(2e-5);
  });

  it.each(Object.entries(WAYS))('%s: bfloat16 is about as near as the plain block', async (way, how) => {
    const bits = { ...description, dtype: 'bfloat16' } as const;
    let [fused, plain] = [0, 0];
    for (const seed of [1, 2, 3, 4]) {
      const drawn = { ...how, seed };
      const truth = await withKernels(false, () => reading({ ...description, dtype: 'float64' }, drawn));
      fused += errorOf(await reading(bits, drawn), truth);
      plain += errorOf(await withKernels(false, () => reading(bits, drawn)), truth);
    }
    expect(fused).toBeLessThan(1.3 * plain);
    ratios.get(way)?.push(fused / plain);
  });

  it('keeps or recomputes: the same bits', async () => {
    for (const scoped of [false, true]) {
      const [kept, ...others] = await Promise.all(
        (['none', 'selective', 'full'] as const).map((recompute) => reading({ ...description, recompute }, { scoped })),
      );
      for (const other of others) expect(other).toEqual(kept);
    }
  });

  it('fills the cache that decoding continues', async () => {
    const weights = weightsOf(description, 3);
    const written = async (kernels: boolean) => {
      using model = await Decoder.of(description, weights);
      const rows = ROWS.map((row) => row.slice(0, 11));
      return await withKernels(kernels, () => model.generate(rows, { temperature: 1 }));
    };
    const [fused, plain] = [await written(true), await written(false)];
    expect(fused.tokens).toEqual(plain.tokens);
    expect(distance(fused.logProbs, plain.logProbs)).toBeLessThan(1e-5);
  });

  it('is another computation than the plain block', async () => {
    const bits = { ...description, dtype: 'bfloat16' } as const;
    const [fused, plain] = [await reading(bits), await withKernels(false, () => reading(bits))];
    expect(fused.get('logits')).not.toEqual(plain.get('logits'));
  });
});

it.each(Object.keys(WAYS))('%s: bfloat16 is as near as the plain block over all families', (way) => {
  const all = ratios.get(way) as number[];
  expect(all).toHaveLength(Object.keys(SEQUENTIAL).length);
  expect(all.reduce((sum, ratio) => sum + ratio, 0) / all.length).toBeLessThan(1.1);
});

againWithOtherInstructions('test/sequential-block.test.ts');

afterAll(() => addon().useKernels(true));
