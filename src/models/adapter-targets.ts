/** Which matrices an adapter_config.json means, with the rank and alpha of each: the rules of PEFT, and back. */
import { ConfigError, nearest, printable } from '../errors.ts';
import type { Adaptable } from '../families/adaptable.ts';
import type { AdapterConfig } from './adapter-config.ts';
import { namePattern, PatternError, PatternWork } from './name-pattern.ts';
import { adapterKey, ALL_LINEAR, type AdapterSize, type ScopeSize } from './scope-size.ts';

/** A matrix with its adapter. */
export interface Adapted extends AdapterSize {
  matrix: Adaptable;
}

/**
 * The matrices of `all` that `config`, read from `path`, adapts; without targets, those named in `usual`.
 * @throws ConfigError for targets that no adapter can be put on, and for patterns that are wrong.
 */
export function adaptedBy(
  config: AdapterConfig,
  all: readonly Adaptable[],
  usual: readonly string[],
  path: string,
): Adapted[] {
  try {
    const rules = new TargetRules(config, usual);
    const adapted = all.filter(({ path, layer }) => rules.adapts(path, layer));
    const stray = rules.targets.find((target) => !all.some((matrix) => isNamed(matrix.path, target)));
    if (stray !== undefined) throw unknownTarget(path, stray, all);
    if (adapted.length === 0) throw noTarget(path, config);
    return adapted.map((matrix) => ({ matrix, ...rules.sizeOf(matrix.path) }));
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    const problem = `this adapter has ${error.message} in a regular expression, which palm-rlhf does not support`;
    throw new ConfigError({ argument: path, problem, fix: 'Write the full names of the modules instead.' });
  }
}

class TargetRules {
  /** The targets by name; empty for a pattern. */
  readonly targets: readonly string[];
  readonly #config: AdapterConfig;
  readonly #chosen: (name: string) => boolean;
  readonly #excluded: (name: string) => boolean;
  readonly #inLayers: (name: string, layer: number) => boolean;
  readonly #ranks: readonly Override[];
  readonly #alphas: readonly Override[];

  constructor(config: AdapterConfig, usual: readonly string[]) {
    const work = new PatternWork();
    const { exclude_modules: excluded, layers_to_transform: layers, layers_pattern: within } = config;
    const wanted = config.target_modules ?? usual;
    this.#config = config;
    this.targets = typeof wanted === 'string' ? [] : wanted;
    this.#chosen = wanted === ALL_LINEAR ? () => true : matching(wanted, work);
    this.#excluded = excluded === undefined || excluded === null ? () => false : matching(excluded, work);
    const numbers = new Set([layers ?? []].flat());
    const folders = [within ?? []].flat().map((one) => namePattern(`(.*\\.)?(${one})\\.\\d+\\..*`, work));
    this.#inLayers = (name, layer) =>
      numbers.size === 0 || (numbers.has(layer) && (folders.length === 0 || folders.some((fits) => fits(name))));
    this.#ranks = overrides(config.rank_pattern, work);
    this.#alphas = overrides(config.alpha_pattern, work);
  }

  /** Layers say nothing where the targets are a pattern, or the full name of a matrix. */
  adapts(name: string, layer: number): boolean {
    if (!this.#chosen(name) || this.#excluded(name)) return false;
    const anyLayer = typeof this.#config.target_modules === 'string' || this.targets.includes(name);
    return anyLayer || this.#inLayers(name, layer);
  }

  sizeOf(name: string): AdapterSize {
    const found = (all: readonly Override[], usual: number) => all.find(({ fits }) => fits(name))?.value ?? usual;
    return { rank: found(this.#ranks, this.#config.r), alpha: found(this.#alphas, this.#config.lora_alpha) };
  }
}

interface Override {
  fits: (name: string) => boolean;
  value: number;
}

function overrides(given: Readonly<Record<string, number>> | null | undefined, work: PatternWork): Override[] {
  return Object.entries(given ?? {}).map(([key, value]) => {
    const plain = /^[\w.]+$/.test(key) ? (name: string) => isNamed(name, key) : undefined;
    return { fits: plain ?? namePattern(`(.*\\.)?(${key})`, work), value };
  });
}

function matching(wanted: string | readonly string[], work: PatternWork): (name: string) => boolean {
  if (typeof wanted === 'string') return namePattern(wanted, work);
  return (name) => wanted.some((target) => isNamed(name, target));
}

/** Whether `target` is the name or its last parts. */
function isNamed(name: string, target: string): boolean {
  return name === target || name.endsWith(`.${target}`);
}

function noTarget(argument: string, { target_modules: targets }: AdapterConfig): ConfigError {
  const problem = `this adapter says \`target_modules\` ${printable(targets)}, which with its other keys is no module at all`;
  return new ConfigError({ argument, problem });
}

function unknownTarget(argument: string, target: unknown, all: readonly Adaptable[]): ConfigError {
  const known = [...new Set(all.map(({ module }) => module))];
  const near = typeof target === 'string' ? nearest(target, known) : undefined;
  const said = `this adapter says \`target_modules\` ${printable(target)}`;
  return new ConfigError({
    argument,
    problem: `${said}, which is not among the modules that palm-rlhf can adapt in this model: ${known.join(', ')}`,
    ...(near === undefined ? {} : { fix: `Did you mean ${near}?` }),
  });
}

/** The scope of these adapters, by targets where those say all. */
export function scopeOf(adapted: readonly Adapted[], all: readonly Adaptable[], config: AdapterConfig): ScopeSize {
  const { r: rank, lora_alpha: alpha, lora_dropout: dropout, use_rslora: rslora } = config;
  const common = { rank, alpha, dropout: dropout ?? 0, rslora: rslora ?? false };
  const targets = [...new Set(adapted.map(({ matrix }) => matrix.module))];
  const everywhere = all.filter(({ module }) => targets.includes(module)).length === adapted.length;
  if (everywhere && adapted.every((one) => one.rank === rank && one.alpha === alpha)) return { ...common, targets };
  const each = adapted.map(({ matrix, rank, alpha }) => [adapterKey(matrix), { rank, alpha }] as const);
  return { ...common, each: Object.fromEntries(each) };
}

/** The adapters of a scope, by matrix. */
export function adaptedIn(size: ScopeSize, all: readonly Adaptable[], usual: readonly string[]): Adapted[] {
  const { rank, alpha, each, targets = usual } = size;
  const found = (matrix: Adaptable): AdapterSize | undefined => {
    if (each !== undefined) return Object.hasOwn(each, adapterKey(matrix)) ? each[adapterKey(matrix)] : undefined;
    return targets.includes(ALL_LINEAR) || targets.includes(matrix.module) ? { rank, alpha } : undefined;
  };
  return all.flatMap((matrix) => {
    const own = found(matrix);
    return own === undefined ? [] : [{ matrix, ...own }];
  });
}

/** What adapter_config.json says of these adapters: short names, or full ones where layers differ. */
export function targetsOf({ rank, alpha, each }: ScopeSize, adapted: readonly Adapted[]) {
  const differing = (size: keyof AdapterSize, usual: number) =>
    Object.fromEntries(adapted.filter((one) => one[size] !== usual).map((one) => [one.matrix.path, one[size]]));
  const name = ({ matrix }: Adapted) => (each === undefined ? matrix.module : matrix.path);
  return {
    target_modules: [...new Set(adapted.map(name))].sort(),
    rank_pattern: differing('rank', rank),
    alpha_pattern: differing('alpha', alpha),
  };
}
