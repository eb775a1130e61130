import { printable } from '../../errors.ts';

export type Json = Record<string, unknown>;

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * One step of a tokenizer.json: an object with a type. A missing key takes the Rust library's default; it is an error
 * if there is none, or if a value has the wrong type.
 */
export class Step {
  readonly type: string;
  private readonly json: Json;

  /** @throws Error that describes the problem, here and in every method. */
  constructor(json: unknown, type?: string) {
    if (!isObject(json)) throw new Error(`${printable(json)} instead of a step`);
    this.json = json;
    this.type = type ?? this.string('type');
  }

  /** The error for an unsupported type. */
  unknown(kind: string): Error {
    return new Error(`the ${kind} ${printable(this.type)}, which is not supported`);
  }

  /** Rejects an option that would change the tokens. */
  refuse(key: string, why: string): never {
    throw new Error(`${this.type} with ${key} = ${printable(this.json[key])}: ${why}`);
  }

  string(key: string): string {
    return this.read<string>(key, undefined, (value) => typeof value === 'string', 'a string');
  }

  nonEmpty(key: string): string {
    return this.read<string>(
      key,
      undefined,
      (value) => typeof value === 'string' && value !== '',
      'a non-empty string',
    );
  }

  /** A string, or undefined if the key is missing or null. */
  maybeString(key: string): string | undefined {
    return this.has(key) ? this.string(key) : undefined;
  }

  character(key: string): string {
    const one = (value: unknown) => typeof value === 'string' && [...value].length === 1;
    return this.read<string>(key, undefined, one, 'one character');
  }

  flag(key: string, otherwise?: boolean): boolean {
    return this.read(key, otherwise, (value) => typeof value === 'boolean', 'true or false');
  }

  count(key: string): number {
    return this.read<number>(key, undefined, (value) => Number.isInteger(value) && (value as number) >= 0, 'a count');
  }

  number(key: string): number {
    return this.read<number>(key, undefined, (value) => typeof value === 'number', 'a number');
  }

  choice<Name extends string>(key: string, names: readonly Name[], otherwise?: Name): Name {
    return this.read(key, otherwise, (value) => names.includes(value as Name), `one of ${names.join(', ')}`);
  }

  list(key: string): unknown[] {
    return this.read<unknown[]>(key, undefined, Array.isArray, 'a list');
  }

  object(key: string): Json {
    return this.read<Json>(key, undefined, isObject, 'an object');
  }

  steps(key: string): Step[] {
    return this.list(key).map((json) => new Step(json));
  }

  has(key: string): boolean {
    return this.json[key] !== undefined && this.json[key] !== null;
  }

  private read<T>(
    key: string,
    otherwise: T | undefined,
    fits: (value: unknown) => boolean,
    expected = 'another type',
  ): T {
    const value = this.json[key] === undefined ? otherwise : this.json[key];
    if (value !== undefined && fits(value)) return value as T;
    throw new Error(`${printable(value)} as ${key} of ${printable(this.json.type)} instead of ${expected}`);
  }
}
