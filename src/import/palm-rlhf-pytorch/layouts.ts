/**
 * How versions of palm-rlhf-pytorch differ in what the same file means. A layout is named after the first version that wrote it.
 * Some differ in names, the others only in the arithmetic around them, which no file tells.
 */
import { ArgumentError } from '../../errors.ts';

export interface PythonLayout {
  /** The first version. */
  version: string;
  /** Norms multiply by 1 + gamma; before, by gamma. */
  gammaPlusOne: boolean;
  /** Rotary positions decay. */
  xpos: boolean;
  /** Factor of attention scores where queries and keys are normalised, if not dimHead ** -0.5. */
  qkScale?: number;
  /** Logits are read from the final norm; before, from what goes into it. */
  normedLogits: boolean;
}

/** What the names in a file say about the version that wrote it. */
export interface LayoutSigns {
  xpos: boolean;
  qkRmsnorm: boolean;
  /** Something is there that came after the last change. */
  recent: boolean;
  /** Nothing but a reward model, which never reads logits. */
  reward: boolean;
}

const LAYOUTS: readonly PythonLayout[] = [
  { version: '0.0.18', gammaPlusOne: false, xpos: false, normedLogits: false },
  { version: '0.0.36', gammaPlusOne: false, xpos: true, normedLogits: false },
  { version: '0.0.63', gammaPlusOne: false, xpos: true, qkScale: 8, normedLogits: false },
  { version: '0.1.0', gammaPlusOne: false, xpos: true, normedLogits: false },
  { version: '0.2.1', gammaPlusOne: false, xpos: true, normedLogits: true },
  { version: '0.2.4', gammaPlusOne: true, xpos: true, normedLogits: true },
];

/** How far the mean of the norms' weights may be from 0 to count as near it. */
const NEAR = 0.25;

/**
 * The layout of a file with these signs. `asked` is the version that the user gave; `gamma` the mean of the norms' weights: near
 * 0 in the newest layout, near 1 in all others.
 * @throws ArgumentError where nothing was asked for and several are possible, and where what was asked for is not.
 */
export function findLayout(signs: LayoutSigns, asked: string | undefined, gamma: number): PythonLayout {
  const possible = LAYOUTS.filter((layout) => isPossible(layout, signs));
  const meanings = possible.map((layout) => meaning(layout, signs));
  const distinct = possible.filter((_, i) => meanings.indexOf(meanings[i] as string) === i);
  const versions = distinct.map(({ version }) => version).join(', ');
  if (asked !== undefined) {
    const layout = LAYOUTS.findLast(({ version }) => compareVersions(version, asked) <= 0);
    if (layout !== undefined && possible.includes(layout)) return layout;
    const expected = `a version of the layouts ${versions}, going by the names in the file`;
    throw new ArgumentError({ argument: '--layout', received: asked, expected });
  }
  if (distinct.length === 1) return distinct[0] as PythonLayout;
  const newest = distinct.find(({ gammaPlusOne }) => gammaPlusOne);
  if (newest !== undefined && Math.abs(gamma) < NEAR) return newest;
  throw new ArgumentError({
    argument: '--layout',
    received: 'nothing, and names that several versions write',
    expected: `the version of palm-rlhf-pytorch that wrote the file; layouts changed with ${versions}`,
    fix: `Name it with --layout. Norm weights are near 0 since 0.2.4 and were near 1 before: here, ${gamma.toFixed(2)} on average.`,
  });
}

function isPossible({ version, xpos }: PythonLayout, signs: LayoutSigns): boolean {
  if (xpos !== signs.xpos) return false;
  if (signs.recent) return version === '0.2.4';
  return !signs.qkRmsnorm || compareVersions(version, '0.0.63') >= 0;
}

/** What a layout means for a file with these signs; equal where it makes no difference. */
function meaning({ gammaPlusOne, qkScale, normedLogits }: PythonLayout, { qkRmsnorm, reward }: LayoutSigns): string {
  return [gammaPlusOne, qkRmsnorm ? qkScale : undefined, reward || normedLogits].join();
}

/** Below 0 where `a` is the older one; both are of three numbers. */
function compareVersions(a: string, b: string): number {
  const [x, y] = [a, b].map((version) => version.split('.').map(Number)) as [number[], number[]];
  return x.reduce((found, part, i) => found || part - (y[i] ?? 0), 0);
}
