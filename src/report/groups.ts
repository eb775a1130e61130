/** Which metrics are shown together, and in which order. */

const GROUPS: readonly [title: string, names: RegExp][] = [
  ['Results', /^(validation\w*|score|reward|loss|accuracy|margin)$/],
  ['Distance from the reference', /^(kl|klWeight|entropy)$/],
  ['Answers', /^(responseLength|eosShare|scoreStd|zeroStdShare)$/],
  ['Size of the updates', /kl|ratio|clip|samplerGap/i],
  ['Losses', /loss|explainedVariance|value|advantage/i],
  ['Optimizer', /gradNorm|learningRate|skipped|microBatch|epochs/],
  ['Speed', /seconds|perSecond/i],
  ['Others', /^/],
];

/** `names` by the title of their group; each name is in one group, and no group is empty. */
export function grouped(names: readonly string[]): [title: string, names: string[]][] {
  const groupOf = (name: string) => GROUPS.find(([, pattern]) => pattern.test(name))?.[0];
  return GROUPS.map(([title]): [string, string[]] => [title, names.filter((name) => groupOf(name) === title)]).filter(
    ([, members]) => members.length > 0,
  );
}
