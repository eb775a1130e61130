/**
 * How well reward models that learn everything from a few hundred kilobytes of hh-harmless tell which response people
 * prefer: cross-validation over all pairs, folds by prompt, nested. The setting for a fold is found on
 * its two neighbours, by judges that saw neither it nor the fold they are chosen on; and tokenizer, language model and reward model
 * learn from the training pairs alone.
 *
 *   node benchmarks/harmless-folds.mjs --data FILE [--data FILE] --work DIR [--seed 0] [--out FILE.md]
 *
 * With `--model PLACE`, a Hugging Face folder or a GGUF file, judges are made of this model instead, on the same folds: all of them, or
 * those of `--fold`, and each as far as `--steps`. What DIR has of judges from scratch is compared with them.
 *
 * DIR keeps what was found, so a command that was interrupted continues.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bestOf, differenceOf, figuresOf, together } from './harmless/figures.mjs';
import { finetunedGaps, RECIPE as FINETUNED } from './harmless/finetuned.mjs';
import { gapsOf, judgeOf, pretrained, RECIPE, SETTINGS, tokensOf } from './harmless/judges.mjs';
import { NGRAMS, ngramGaps } from './harmless/ngrams.mjs';
import { foldsOf, readPairs } from './harmless/pairs.mjs';

const FOLDS = [0, 1, 2, 3, 4];
const next = (fold) => (fold + 1) % FOLDS.length;
const both = (a, b) => [Math.min(a, b), Math.max(a, b)];
const ALL = 'mean of these judges';
const { values } = parseArgs({
  options: {
    data: { type: 'string', multiple: true },
    work: { type: 'string' },
    seed: { type: 'string', default: '0' },
    out: { type: 'string' },
    model: { type: 'string' },
    fold: { type: 'string', multiple: true },
    steps: { type: 'string' },
  },
});
const seed = Number(values.seed);
const pairs = await readPairs(values.data);
const folds = foldsOf(pairs, FOLDS.length, seed);
const inFolds = (some) => pairs.filter((_, i) => some.includes(folds[i]));

/** The gaps of every setting on each of the folds `left`, by what the others teach. */
async function measured(left) {
  const file = join(values.work, `without-${left.join('-')}.json`);
  const found = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  const train = inFolds(FOLDS.filter((fold) => !left.includes(fold)));
  for (const [name, setting] of Object.entries(NGRAMS)) {
    found[name] ??= left.map((fold) => ngramGaps(train, inFolds([fold]), setting));
  }
  const missing = Object.entries(SETTINGS).filter(([name]) => found[name] === undefined);
  if (missing.length > 0) {
    const folder = join(values.work, `without-${left.join('-')}`);
    const base = await pretrained(train, folder, seed);
    const [learned, ...held] = await tokenised([train, ...left.map((fold) => inFolds([fold]))], base, folder);
    for (const [name, options] of missing) {
      const judge = await judgeOf(base, learned, { ...options, seed });
      found[name] = [];
      for (const some of held) found[name].push(await gapsOf(judge, some));
      judge.dispose();
      writeFileSync(file, JSON.stringify(found));
    }
    base.model.dispose();
  }
  writeFileSync(file, JSON.stringify(found));
  const judges = Object.keys(SETTINGS).map((name) => found[name]);
  return { ...found, [ALL]: left.map((_, i) => together(judges.map((gaps) => gaps[i]))) };
}

async function tokenised(lists, base, folder) {
  const tokens = [];
  for (const list of lists) tokens.push(await tokensOf(list, base, folder));
  return tokens;
}

/** The gaps of the fold `inner` by what is learned without it and without the fold `outer`. */
function innerGaps(name, outer, inner) {
  const left = both(outer, inner);
  return results.get(left.join())[name][left.indexOf(inner)];
}

const results = new Map();
const HEADER = ['| judge | accuracy ± standard error | loss | ECE |', '| --- | --- | --- | --- |'];

/** The gaps on all folds, each by the setting that is best on its two neighbours; and those settings. */
function chosenGaps(names) {
  const chosen = FOLDS.map((outer) => {
    const neighbours = [next(outer), FOLDS.find((fold) => next(fold) === outer)];
    const listsOf = (name) => neighbours.map((inner) => innerGaps(name, outer, inner));
    return bestOf(Object.fromEntries(names.map((name) => [name, listsOf(name)])));
  });
  return { chosen, gaps: FOLDS.flatMap((fold) => results.get(`${fold}`)[chosen[fold]][0]) };
}

function rowOf(name, gaps, held = FOLDS.flatMap((fold) => inFolds([fold]))) {
  const { accuracy, error, loss, ece } = figuresOf(gaps, held);
  return `| ${name} | ${accuracy.toFixed(3)} ± ${error.toFixed(3)} | ${loss.toFixed(3)} | ${ece.toFixed(3)} |`;
}

/** What is learned from scratch: rows of the table, and the settings that were chosen. */
async function fromScratch() {
  for (const left of FOLDS.flatMap((fold) => [[fold], both(fold, next(fold))])) {
    results.set(left.join(), await measured(left));
    console.error(`${new Date().toISOString()} without ${left.join(' and ')}`);
  }
  const lines = [...HEADER];
  const notes = [];
  for (const names of [Object.keys(NGRAMS), [...Object.keys(SETTINGS), ALL]]) {
    for (const name of names) {
      const gaps = FOLDS.flatMap((fold) => results.get(`${fold}`)[name][0]);
      lines.push(rowOf(name, gaps));
    }
    const { chosen, gaps } = chosenGaps(names);
    const what = names.includes(ALL) ? 'reward model' : 'n-grams';
    lines.push(rowOf(`**${what}, nested**`, gaps));
    notes.push(`- ${what}: ${FOLDS.map((fold) => `fold ${fold}: ${chosen[fold]}`).join('; ')}`);
  }
  return [`${RECIPE}.`, '', ...lines, '', 'Chosen by the loss on neighbouring folds:', '', ...notes];
}

/** What is made of the model at `place`: its learning curve, and how much better it is than a judge from scratch on the same pairs. */
async function finetuned(place) {
  const wanted = values.fold?.map(Number) ?? FOLDS;
  const steps = values.steps === undefined ? undefined : Number(values.steps);
  const found = await finetunedGaps(place, pairs, folds, { wanted, work: values.work, seed, steps });
  const held = wanted.flatMap((fold) => inFolds([fold]));
  const gapsAt = (look) => wanted.flatMap((fold) => found.get(fold).at(look).gaps);
  const looks = found.get(wanted[0]).map(({ pairs: count }, look) => rowOf(`after ${count} pairs`, gapsAt(look), held));
  return [
    `Folds ${wanted.join(', ')}. ${FINETUNED}${steps === undefined ? '' : `, ${steps} steps of each fold`}.`,
    '',
    ...HEADER,
    ...looks,
    '',
    ...comparisons(wanted, gapsAt(-1), held),
  ];
}

/** The difference to each judge from scratch that DIR has of all `wanted` folds. */
function comparisons(wanted, gaps, held) {
  const files = wanted.map((fold) => join(values.work, `without-${fold}.json`));
  if (!files.every(existsSync)) return ['The folder of the work has no judges from scratch to compare with.'];
  const scratch = files.map((file) => JSON.parse(readFileSync(file, 'utf8')));
  return Object.keys(scratch[0]).map((name) => {
    const others = scratch.flatMap((one) => one[name][0]);
    const { mean, error } = differenceOf(gaps, others, held);
    return `- better than "${name}" by ${mean.toFixed(3)} ± ${error.toFixed(3)}`;
  });
}

mkdirSync(values.work, { recursive: true });
const body = values.model === undefined ? await fromScratch() : await finetuned(values.model);
const about = `${pairs.length} pairs, ${FOLDS.length} folds by prompt, seed ${seed}; ${new Date().toISOString().slice(0, 10)}, ${cpus()[0].model}.`;
const table = ['# Judges of hh-harmless, cross-validated', '', about, ...body, ''].join('\n');
console.log(table);
if (values.out !== undefined) writeFileSync(values.out, table);
