/** How numbers are stored in files of models: how many a block holds, and in how many bytes. Native code decodes them. */

/**
 * The formats that `tensorDecode` reads. One number a block: plain floating point. Q…: whole numbers with a scale (and
 * some with a minimum) for each block of a row, from the GGUF format; native/base/number-formats.h has their layouts.
 */
export const NUMBER_FORMATS = {
  F64: { numbers: 1, bytes: 8 },
  F32: { numbers: 1, bytes: 4 },
  F16: { numbers: 1, bytes: 2 },
  BF16: { numbers: 1, bytes: 2 },
  F8_E4M3: { numbers: 1, bytes: 1 },
  Q4_0: { numbers: 32, bytes: 18 },
  Q4_1: { numbers: 32, bytes: 20 },
  Q5_0: { numbers: 32, bytes: 22 },
  Q5_1: { numbers: 32, bytes: 24 },
  Q8_0: { numbers: 32, bytes: 34 },
  Q2_K: { numbers: 256, bytes: 84 },
  Q3_K: { numbers: 256, bytes: 110 },
  Q4_K: { numbers: 256, bytes: 144 },
  Q5_K: { numbers: 256, bytes: 176 },
  Q6_K: { numbers: 256, bytes: 210 },
} as const;
/** A format of numbers in a file that native code decodes. */
export type NumberFormat = keyof typeof NUMBER_FORMATS;

/** The bytes of `count` numbers, which fill whole blocks. */
export function bytesOf(format: NumberFormat, count: number): number {
  const { numbers, bytes } = NUMBER_FORMATS[format];
  return (count / numbers) * bytes;
}
