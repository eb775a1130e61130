/** Floating-point numbers in files, little-endian: decoding and encoding. */

/** Element types of weights in files. */
export type FloatDtype = 'F16' | 'BF16' | 'F32' | 'F64';

const WIDTH: Readonly<Record<FloatDtype, number>> = { F16: 2, BF16: 2, F32: 4, F64: 8 };

/** Whether `dtype` is a floating-point type. */
export function isFloat(dtype: string): dtype is FloatDtype {
  return Object.hasOwn(WIDTH, dtype);
}

/** Decodes `bytes` to numbers. */
export function decodeFloats(dtype: FloatDtype, bytes: Uint8Array): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const width = WIDTH[dtype];
  const read = READ[dtype];
  return new Float64Array(bytes.length / width).map((_, i) => read(view, i * width));
}

/** Encodes `values`, rounded to the nearest, ties to even. */
export function encodeFloats(dtype: FloatDtype, values: Float64Array): Uint8Array {
  if (dtype === 'F64') return new Uint8Array(values.slice().buffer);
  if (dtype === 'F16') return new Uint8Array(Uint16Array.from(values, halfBits).buffer);
  const narrow = Float32Array.from(values);
  if (dtype === 'F32') return new Uint8Array(narrow.buffer);
  const bits = new Uint32Array(narrow.buffer);
  const halves = Uint16Array.from(bits, (word, i) =>
    Number.isNaN(narrow[i]) ? 0x7fc0 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16,
  );
  return new Uint8Array(halves.buffer);
}

/** The bits of a float16: 5 of exponent, 10 of fraction; from 65520 on it is infinite. */
function halfBits(value: number): number {
  const sign = Object.is(value, -0) || value < 0 ? 0x8000 : 0;
  if (Number.isNaN(value)) return 0x7e00;
  const size = Math.abs(value);
  if (size >= 65_520) return sign | 0x7c00;
  const exponent = Math.max(Math.floor(Math.log2(size)), -14);
  const steps = toEven(size * 2 ** (10 - exponent)); // 2^10 of them in every power of two
  const bits = steps < 1024 ? steps : ((exponent + 15) << 10) + steps - 1024;
  return sign | (size === 0 ? 0 : bits);
}

/** The nearest integer, ties to even. */
function toEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

const READ: Readonly<Record<FloatDtype, (view: DataView, at: number) => number>> = {
  F16: (view, at) => half(view.getUint16(at, true)),
  BF16: (view, at) => {
    word.setUint32(0, view.getUint16(at, true) << 16);
    return word.getFloat32(0);
  },
  F32: (view, at) => view.getFloat32(at, true),
  F64: (view, at) => view.getFloat64(at, true),
};
const word = new DataView(new ArrayBuffer(4));

function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}
