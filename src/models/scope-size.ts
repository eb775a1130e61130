/** What a scope consists of: which modules it adapts, and how. */
import { checkInteger, checkPositive } from '../checks/options.ts';
import { ArgumentError, nearest, printable } from '../errors.ts';
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
}

/** In `targets`, every module that the family lets a scope adapt. */
export const ALL_LINEAR = 'all-linear';

/** The size with checked values and without those that are the defaults, as files store it. @throws ArgumentError */
export function checkedSize({ rank, alpha, targets, dropout = 0, rslora = false }: ScopeSize): ScopeSize {
  checkInteger(rank, 1, 'addScope.rank');
  checkPositive(alpha, 'addScope.alpha');
  checkDropout(dropout);
  if (typeof rslora !== 'boolean') throw wrong('rslora', rslora, 'true or false');
  return {
    ...{ rank, alpha },
    ...(targets === undefined ? {} : { targets: checkedTargets(targets) }),
    ...(dropout === 0 ? {} : { dropout }),
    ...(rslora ? { rslora } : {}),
  };
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
export function sitesOf(
  { targets: usual, modules }: Pick<Family, 'targets' | 'modules'>,
  targets: readonly string[] = usual,
): string[] {
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

/** The adapters of a scope: one on each of the `sites` of every layer. */
export function adaptersOf(
  { rank, alpha, rslora = false }: ScopeSize,
  sites: readonly string[],
  depth: number,
): AdapterDescription[] {
  const scale = alpha / (rslora ? Math.sqrt(rank) : rank);
  return Array.from({ length: depth }, (_, layer) => sites.map((site) => ({ layer, site, rank, scale }))).flat();
}
