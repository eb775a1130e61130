/** Checks of option objects that are too small for a schema. */
import { ArgumentError, nearest, printable } from '../errors.ts';

/**
 * Rejects unknown keys, so that a typo does not silently become a default.
 * @throws ArgumentError naming the key and the closest known one.
 */
export function checkOptions(options: object, known: readonly string[], argument: string): void {
  checkObject(options, `${argument} options`, `an object with ${known.join(', ')}`);
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const near = nearest(key, known);
    throw new ArgumentError({
      argument: `${argument}.${key}`,
      received: 'an unknown option',
      expected: `one of ${known.join(', ')}`,
      ...(near === undefined ? {} : { fix: `Did you mean ${near}?` }),
    });
  }
}

/** @throws ArgumentError unless `value` is an object and not an array. */
export function checkObject(value: object, argument: string, expected = 'an object'): void {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return;
  throw new ArgumentError({ argument, received: printable(value), expected });
}

/** @throws ArgumentError unless `value` is an integer of at least `lowest`. */
export function checkInteger(value: number, lowest: number, argument: string): void {
  if (Number.isSafeInteger(value) && value >= lowest) return;
  throw new ArgumentError({ argument, received: printable(value), expected: `an integer >= ${lowest}` });
}

/** @throws ArgumentError unless `value` is a finite number above 0. */
export function checkPositive(value: number, argument: string): void {
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return;
  throw new ArgumentError({ argument, received: printable(value), expected: 'a finite number > 0' });
}

/** Rejects adapter options on a model without adapters. @throws ArgumentError */
export function checkAdapterOptions(lora: number | false, options: object, model: string): void {
  for (const [name, value] of Object.entries(options)) {
    if (lora !== false || value === undefined) continue;
    const received = `${printable(value)} together with lora: false`;
    throw new ArgumentError({ argument: `${model}.${name}`, received, expected: 'no adapter options' });
  }
}
