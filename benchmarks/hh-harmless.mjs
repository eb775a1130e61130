/**
 * What `palm ppo` does with its defaults on what people prefer: KL to the base, length and the score on fixed held-out
 * prompts, before and after. `base` and `judge` are runs of `palm pretrain` and `palm reward`; `other` is a judge that learned from
 * other pairs, and nothing learns from its scores. `harmless/halves.mjs` writes the files.
 *
 *   node benchmarks/hh-harmless.mjs --base DIR --judge DIR [--other DIR] --data FILE --held-out FILE --out DIR [--seeds 0,1,2] [--after 10] [-- flags of palm ppo]
 *
 * With `--after N` the policy is judged as it was after N iterations, under the schedule of the whole run, which is ended then.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadPrompts, loadTokenizer, PaLM, ppoConfig, RewardModel } from '../dist/index.js';

const text = { type: 'string' };
const { values, positionals } = parseArgs({
  options: {
    base: text,
    judge: text,
    other: text,
    data: text,
    'held-out': text,
    out: text,
    seeds: { ...text, default: '0,1,2' },
    after: text,
  },
  allowPositionals: true,
});
const palm = new URL('../dist/cli/main.js', import.meta.url).pathname;
const model = (run) => join(run, 'model.safetensors');
const { maxPromptLength, sampling } = ppoConfig.parse({});
const tokenizer = await loadTokenizer('byte');
const { eosToken, padToken } = tokenizer;
const { prompts } = await loadPrompts(values['held-out'], tokenizer, { maxPromptLength });
const judges = [];
for (const run of [values.judge, values.other].filter(Boolean)) judges.push(await RewardModel.load(model(run)));

/** Scores by all judges and length of two answers to every held-out prompt, drawn with the same seed from every policy. */
async function answersOf(path, scope) {
  const policy = await PaLM.load(path);
  const rows = [];
  for (let begin = 0; begin < prompts.length; begin += 20) {
    const some = prompts.slice(begin, begin + 20);
    const drawn = { maxNewTokens: sampling.maxNewTokens, samplesPerPrompt: 2, eosToken, padToken, seed: 1 + begin };
    const out = await policy.generate({ prompts: some, scope, ...drawn });
    const responses = Array.from(await out.responseMask.data());
    const width = out.sequences.shape[1];
    const lengths = some.flatMap(({ length }) => [length, length]);
    const sizes = lengths.map((_, i) => responses.slice(i * width, (i + 1) * width).filter(Boolean).length);
    const mask = lengths.map((length, i) => Array.from({ length: width }, (_, t) => t < length + sizes[i]));
    const scores = [];
    for (const judge of judges) {
      const score = await judge.score(out.sequences, { promptLengths: lengths, mask });
      scores.push(Array.from(await score.data()));
      score.dispose();
    }
    sizes.forEach((length, i) => {
      rows.push({ scores: scores.map((ofJudge) => ofJudge[i]), length });
    });
    out.dispose();
  }
  policy.dispose();
  return rows;
}

/** Runs `palm ppo` into `out`, to its end or until the checkpoint of iteration `--after` is there. @returns the policy's file */
async function trained(out, flags) {
  const { after } = values;
  const until = after === undefined ? [] : ['--checkpoint.every', after];
  const child = spawn(process.execPath, [palm, 'ppo', ...flags, ...until], { stdio: 'inherit' });
  const ended = once(child, 'exit');
  if (after === undefined) {
    const [status] = await ended;
    if (status !== 0) throw new Error(`palm ppo ended with ${status}`);
    return model(out);
  }
  const checkpoint = join(out, 'checkpoints', `step-${after.padStart(6, '0')}`, 'weights.safetensors');
  while (!existsSync(checkpoint) && child.exitCode === null) await setTimeout(500);
  child.kill('SIGINT');
  await ended;
  return checkpoint;
}

function stepsOf(out) {
  return readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

/** The standard error of a mean. */
function errorOf(numbers) {
  const middle = mean(numbers);
  return Math.sqrt(mean(numbers.map((number) => (number - middle) ** 2)) / numbers.length);
}

const before = await answersOf(model(values.base));
console.log('| seed | judge | iterations | KL, nats | score before | gained | standard error | errors | length |');
console.log('| ---- | ----- | ---------- | -------- | ------------ | ------ | -------------- | ------ | ------ |');
for (const seed of values.seeds.split(',')) {
  const out = join(values.out, `seed-${seed}`);
  const files = ['--model', values.base, '--reward', values.judge, '--data', values.data, '--out', out];
  const policy = await trained(out, [...files, '--seed', seed, ...positionals]);
  const last = stepsOf(out).findLast(({ step }) => step <= Number(values.after ?? step));
  const after = await answersOf(policy, 'actor');
  const length = mean(after.map((row) => row.length)) / mean(before.map((row) => row.length)) - 1;
  for (const which of judges.keys()) {
    const gains = after.map(({ scores }, i) => scores[which] - before[i].scores[which]);
    const [gained, error] = [mean(gains), errorOf(gains)];
    const figures = [last.kl, mean(before.map(({ scores }) => scores[which])), gained, error, gained / error];
    const shown = figures.map((figure) => figure.toFixed(3));
    const name = ['trained with', 'other half'][which];
    console.log(`| ${[seed, name, last.step, ...shown, `${(100 * length).toFixed(1)} %`].join(' | ')} |`);
  }
}
