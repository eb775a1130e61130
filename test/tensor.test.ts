/** Tensors and parameters: what goes in comes out, sizes and types are checked, and nothing is used after its end. */
import { describe, expect, it } from 'vitest';
import { ArgumentError, DisposedError, DtypeError, HandleError, ShapeError } from '../src/errors.ts';
import { AdamW } from '../src/optim.ts';
import { rowsOf } from '../src/tensor/rows.ts';
import { type Dtype, memory, Parameter, Tensor, type TensorData, tensorGroup } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

const MiB = 2 ** 20;

/** What `run` throws or rejects with. */
async function failure(run: () => unknown): Promise<Error> {
  try {
    await run();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}

describe('Tensor.from', () => {
  it.each([
    [Float32Array.of(1.5, -2, 3, 0, 5, 6), 'float32'],
    [Float64Array.of(1e300, -2, 3, 0, 5, 6), 'float64'],
    [Int32Array.of(2 ** 31 - 1, -2, 3, 0, 5, 6), 'int32'],
    [BigInt64Array.of(2n ** 60n, -2n, 3n, 0n, 5n, 6n), 'int64'],
    [Uint8Array.of(255, 2, 3, 0, 5, 6), 'uint8'],
  ] as [TensorData, Dtype][])('keeps the dtype and values of %o', async (values, dtype) => {
    using tensor = Tensor.from(values, { shape: [2, 3], device });
    expect(tensor.dtype).toBe(dtype);
    expect(tensor.shape).toEqual([2, 3]);
    expect(tensor.device.startsWith(device.split(':')[0] as string)).toBe(true);
    expect(await tensor.data()).toEqual(values);
  });

  it('gives one dimension if there is no shape', () => {
    using tensor = Tensor.from(Float32Array.of(1, 2, 3), { device });
    expect(tensor.shape).toEqual([3]);
  });

  it('takes the shape of nested arrays, as float32', async () => {
    using tensor = Tensor.from(
      [
        [
          [1, 2],
          [3, 4],
          [5, 6],
        ],
      ],
      { device },
    );
    expect(tensor.shape).toEqual([1, 3, 2]);
    expect(tensor.dtype).toBe('float32');
    expect(await tensor.data()).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
  });

  it('makes bool of booleans, and of 0 and 1 on request', async () => {
    using booleans = Tensor.from([[true, false]], { device });
    using numbers = Tensor.from([[1, 0]], { dtype: 'bool', device });
    expect(booleans.dtype).toBe('bool');
    expect(await booleans.data()).toEqual(Uint8Array.of(1, 0));
    expect(await numbers.data()).toEqual(Uint8Array.of(1, 0));
  });

  it('gives a single number no dimensions', async () => {
    using tensor = Tensor.from(7, { device });
    expect(tensor.shape).toEqual([]);
    expect(await tensor.item()).toBe(7);
  });

  it.each([
    ['bfloat16', Float32Array.of(1, 2.5)],
    ['float64', Float64Array.of(1, 2.5)],
    ['int64', BigInt64Array.of(1n, 2n)],
    ['bool', Uint8Array.of(1, 1)],
  ] as [Dtype, TensorData][])('converts to %s', async (dtype, expected) => {
    using tensor = Tensor.from(Float32Array.of(1, 2.5), { dtype, device });
    expect(tensor.dtype).toBe(dtype);
    expect(await tensor.data()).toEqual(expected);
  });

  it('keeps every digit of integers beyond 32 bits', async () => {
    using tensor = Tensor.from([2 ** 53 - 1, -(2 ** 40)], { dtype: 'int64', device });
    expect(await tensor.data()).toEqual(BigInt64Array.of(2n ** 53n - 1n, -(2n ** 40n)));
  });

  it.each([
    ['a row too short', [[1, 2], [3]], {}, ShapeError, 'tensor[1]'],
    ['a number among rows', [[1, 2], 3], {}, ShapeError, 'tensor[1]'],
    ['a row among numbers', [1, [2]], {}, ShapeError, 'tensor[1]'],
    ['a shape of another size', [1, 2, 3], { shape: [2, 2] }, ShapeError, 'tensor.shape'],
    ['a negative size', [1, 2], { shape: [-1, -2] }, ArgumentError, 'tensor.shape'],
    ['text', ['a'], {}, ArgumentError, 'tensor[0]'],
    ['a fraction as int64', [1.5], { dtype: 'int64' }, ArgumentError, 'tensor[0]'],
    ['256 as uint8', [[1], [256]], { dtype: 'uint8' }, ArgumentError, 'tensor[1][0]'],
    ['2 as bool', [2], { dtype: 'bool' }, ArgumentError, 'tensor[0]'],
    ['an array of 16 bits', new Uint16Array(2), {}, DtypeError, 'tensor'],
    ['a dtype that does not exist', [1], { dtype: 'float8' }, DtypeError, 'dtype'],
    ['an unknown option', [1], { dypte: 'float32' }, ArgumentError, 'tensor.dypte'],
  ])('refuses %s', async (_what, values, options, type, argument) => {
    const error = await failure(() => Tensor.from(values as TensorData, options as object));
    expect(error).toBeInstanceOf(type);
    expect(error).toMatchObject({ argument });
  });
});

describe('an array of more than 4 MiB', () => {
  const length = (10 * MiB) / 4 + 3;
  const large = () => Float32Array.from({ length }, (_, i) => i % 1009);

  it('arrives complete, though the call returns before all of it is copied', async () => {
    const values = large();
    using tensor = Tensor.from(values, { device });
    const data = await tensor.data();
    expect(Buffer.compare(Buffer.from(data.buffer), Buffer.from(values.buffer))).toBe(0);
  });

  it('is complete for work queued before its last piece', async () => {
    using tensor = Tensor.from(large(), { dtype: 'float64', device });
    const data = tensor.data();
    expect((await data)[length - 1]).toBe((length - 1) % 1009);
  });

  it('may be disposed of while it is copied, once its use is queued', async () => {
    const tensor = Tensor.from(large(), { device });
    const data = tensor.data();
    tensor.dispose();
    expect((await data)[length - 1]).toBe((length - 1) % 1009);
  });

  it('makes the next awaited call reject when it is transferred away meanwhile', async () => {
    const values = large();
    using tensor = Tensor.from(values, { device });
    structuredClone(values.buffer, { transfer: [values.buffer] });
    const error = await failure(() => tensor.data());
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error.message).toMatch(/while it was being copied/);
  });

  it('leaves the queue usable after a failed upload', async () => {
    using tensor = Tensor.from([1, 2], { device });
    expect(await tensor.data()).toEqual(Float32Array.of(1, 2));
  });

  it('becomes a parameter like any other', async () => {
    const values = large();
    using parameter = Tensor.parameter(values, { device });
    expect((await parameter.data())[length - 1]).toBe((length - 1) % 1009);
  });
});

describe('item', () => {
  it('reads one element of any dtype as a number', async () => {
    using wide = Tensor.from([[12]], { dtype: 'int64', device });
    expect(await wide.item()).toBe(12);
  });

  it('refuses several', async () => {
    using tensor = Tensor.from([1, 2], { device });
    expect(await failure(() => tensor.item())).toBeInstanceOf(ShapeError);
  });
});

describe('a parameter', () => {
  it('has a value and, after setGrad, a gradient, both as views', async () => {
    using parameter = Tensor.parameter([[1, 2]], { device });
    expect(parameter).toBeInstanceOf(Parameter);
    expect(parameter).toMatchObject({ name: 'parameter', shape: [1, 2], dtype: 'float32' });
    expect(await parameter.grad()).toBeNull();
    using given = Tensor.from([[3, 4]], { device });
    await parameter.setGrad(given);
    using grad = await parameter.grad();
    using value = await parameter.value();
    expect(await grad?.data()).toEqual(Float32Array.of(3, 4));
    expect(await value.data()).toEqual(Float32Array.of(1, 2));
    expect(await parameter.data()).toEqual(Float32Array.of(1, 2));
  });

  it('refuses a gradient of another shape', async () => {
    using parameter = Tensor.parameter([1, 2], { device });
    using wrong = Tensor.from([1, 2, 3], { device });
    expect(await failure(() => parameter.setGrad(wrong))).toBeInstanceOf(ShapeError);
  });

  it('is moved by an optimizer, whose zeroGrad forgets the gradient', async () => {
    using parameter = Tensor.parameter([1, 2], { device });
    using optimizer = new AdamW([parameter], { lr: 0.1, weightDecay: 0 });
    using grad = Tensor.from([1, -1], { device });
    await parameter.setGrad(grad);
    expect(await optimizer.step()).toMatchObject({
      gradNorm: expect.closeTo(Math.SQRT2, 5),
      skipped: false,
      unreached: [],
    });
    const [first, second] = await parameter.data();
    expect([first, second]).toEqual([expect.closeTo(0.9, 5), expect.closeTo(2.1, 5)]);
    optimizer.zeroGrad();
    expect(await parameter.grad()).toBeNull();
  });

  it('stays where it is when its gradient is not finite', async () => {
    using parameter = Tensor.parameter([1, 2], { device });
    using optimizer = new AdamW([parameter], { lr: 0.1 });
    using grad = Tensor.from([1, Number.NaN], { device });
    await parameter.setGrad(grad);
    expect(await optimizer.step({ maxGradNorm: 1 })).toMatchObject({
      gradNorm: Number.NaN,
      skipped: true,
      unreached: [],
      nonFinite: 'gradient of parameter',
    });
    expect(await parameter.data()).toEqual(Float32Array.of(1, 2));
  });
});

describe('after dispose', () => {
  it('a tensor throws or rejects with a DisposedError that names it', async () => {
    const tensor = Tensor.from([1], { device });
    tensor.dispose();
    tensor.dispose();
    expect(tensor.disposed).toBe(true);
    for (const use of [
      () => tensor.shape,
      () => tensor.dtype,
      () => tensor.device,
      () => tensor.data(),
      () => tensor.item(),
      () => tensor.backward(),
    ]) {
      const error = await failure(use);
      expect(error).toBeInstanceOf(DisposedError);
      expect(error.message).toMatch(/Tensor/);
    }
  });

  it('a parameter is refused by optimizers', async () => {
    const parameter = Tensor.parameter([1], { device });
    parameter.dispose();
    expect(await failure(() => new AdamW([parameter]))).toBeInstanceOf(DisposedError);
  });
});

describe('foreign objects', () => {
  it.each([undefined, null, 7, {}, new Float32Array(2)])('such as %o are refused as gradients', async (foreign) => {
    using parameter = Tensor.parameter([1, 2], { device });
    expect(await failure(() => parameter.setGrad(foreign as unknown as Tensor))).toBeInstanceOf(HandleError);
  });

  it('include a parameter instead of a tensor', async () => {
    using parameter = Tensor.parameter([1, 2], { device });
    const error = await failure(() => parameter.setGrad(parameter as unknown as Tensor));
    expect(error).toBeInstanceOf(HandleError);
  });
});

describe('a group of tensors', () => {
  it('is disposed of together, and spreading copies only the tensors', () => {
    const [a, b] = [Tensor.from([1], { device }), Tensor.from([2], { device })];
    const group = Object.assign(tensorGroup({}), { a, b });
    expect(Object.keys({ ...group })).toEqual(['a', 'b']);
    group.dispose();
    expect([a.disposed, b.disposed]).toEqual([true, true]);
  });
});

describe('rows of a batch', () => {
  it('are copied from every tensor, in the requested order', async () => {
    using ids = Tensor.from(Array.of([1, 2], [3, 4], [5, 6]), { dtype: 'int64', device });
    using values = Tensor.from([0.5, 1.5, 2.5], { device });
    using rows = await rowsOf({ ids, values }, [2, 0, 2]);
    expect(Array.from(await rows.ids.data(), Number)).toEqual([5, 6, 1, 2, 5, 6]);
    expect(Array.from(await rows.values.data(), Number)).toEqual([2.5, 0.5, 2.5]);
    expect(rows.ids.shape).toEqual([3, 2]);
  });

  it('must exist, in tensors', async () => {
    using values = Tensor.from([0.5, 1.5], { device });
    for (const row of [-1, 2]) expect(await failure(() => rowsOf({ values }, [row]))).toBeInstanceOf(ArgumentError);
    expect(await failure(() => rowsOf({ values }, 1 as never))).toBeInstanceOf(ArgumentError);
    const error = await failure(() => rowsOf({ values, other: [1, 2] as never }, [0]));
    expect(error).toMatchObject({ code: 'ERR_HANDLE', argument: 'other' });
  });
});

describe('memory', () => {
  it('counts live tensors and their bytes', async () => {
    using settled = Tensor.from([1], { device });
    await settled.data(); // nothing of the tests before is still on its way to a GPU
    const before = memory();
    const tensor = Tensor.from(new Float64Array(1000), { device });
    expect(memory().liveTensors).toBe(before.liveTensors + 1);
    expect(memory().liveBytes).toBeGreaterThanOrEqual(before.liveBytes + 8000);
    await tensor.data(); // on a GPU, what was uploaded is held until it has arrived
    tensor.dispose();
    expect(memory()).toEqual(before);
  });
});
