/** What a scope consists of: which modules it adapts, and how. */
import { checkInteger, checkPositive } from '../checks/options.ts';
import { ArgumentError, nearest, printable } from '../errors.ts';
import type { Adaptable } from '../families/adaptable.ts';
import type { Family } from '../families/family.ts';
import type { AdapterDescription } from '../native/addon.ts';

/** What a scope consists of; see `ScopeOptions`. */
export interface ScopeSize {
  rank: number;
  alpha: number;
  /** The modules that it adapts in every layer. Defaults to those of the family. */
  targets?: readonly string[] | undefined;
  dropout?: number | undefined;
  rslora?: boolean | undefined;
  /** Instead of `targets`, where layers or modules differ: the adapters that there are, by `adapterKey`. */
  each?: Readonly<Record<string, AdapterSize>> | undefined;
}

/** Scopes in the order they were added. */
export type NamedScopes = readonly (readonly [name: string, size: ScopeSize])[];

/** The size of one adapter. */
export interface AdapterSize {
  rank: number;
  alpha: number;
}

/** What `each` calls the adapter of a matrix: `0.q_proj`. */
export function adapterKey({ layer, module }: Pick<Adaptable, 'layer' | 'module'>): string {
  return `${layer}.${module}`;
}

/** What a scope needs to know of a family. */
export type ModulesOf = Pick<Family, 'targets' | 'modules'>;

/** In `targets`, every module that the family lets a scope adapt. */
export const ALL_LINEAR = 'all-linear';

/** The size with checked values and without those that are the defaults, as files store it. @throws ArgumentError */
export function checkedSize({ rank, alpha, targets, dropout = 0, rslora = false, each }: ScopeSize): ScopeSize {
  checkAdapter({ rank, alpha });
  checkDropout(dropout);
  if (typeof rslora !== 'boolean') throw wrong('rslora', rslora, 'true or false');
  return {
    ...{ rank, alpha },
    ...(targets === undefined ? {} : { targets: checkedTargets(targets) }),
    ...(dropout === 0 ? {} : { dropout }),
    ...(rslora ? { rslora } : {}),
    ...(each === undefined ? {} : { each: checkedEach(each) }),
  };
}

function checkAdapter({ rank, alpha }: AdapterSize): void {
  checkInteger(rank, 1, 'addScope.rank');
  checkPositive(alpha, 'addScope.alpha');
}

function checkedEach(each: unknown): Record<string, AdapterSize> {
  if (each === null || typeof each !== 'object' || Array.isArray(each)) throw wrong('each', each, 'adapters by name');
  const checked = Object.entries(each).map(([key, size]) => {
    const { rank, alpha } = Object(size) as AdapterSize;
    checkAdapter({ rank, alpha });
    return [key, { rank, alpha }] as const;
  });
  return Object.fromEntries(checked);
}

function checkDropout(dropout: unknown): void {
  if (typeof dropout === 'number' && dropout >= 0 && dropout < 1) return;
  throw wrong('dropout', dropout, 'a number from 0 to less than 1');
}

function checkedTargets(targets: unknown): readonly string[] {
  const all = typeof targets === 'string' ? [targets] : targets;
  const named = Array.isArray(all) && all.length > 0 && all.every((target) => typeof target === 'string');
  if (!named) throw wrong('targets', targets, `names of modules, or "${ALL_LINEAR}"`);
  return all;
}

function wrong(option: string, received: unknown, expected: string): ArgumentError {
  return new ArgumentError({ argument: `addScope.${option}`, received: printable(received), expected });
}

/** The sites in native code of the modules `targets`, in the family's order. @throws ArgumentError for an unknown module. */
export function sitesOf({ targets: usual, modules }: ModulesOf, targets: readonly string[] = usual): string[] {
  if (targets.includes(ALL_LINEAR)) return Object.values(modules);
  const names = Object.keys(modules);
  const unknown = targets.find((target) => !names.includes(target));
  if (unknown === undefined)
    return names.filter((name) => targets.includes(name)).map((name) => modules[name] as string);
  const near = nearest(unknown, names);
  throw new ArgumentError({
    argument: 'addScope.targets',
    received: printable(unknown),
    expected: `some of ${names.join(', ')}, or ${ALL_LINEAR}`,
    ...(near === undefined ? {} : { fix: `Did you mean ${near}?` }),
  });
}

/** The adapters of a scope in a model of `depth` layers. @throws ArgumentError for modules or layers that it lacks. */
export function adaptersOf(size: ScopeSize, family: ModulesOf, depth: number): AdapterDescription[] {
  const { rank, alpha, rslora = false, each } = size;
  const scale = (one: AdapterSize) => one.alpha / (rslora ? Math.sqrt(one.rank) : one.rank);
  if (each !== undefined) {
    return Object.entries(each).map(([key, one]) => ({
      ...siteAt(key, family, depth),
      rank: one.rank,
      scale: scale(one),
    }));
  }
  const sites = sitesOf(family, size.targets);
  const common = { rank, scale: scale({ rank, alpha }) };
  return Array.from({ length: depth }, (_, layer) => sites.map((site) => ({ layer, site, ...common }))).flat();
}

function siteAt(key: string, { modules }: ModulesOf, depth: number): Pick<AdapterDescription, 'layer' | 'site'> {
  const [, number = '', module = ''] = /^(0|[1-9]\d{0,8})\.(.+)$/.exec(key) ?? [];
  const [layer, site] = [Number(number), Object.hasOwn(modules, module) ? modules[module] : undefined];
  if (number !== '' && layer < depth && site !== undefined) return { layer, site };
  throw wrong('each', key, `adapters of modules ${Object.keys(modules).join(', ')} in layers 0 to ${depth - 1}`);
}
