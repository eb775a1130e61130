/** Folders as runs write them, without training anything. */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Text that must never be more than text. */
export const HOSTILE = `<script>document.title='owned'</script><img src=x onerror="document.title='owned'">'"&\u001b[2J\u202egnp`;

const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

/** Metrics, times and samples of the steps after `from`, up to `to`, appended to the files of a run. */
export function appendSteps(
  path: string,
  from: number,
  to: number,
  { response = 'burning bright', kl = 0.1 } = {},
): void {
  const steps = Array.from({ length: to - from }, (_, i) => from + i + 1);
  const metrics = steps.map((step) => ({
    ...{ step, score: Math.sin(step / 9) + step / 20, reward: step / 30, kl: kl * step, approxKl: 0.001 * (step % 7) },
    ...{ gradNorm: step === 7 ? null : 1 + (step % 3), epochs: 4, best: step === 10 ? 1 : undefined },
  }));
  appendFileSync(join(path, 'metrics.jsonl'), lines(metrics));
  appendFileSync(
    join(path, 'timing.jsonl'),
    lines(steps.map((step) => ({ step, seconds: 2, tokensPerSecond: 1000 + step }))),
  );
  const sampled = steps.filter((step) => step % 5 === 0);
  const samples = sampled.flatMap((step) =>
    ['Tiger, tiger', HOSTILE].map((prompt) => sampleOf(step, prompt, response)),
  );
  appendFileSync(join(path, 'samples.jsonl'), lines(samples));
}

function sampleOf(step: number, prompt: string, response: string) {
  const tokens = [...response].map((text, i) => ({
    ...{ id: text.codePointAt(0), text, logRatio: Math.sin(i), reward: i / 10, advantage: 1 - i / 5 },
  }));
  return { step, prompt, response: `${response} ${step}`, score: step / 10, kl: step / 100, tokens };
}

/** A run folder that has done so many steps of forty. */
export function runFolder(path: string, steps: number, options: { response?: string; kl?: number } = {}): string {
  mkdirSync(join(path, 'checkpoints', 'step-000020'), { recursive: true });
  mkdirSync(join(path, 'checkpoints', 'step-000030.tmp-1'));
  writeFileSync(join(path, 'config.json'), JSON.stringify({ lr: 0.1, evaluation: { keepBest: 'score' } }));
  writeFileSync(join(path, 'run.json'), JSON.stringify({ version: '0.2.0', tokenizer: 'byte', inputs: {}, steps: 40 }));
  for (const file of ['metrics.jsonl', 'timing.jsonl', 'samples.jsonl']) writeFileSync(join(path, file), '');
  appendSteps(path, 0, steps, options);
  return path;
}
