/**
 * Which token a random number draws, and with what probability: by the plain formula, which sorts the vocabulary, for random, flat,
 * peaked and tied logits under all filters; and batches of rows against each row alone.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { Random } from '../src/data/random.ts';
import { addon } from '../src/native/addon.ts';
import { handleOf } from '../src/native/resource.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { cpuKernels, device } from './device.ts';
import { againWithOtherInstructions } from './instruction-sets.ts';
import { numbersOf, withKernels } from './readings.ts';

type Dtype = 'float32' | 'bfloat16' | 'float64';
interface Options {
  temperature: number;
  topK: number | undefined;
  topP: number | undefined;
  minP: number | undefined;
}
const PLAIN: Options = { temperature: 1, topK: undefined, topP: undefined, minP: undefined };

/** Draws from rows of logits: tokens and log-probabilities. */
async function draw(rows: number[][], uniform: number[], options: Options, dtype: Dtype = 'float32') {
  using logits = Tensor.from(rows, { dtype, device });
  using random = Tensor.from(uniform, { dtype: 'float64', device });
  const drawn = await addon().sampleRows(handleOf(logits), options, handleOf(random));
  const [tokens, logProbs] = [await numbersOf(new Tensor(drawn.token)), await numbersOf(new Tensor(drawn.logProb))];
  return { tokens, logProbs };
}

/** What the filters keep, from the definitions: a stable sort, then top-k, top-p and min-p of what the one before left. */
function weightsOf(logits: number[], { temperature, topK, topP, minP }: Options): number[] {
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp((logit - top) / temperature));
  let kept = logits.map((_, token) => token).sort((a, b) => (logits[b] as number) - (logits[a] as number));
  kept = kept.slice(0, topK);
  if (topP !== undefined) {
    const limit = topP * kept.reduce((sum, token) => sum + (weights[token] as number), 0);
    let before = 0;
    kept = kept.filter((token) => {
      const keeps = before < limit;
      before += weights[token] as number;
      return keeps;
    });
  }
  const left = new Set(kept.filter((token) => (weights[token] as number) >= (minP ?? 0)));
  return weights.map((weight, token) => (left.has(token) ? weight : 0));
}

/** Where the cumulative weight first exceeds the random number's share of the total. */
function tokenAt(weights: number[], uniform: number): number {
  const wanted = uniform * weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  return weights.findIndex((weight) => {
    sum += weight;
    return sum > wanted;
  });
}

/** Numbers that bfloat16 holds exactly, so that many are equal. */
const coarse = (x: number) => {
  const bits = new Uint32Array(Float32Array.of(x).buffer);
  bits[0] = (bits[0] as number) & 0xffff0000;
  return new Float32Array(bits.buffer)[0] as number;
};
const KINDS: Record<string, (random: Random, width: number) => number[]> = {
  random: (random, width) => Array.from({ length: width }, () => Math.fround(4 * (random.next() + random.next() - 1))),
  peaked: (random, width) => Array.from({ length: width }, () => Math.fround(-8 * Math.log(1 - random.next()))),
  flat: (_random, width) => Array.from({ length: width }, () => 0.5),
  'one-hot': (random, width) => {
    const at = random.int(width);
    return Array.from({ length: width }, (_, token) => (token === at ? 90 : -90));
  },
  'in ties': (random, width) => Array.from({ length: width }, () => random.int(5) / 4),
  coarse: (random, width) => Array.from({ length: width }, () => coarse(3 * random.next())),
  'with what is never drawn': (random, width) =>
    Array.from({ length: width }, (_, token) =>
      token > 0 && random.int(2) === 0 ? Math.fround(-3e38) : random.next(),
    ),
};
const WIDTHS = [1, 2, 19, 300, 2500];
const ROWS = 24;

function optionsOf(random: Random): Options {
  const some = <T>(value: T) => (random.int(2) === 0 ? value : undefined);
  return {
    temperature: [0.1, 0.7, 1, 1.6][random.int(4)] as number,
    topK: some(1 + random.int(60)),
    topP: some([0.05, 0.3, 0.5, 0.9, 0.999, 1][random.int(6)] as number),
    minP: some([0.01, 0.2, 1][random.int(3)] as number),
  };
}

const RUNS: [kernels: boolean, dtype: Dtype][] = [
  [true, 'float32'],
  [true, 'bfloat16'],
  [true, 'float64'],
  [false, 'float32'],
];

describe.each(RUNS)('with kernels: %s, in %s,', (kernels, dtype) => {
  it.each(Object.entries(KINDS))('draws from %s logits what the formula draws', async (name, make) => {
    if (dtype === 'bfloat16' && !['flat', 'in ties', 'coarse'].includes(name)) return;
    const random = new Random(name.length);
    let cut = 0;
    for (const width of WIDTHS) {
      for (let turn = 0; turn < 12; turn++) {
        const options = optionsOf(random);
        const rows = Array.from({ length: ROWS }, () => make(random, width));
        const uniform = rows.map((_, row) => (row === 0 ? 0 : row === 1 ? 1 - 2 ** -40 : random.next()));
        const drawn = await withKernels(kernels, () => draw(rows, uniform, options, dtype));
        for (const [row, logits] of rows.entries()) {
          const weights = weightsOf(logits, options);
          const token = drawn.tokens[row] as number;
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          expect(Math.log((weights[token] as number) / total)).toBeCloseTo(drawn.logProbs[row] as number, 4);
          // A number that lies within rounding of the edge of a token may draw its neighbour.
          const share = (to: number) => weights.slice(0, to).reduce((sum, weight) => sum + weight, 0) / total;
          if (token !== tokenAt(weights, uniform[row] as number)) {
            const edges = [share(token), share(token + 1)].map((edge) => Math.abs(edge - (uniform[row] as number)));
            expect(Math.min(...edges)).toBeLessThan(1e-5);
          }
          cut += weights.filter((weight) => weight === 0).length;
        }
      }
    }
    expect(cut).toBeGreaterThan(1000);
  });

  it('draws for a row what it draws alone, bit for bit', async () => {
    const random = new Random(5);
    const rows = Array.from({ length: 9 }, () => (KINDS.coarse as (typeof KINDS)[string])(random, 700));
    const uniform = rows.map(() => random.next());
    for (const more of [{}, { topP: 0.8 }, { topK: 40, temperature: 0.5 }, { temperature: 0 }]) {
      const options = { ...PLAIN, ...more };
      const together = await withKernels(kernels, () => draw(rows, uniform, options, dtype));
      for (const [row, logits] of rows.entries()) {
        const alone = await withKernels(kernels, () => draw([logits], [uniform[row] as number], options, dtype));
        expect(alone).toEqual({ tokens: [together.tokens[row]], logProbs: [together.logProbs[row]] });
      }
    }
  });

  it('says NaN where a logit is not finite, and of no other row', async () => {
    for (const logit of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      for (const more of [{}, { topP: 0.9 }, { topK: 3, minP: 0.1 }, { temperature: 0 }]) {
        const rows = [0, 1, 2].map((row) => Array.from({ length: 30 }, (_, token) => ((row + token) % 7) / 3));
        (rows[1] as number[])[11] = logit;
        const draws = () => draw(rows, [0.1, 0.5, 0.9], { ...PLAIN, ...more }, dtype);
        const { tokens, logProbs } = await withKernels(kernels, draws);
        expect(logProbs.map(Number.isNaN)).toEqual([false, true, false]);
        expect(tokens.every((token) => token >= 0 && token < 30)).toBe(true);
      }
    }
  });
});

it('draws the same with filters that remove nothing as without', async () => {
  const random = new Random(8);
  const rows = Array.from({ length: 20 }, () => (KINDS.random as (typeof KINDS)[string])(random, 1000));
  const uniform = rows.map(() => random.next());
  const expected = await draw(rows, uniform, PLAIN);
  for (const more of [{ topK: 1000 }, { topK: 5000 }, { topP: 1 }, { minP: 1e-9 }]) {
    const { tokens, logProbs } = await draw(rows, uniform, { ...PLAIN, ...more });
    expect(tokens).toEqual(expected.tokens);
    // On a device, filtered logits take another path.
    expect(logProbs).toEqual(expected.logProbs.map((one) => (cpuKernels ? one : expect.closeTo(one, 5))));
  }
});

againWithOtherInstructions('test/sampler.test.ts');

afterAll(() => addon().useKernels(true));
