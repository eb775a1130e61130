/** Named sets of adapters over one trunk. */
import { ArgumentError, nearest, printable } from '../errors.ts';
import { addon, type DecoderDescription, type LanguageModelHandle, type ScopeHandle } from '../native/addon.ts';
import { Parameter } from '../tensor/tensor.ts';
import { adaptersOf, checkedSize, type ModulesOf, type NamedScopes, type ScopeSize } from './scope-size.ts';

/** The size and seed of a scope's adapters. */
export interface ScopeOptions {
  /** Defaults to 8. */
  rank?: number;
  /** The output of the adapters is scaled by alpha / rank. Defaults to the rank, for a scale of 1. */
  alpha?: number;
  /** The modules to adapt in every layer, or 'all-linear' for all but the head. Defaults to the family's usual ones. */
  targets?: readonly string[] | string;
  /** Dropout of what the adapters read, in training mode only. Defaults to 0. */
  dropout?: number;
  /** Scales by alpha / √rank instead (Kalajdzievski 2023). Defaults to false. */
  rslora?: boolean;
  /** Defaults to the model's. */
  seed?: number;
}

export interface Scope {
  size: ScopeSize;
  handle: ScopeHandle;
  parameters: readonly Parameter[];
}

/** The scopes of one model, in the order they were added. */
export class Scopes {
  readonly #all = new Map<string, Scope>();
  readonly #model: LanguageModelHandle;
  readonly #family: ModulesOf;
  readonly #decoder: Pick<DecoderDescription, 'depth' | 'dtype'>;

  constructor(model: LanguageModelHandle, family: ModulesOf, decoder: Pick<DecoderDescription, 'depth' | 'dtype'>) {
    this.#model = model;
    this.#family = family;
    this.#decoder = decoder;
  }

  get names(): string[] {
    return [...this.#all.keys()];
  }

  get parameters(): Parameter[] {
    return [...this.#all.values()].flatMap(({ parameters }) => parameters);
  }

  /** Adds scopes with uninitialised values; calls `failed` if one of them cannot be. */
  addAll(scopes: NamedScopes, failed: () => void): void {
    try {
      for (const [name, size] of scopes) this.add(name, size);
    } catch (error) {
      failed();
      throw error;
    }
  }

  /** Adds a scope of this size and fills it by `read`; if that fails, there is no scope. */
  async addFilled(name: string, size: ScopeSize, read: (parameters: readonly Parameter[]) => Promise<void>) {
    const { parameters } = this.add(name, size);
    try {
      await read(parameters);
    } catch (error) {
      this.remove(name);
      throw error;
    }
  }

  /** Adds a scope with uninitialised values. @throws ArgumentError for a name that is invalid or taken. */
  add(name: string, wanted: ScopeSize): Scope {
    this.#checkNew(name);
    const { depth, dtype } = this.#decoder;
    const size = checkedSize(wanted);
    const adapters = adaptersOf(size, this.#family, depth);
    const handle = addon().scopeCreate(this.#model, adapters, size.dropout ?? 0);
    const context = { dtype, prefix: `scopes.${name}.` };
    const parameters = addon()
      .scopeParameters(handle)
      .map((parameter) => new Parameter(parameter, context));
    const scope = { size, handle, parameters };
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
