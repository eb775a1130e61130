/**
 * Recorded numbers of training methods. Each file of test/fixtures/methods has inputs and cases: options, and the loss, metrics
 * and gradients, or other values, that they give. `PALM_GOLDEN_DIR=DIR npx vitest run test/golden` checks the files of another
 * folder instead, whatever their shapes; a file that it lacks is not checked.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Tensor, type Parameter } from '../../src/tensor/tensor.ts';
import { device } from '../device.ts';

const folder = process.env.PALM_GOLDEN_DIR ?? join(import.meta.dirname, '../fixtures/methods');

/** Lists of numbers, as deep as the value they stand for. */
export type Numbers = number | Numbers[];

/** One case of a file. `inputs` has those of the file, with the case's own in their place. */
export interface GoldenCase {
  name: string;
  options: Readonly<Record<string, unknown>>;
  inputs: Readonly<Record<string, Numbers>>;
  loss: number;
  metrics: Readonly<Record<string, number>>;
  /** d loss / d input, by the name of the input. */
  gradient: Readonly<Record<string, Numbers>>;
  /** Other recorded values, by name. */
  expected: Readonly<Record<string, Numbers>>;
}

/** The cases of a file, such as `dpo`, except those in `excluded` (name → reason); none if the folder has no such file. */
export function casesOf(file: string, excluded: Readonly<Record<string, string>> = {}): GoldenCase[] {
  const path = join(folder, `${file}.json`);
  if (!existsSync(path)) return [];
  const { inputs, cases } = JSON.parse(readFileSync(path, 'utf8')) as { inputs: object; cases: GoldenCase[] };
  return cases
    .filter(({ name }) => !Object.hasOwn(excluded, name))
    .map((one) => ({ ...one, inputs: { ...inputs, ...one.inputs }, metrics: one.metrics ?? {} }));
}

/** The element types in which losses are compared, and how closely. */
const PRECISIONS = [
  { dtype: 'float64', Floats: Float64Array, tolerance: 1e-9 },
  { dtype: 'float32', Floats: Float32Array, tolerance: 1e-5 },
] as const;

/** Makes tensors of recorded inputs, in one of the element types. */
export interface Made {
  dtype: 'float64' | 'float32';
  tolerance: number;
  /** A tensor of the input's shape. */
  tensor(numbers: Numbers): Tensor;
  /** The same as a parameter, which has a gradient. */
  parameter(numbers: Numbers): Parameter;
  /** A tensor of booleans: true where a number is not 0. */
  mask(numbers: Numbers): Tensor;
}

/** Runs `check` on every case of `file`, in float64 and float32, as tests of their own. */
export function goldenCases(
  file: string,
  check: (one: GoldenCase, made: Made) => Promise<void>,
  excluded: Readonly<Record<string, string>> = {},
): void {
  const cases = casesOf(file, excluded);
  describe.each(PRECISIONS)(`${file} in $dtype`, ({ dtype, Floats, tolerance }) => {
    const options = (numbers: Numbers) => ({ shape: shapeOf(numbers), dtype, device });
    const made: Made = {
      dtype,
      tolerance,
      tensor: (numbers) => Tensor.from(Floats.from(flat(numbers)), options(numbers)),
      parameter: (numbers) => Tensor.parameter(Floats.from(flat(numbers)), options(numbers)),
      mask: (numbers) => Tensor.from(Uint8Array.from(flat(numbers), Number), { ...options(numbers), dtype: 'bool' }),
    };
    it.each(cases)('gives the recorded numbers: $name', async (one) => await check(one, made));
    if (cases.length === 0)
      it('has no cases in the folder that was asked for', () => expect(process.env.PALM_GOLDEN_DIR).toBeDefined());
  });
}

/** All numbers of nested lists, in order. */
export function flat(numbers: Numbers): number[] {
  return typeof numbers === 'number' ? [numbers] : numbers.flatMap(flat);
}

/** The lengths of nested lists, from the outermost in. */
export function shapeOf(numbers: Numbers): number[] {
  return typeof numbers === 'number' ? [] : [numbers.length, ...(numbers[0] === undefined ? [] : shapeOf(numbers[0]))];
}

/** Expects `found` within `tolerance` of `wanted`, relative to numbers above 1. */
export function expectNumbers(found: Numbers, wanted: Numbers, tolerance: number, name: string): void {
  const [a, b] = [flat(found), flat(wanted)];
  expect(a.length, name).toBe(b.length);
  const off = a.map((x, i) => Math.abs(x - (b[i] as number)) / Math.max(1, Math.abs(b[i] as number)));
  expect(Math.max(0, ...off.map((x) => (Number.isNaN(x) ? Number.POSITIVE_INFINITY : x))), name).toBeLessThanOrEqual(
    tolerance,
  );
}

/** The gradient of `parameter`; zeros before a backward pass has reached it. */
export async function gradientOf(parameter: Parameter): Promise<number[]> {
  using gradient = await parameter.grad();
  return Array.from((await gradient?.data()) ?? [], Number);
}
