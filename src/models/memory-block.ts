/** What the allocator gives for a tensor. */

/** The bytes a tensor takes: from 256 KiB on, rounded up to an eighth of a power of two (native/base/cpu-allocator.cc). */
export function block(bytes: number): number {
  const min = 2 ** 18;
  if (bytes < min) return bytes;
  const step = Math.max(min / 8, 2 ** (Math.ceil(Math.log2(bytes)) - 4));
  return Math.ceil(bytes / step) * step;
}
