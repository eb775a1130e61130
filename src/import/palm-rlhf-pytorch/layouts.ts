/**
 * Layouts: how the meaning of a file depends on the version of palm-rlhf-pytorch that wrote it. A layout is named after
 * the first version that used it. Some layouts differ in tensor names; others only in arithmetic, which no file
 * records.
 */
import { ArgumentError } from '../../errors.ts';

export interface PythonLayout {
  /** The first version with this layout. */
  version: string;
  /** Norms multiply by 1 + gamma; older ones by gamma. */
  gammaPlusOne: boolean;
  /** Whether rotary positions use xpos decay. */
  xpos: boolean;
  /** The scale of attention scores when queries and keys are normalised, if not dimHead ** -0.5. */
  qkScale?: number;
  /** Logits are computed after the final norm; in older layouts, before it. */
  normedLogits: boolean;
}

/** What the tensor names in a file reveal about the version that wrote it. */
export interface LayoutSigns {
  xpos: boolean;
  qkRmsnorm: boolean;
  /** Contains something introduced after the last layout change. */
  recent: boolean;
  /** Contains only a reward model, which computes no logits. */
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

/** How far the mean norm weight may be from 0 to count as near it. */
const NEAR = 0.25;

/**
 * Finds the layout of a file with these signs. `asked` is the version that the user requested; `gamma` is the mean norm
 * weight, which is near 0 in the newest layout and near 1 in all others.
 * @throws ArgumentError if none was requested and several are possible.
 * @throws ArgumentError if the requested one is impossible.
 */
export function findLayout(signs: LayoutSigns, asked: string | undefined, gamma: number): PythonLayout {
  const possible = LAYOUTS.filter((layout) => isPossible(layout, signs));
  const meanings = possible.map((layout) => meaning(layout, signs));
  const distinct = possible.filter((_, i) => meanings.indexOf(meanings[i] as string) === i);
  const versions = distinct.map(({ version }) => version).join(', ');
  if (asked !== undefined) {
    const layout = LAYOUTS.findLast(({ version }) => compareVersions(version, asked) <= 0);
    if (layout !== undefined && possible.includes(layout)) return layout;
    const expected = `one of ${versions}, judging by the tensor names in the file`;
    throw new ArgumentError({ argument: '--layout', received: asked, expected });
  }
  if (distinct.length === 1) return distinct[0] as PythonLayout;
  const newest = distinct.find(({ gammaPlusOne }) => gammaPlusOne);
  if (newest !== undefined && Math.abs(gamma) < NEAR) return newest;
  throw new ArgumentError({
    argument: '--layout',
    problem: 'required, as several versions use the tensor names in this file',
    expected: `the version of palm-rlhf-pytorch that wrote the file; layouts changed in ${versions}`,
    fix: `Pass the version to --layout. Norm weights are near 0 since 0.2.4 and were near 1 before: here, ${gamma.toFixed(2)} on average. Layouts changed in ${versions}.`,
  });
}

function isPossible({ version, xpos }: PythonLayout, signs: LayoutSigns): boolean {
  if (xpos !== signs.xpos) return false;
  if (signs.recent) return version === '0.2.4';
  return !signs.qkRmsnorm || compareVersions(version, '0.0.63') >= 0;
}

/** The effective meaning of a layout for a file with these signs; equal for layouts whose differences do not matter. */
function meaning({ gammaPlusOne, qkScale, normedLogits }: PythonLayout, { qkRmsnorm, reward }: LayoutSigns): string {
  return [gammaPlusOne, qkRmsnorm ? qkScale : undefined, reward || normedLogits].join();
}

/** Negative if `a` is older; both are three-part versions. */
function compareVersions(a: string, b: string): number {
  const [x, y] = [a, b].map((version) => version.split('.').map(Number)) as [number[], number[]];
  return x.reduce((found, part, i) => found || part - (y[i] ?? 0), 0);
}
