/** Pairs in folds by prompt: no prompt is in two folds. */
import { loadPreferences, loadTokenizer } from '../../dist/index.js';
import { Random } from '../../dist/internal.js';

/** The pairs of some files as texts, without duplicates and contradictions, each with the number of its prompt. */
export async function readPairs(files) {
  const bytes = await loadTokenizer('byte');
  const { pairs, groups } = await loadPreferences(files, bytes, { maxLength: 2 ** 20 });
  const textOf = (tokens) => bytes.decode(tokens.filter((token) => token !== bytes.eosToken));
  return pairs.map(({ prompt, chosen, rejected }, i) => ({
    prompt: textOf(prompt),
    chosen: textOf(chosen),
    rejected: textOf(rejected),
    group: groups[i],
  }));
}

/** The fold of each pair, from 0: prompts in an order drawn with `seed`, each to the fold with the fewest pairs. */
export function foldsOf(pairs, count, seed) {
  const sizes = new Map();
  for (const { group } of pairs) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  const folds = new Array(count).fill(0);
  const foldOf = new Map();
  for (const group of new Random(seed).shuffle([...sizes.keys()])) {
    const fold = folds.indexOf(Math.min(...folds));
    foldOf.set(group, fold);
    folds[fold] += sizes.get(group);
  }
  return pairs.map(({ group }) => foldOf.get(group));
}
