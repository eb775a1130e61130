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

/** Encodes `values` as float32, float64, or bfloat16 rounded to the nearest, ties to even. */
export function encodeFloats(dtype: Exclude<FloatDtype, 'F16'>, values: Float64Array): Uint8Array {
  if (dtype === 'F64') return new Uint8Array(values.slice().buffer);
  const narrow = Float32Array.from(values);
  if (dtype === 'F32') return new Uint8Array(narrow.buffer);
  const bits = new Uint32Array(narrow.buffer);
  const halves = Uint16Array.from(bits, (word, i) =>
    Number.isNaN(narrow[i]) ? 0x7fc0 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16,
  );
  return new Uint8Array(halves.buffer);
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
