/** D3: what bfloat16 weights learn is summed in float32, whatever the threads and the micro-batches. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { addon } from '../../src/native/addon.ts';
import { AdamW } from '../../src/optim.ts';
import { Tensor } from '../../src/tensor/tensor.ts';
import { device } from '../device.ts';
import { relativeDistance } from '../parity/numbers.ts';
import { type Gradients, SUBJECTS } from './subjects.ts';

const ROWS = 16; // 4,096 tokens
const norm = (values: readonly number[]) => Math.hypot(...values);
const cosine = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * (b[i] as number), 0) / norm(a) / norm(b);

/** How far two lots of gradients are apart, by the names of those that are further than `most`. */
function further(actual: Gradients, expected: Gradients, most: number): Record<string, number> {
  expect(Object.keys(actual)).toEqual(Object.keys(expected));
  const distances = Object.entries(actual).map(
    ([name, values]) => [name, relativeDistance(values, expected[name] as number[])] as const,
  );
  return Object.fromEntries(distances.filter(([, distance]) => !(distance <= most)));
}

afterEach(() => addon().useKernels(true));

describe.each(Object.entries(SUBJECTS))('D3: the gradients of %s', (_name, subject) => {
  it.each([true, false])(
    'in bfloat16 have the length and direction of those in float32, kernels %s',
    async (kernels) => {
      await addon().useKernels(kernels);
      const exact = await subject('float32', 1, ROWS);
      const rounded = await subject('bfloat16', 1, ROWS);
      expect(Object.keys(rounded)).toEqual(Object.keys(exact));
      const wrong = Object.entries(rounded).flatMap(([name, values]) => {
        const ratio = norm(values) / norm(exact[name] as number[]);
        const along = cosine(values, exact[name] as number[]);
        return ratio >= 0.98 && ratio <= 1.02 && along >= 0.999 ? [] : [{ name, ratio, along }];
      });
      expect(wrong).toEqual([]);
    },
  );

  it.each([true, false])('add up to the same in micro-batches, kernels %s', async (kernels) => {
    await addon().useKernels(kernels);
    const whole = await subject('bfloat16', 1, ROWS / 2);
    expect(further(await subject('bfloat16', 4, ROWS / 2), whole, 1e-3)).toEqual({});
  });
});

if (device === 'cpu') {
  it('D3: gradients are the same with one thread and with two', async () => {
    const program = fileURLToPath(new URL('subjects.ts', import.meta.url));
    const printed = async (threads: string) => {
      const env = { ...process.env, OMP_NUM_THREADS: threads };
      const options = { env, maxBuffer: 2 ** 28 };
      const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', program], options);
      return JSON.parse(stdout) as Record<string, Gradients>;
    };
    const one = await printed('1');
    const two = await printed('2');
    for (const name of Object.keys(SUBJECTS)) {
      expect(further(two[name] as Gradients, one[name] as Gradients, 1e-3), name).toEqual({});
    }
  });
}

describe('D3: a parameter in bfloat16', () => {
  it('keeps its gradient in float32', async () => {
    using parameter = Tensor.parameter([1, 2], { device, dtype: 'bfloat16' });
    using grad = Tensor.from([1 + 2 ** -12, 2 ** -20], { device });
    await parameter.setGrad(grad);
    using kept = await parameter.grad();
    expect(kept?.dtype).toBe('float32');
    expect(await kept?.data()).toEqual(Float32Array.of(1 + 2 ** -12, 2 ** -20));
  });

  it.each([true, false])('is moved by all of it, kernels %s', async (kernels) => {
    await addon().useKernels(kernels);
    using parameter = Tensor.parameter([1, 2], { device, dtype: 'bfloat16' });
    using optimizer = new AdamW([parameter], { lr: 0.1 });
    using grad = Tensor.from([1 + 2 ** -12, 2 ** -20], { device });
    await parameter.setGrad(grad);
    const { gradNorm } = await optimizer.step();
    expect(gradNorm).toBe(Math.fround(1 + 2 ** -12));
    const moments = optimizer.contents().tensors.find(({ name }) => name === '0.exp_avg');
    const average = Array.from((await moments?.tensor.data()) ?? [], Number);
    expect(relativeDistance(average, [0.1 * (1 + 2 ** -12), 0.1 * 2 ** -20])).toBeLessThan(1e-6);
  });
});
