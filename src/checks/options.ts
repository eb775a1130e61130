/** Checks of options that are too few for a schema. */
import { ArgumentError, nearest, printable } from '../errors.ts';

/**
 * Refuses keys that a function does not know, so that a typing error is no silent default.
 * @throws ArgumentError that names the key and the nearest known one.
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

/** @throws ArgumentError unless `value` is an object, and no array. */
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

/** Refuses options about adapters where none are made. @throws ArgumentError */
export function checkAdapterOptions(lora: number | false, options: object, model: string): void {
  for (const [name, value] of Object.entries(options)) {
    if (lora !== false || value === undefined) continue;
    const received = `${printable(value)} beside lora: false`;
    throw new ArgumentError({ argument: `${model}.${name}`, received, expected: 'none without adapters' });
  }
}
