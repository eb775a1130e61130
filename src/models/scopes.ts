/** Named sets of adapters over one trunk. */
import { ArgumentError, nearest, printable } from '../errors.ts';
import { addon, type Dtype, type LanguageModelHandle, type ScopeHandle } from '../native/addon.ts';
import { Parameter } from '../tensor/tensor.ts';
import type { ScopeSize } from './model-file.ts';

/** The size and seed of a scope's adapters. */
export interface ScopeOptions {
  /** Defaults to 8. */
  rank?: number;
  /** The output of the adapters is scaled by alpha / rank. Defaults to the rank, for a scale of 1. */
  alpha?: number;
  /** Defaults to the model's. */
  seed?: number;
}

export interface Scope extends ScopeSize {
  handle: ScopeHandle;
  parameters: readonly Parameter[];
}

/** The scopes of one model, in the order they were added. */
export class Scopes {
  readonly #all = new Map<string, Scope>();
  readonly #model: LanguageModelHandle;
  readonly #adapters: { targets: readonly string[]; dtype: Dtype };

  /** Every scope has adapters on the sites `targets` of every layer. */
  constructor(model: LanguageModelHandle, adapters: { targets: readonly string[]; dtype: Dtype }) {
    this.#model = model;
    this.#adapters = adapters;
  }

  get names(): string[] {
    return [...this.#all.keys()];
  }

  get parameters(): Parameter[] {
    return [...this.#all.values()].flatMap(({ parameters }) => parameters);
  }

  /** Adds a scope with uninitialised values. @throws ArgumentError for a name that is invalid or taken. */
  add(name: string, { rank, alpha }: ScopeSize): Scope {
    this.#checkNew(name);
    const { targets, dtype } = this.#adapters;
    const handle = addon().scopeCreate(this.#model, [...targets], rank, alpha);
    const context = { dtype, prefix: `scopes.${name}.` };
    const parameters = addon()
      .scopeParameters(handle)
      .map((parameter) => new Parameter(parameter, context));
    const scope = { handle, rank, alpha, parameters };
    this.#all.set(name, scope);
    return scope;
  }

  /** @throws ArgumentError for an unknown scope. */
  get(name: string): Scope {
    const scope = this.#all.get(name);
    if (scope !== undefined) return scope;
    const near = typeof name === 'string' ? nearest(name, this.names) : undefined;
    throw new ArgumentError({
      argument: 'scope',
      received: printable(name),
      expected: this.names.length === 0 ? 'none: this model has no scopes' : `one of ${this.names.join(', ')}`,
      ...(near === undefined ? {} : { fix: `Did you mean ${near}?` }),
    });
  }

  /** Removes a scope while `work` runs; if `work` fails, the scope is put back. */
  async removing(name: string, work: (scope: Scope) => Promise<void>): Promise<void> {
    const scope = this.get(name);
    this.#all.delete(name);
    try {
      await work(scope);
    } catch (error) {
      this.#all.set(name, scope);
      throw error;
    }
    dispose(scope);
  }

  remove(name: string): void {
    const scope = this.get(name);
    this.#all.delete(name);
    dispose(scope);
  }

  dispose(): void {
    for (const scope of this.#all.values()) dispose(scope);
  }

  #checkNew(name: string): void {
    if (typeof name !== 'string' || !/^[\w-]+$/.test(name)) {
      throw new ArgumentError({
        argument: 'scope',
        received: printable(name),
        expected: 'a name of letters, digits, _ and -',
      });
    }
    if (!this.#all.has(name)) return;
    throw new ArgumentError({
      argument: 'scope',
      received: `${printable(name)}, which already exists`,
      expected: `a name other than ${this.names.join(', ')}`,
      fix: 'Choose another name, or remove or merge that scope first.',
    });
  }
}

function dispose({ handle, parameters }: Scope): void {
  for (const parameter of parameters) parameter.dispose();
  addon().dispose(handle);
}
