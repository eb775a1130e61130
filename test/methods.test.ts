/** What every method promises whoever opens one: a program trains as the command does, and by the optimizer that it names. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { trainingCommand } from '../src/cli/train.ts';
import { fieldSchema, parseConfig } from '../src/config/schema.ts';
import { methods } from '../src/methods.ts';
import type { Method } from '../src/methods/method.ts';
import { splitStep, type StepMetrics } from '../src/metrics/metrics.ts';
import type { Optimizer } from '../src/optim.ts';
import { capturePrinted, palm } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-methods-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

const at = (...names: string[]) => join(folder, ...names);
writeFileSync(at('text.txt'), 'Tiger, tiger, burning bright\nin the forests of the night,\n'.repeat(9));
const rows = Array.from({ length: 20 }, (_, i) => ({ prompt: `${i}?`, chosen: ' yes!'.slice(i % 2), rejected: ' no' }));
const samples = rows.map(({ prompt, chosen }, i) => ({ prompt, completion: chosen, reward: i % 3 }));
const labels = rows.map(({ prompt, chosen, rejected }, i) => {
  const label = i % 3 > 0;
  return { prompt, completion: label ? chosen : rejected, label };
});
const steps = rows.map(({ prompt }, i) => ({ prompt, completions: [' so', ' then'], labels: [true, i % 2 === 0] }));
for (const [name, all] of Object.entries({ rows, samples, labels, steps }))
  writeFileSync(at(`${name}.jsonl`), all.map((row) => JSON.stringify(row)).join('\n'));

/** What makes a run short, by setting; each run uses the models that those before it left. */
const PRETRAIN =
  '--data text.txt --steps 3 --sequenceLength 16 --batchSize 2 --model.dim 16 --model.depth 1 --model.dimHead 8';
const SETTINGS: Readonly<Record<string, string>> = {
  data: '--data rows.jsonl',
  model: '--model pretrain',
  reward: '--reward reward',
  steps: '--steps 2',
  epochs: '--epochs 1',
  batchSize: '--batchSize 4',
  rolloutBatch: '--rolloutBatch 4',
  criticWarmup: '--critic.warmup 0',
  sampling: '--sampling.maxNewTokens 4',
};
/** Settings of single methods, in place of these. */
const OWN: Partial<Record<keyof typeof methods, typeof SETTINGS>> = {
  ilql: { data: '--data samples.jsonl' },
  kto: { data: '--data labels.jsonl' },
  'implicit-prm': { data: '--data labels.jsonl' },
  'process-reward': { data: '--data steps.jsonl' },
};
const names = Object.keys(methods) as (keyof typeof methods)[];

/** The arguments of a run, with what is in the folder by its path. */
function argumentsOf(name: keyof typeof methods): string[] {
  const { properties = {} } = fieldSchema(methods[name].schema);
  const settings = Object.keys(properties).map((field) => OWN[name]?.[field] ?? SETTINGS[field]);
  const words = (name === 'pretrain' ? PRETRAIN : settings.filter(Boolean).join(' ')).split(' ');
  return words.map((word, i) => (/^--(data|model|reward)$/.test(words[i - 1] ?? '') ? at(word) : word));
}

/** The training that a program opens with the configuration of the run in `name`. */
async function opened(name: keyof typeof methods, changes: object = {}) {
  const { schema, open }: Method = methods[name];
  const config = { ...JSON.parse(readFileSync(at(name, 'config.json'), 'utf8')), ...changes };
  return await (await open(parseConfig(schema, config, name))).start();
}

describe.each(names)('%s', (name) => {
  it('gives the same steps from a program as from the command, bit for bit', async () => {
    await palm(trainingCommand(name), ...argumentsOf(name), '--out', at(name), '--device', device);
    const lines = readFileSync(at(name, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
    const { train, steps } = await opened(name);
    expect(lines).toHaveLength(steps);
    const taken: object[] = [];
    for await (const step of train()) {
      const { metrics } = splitStep({ ...step } as StepMetrics);
      taken.push({ step: step.step, ...JSON.parse(JSON.stringify(metrics)) });
    }
    expect(taken).toEqual(lines.map((line) => JSON.parse(line)));
  });

  it.each(['adamw', 'adoptAtan2', 'adamAtan2'])('trains with %s if requested', async (optimizer) => {
    const { parts, train } = await opened(name, moving(name, { optimizer }));
    const { metadata } = (parts.optimizer as Optimizer).contents();
    expect(JSON.parse(metadata.get('palm-rlhf') as string).optimizer.toLowerCase()).toBe(optimizer.toLowerCase());
    for await (const step of train()) {
      expect(step.step).toBe(1);
      break;
    }
  });
});

/** Settings of the optimizer, where the method has them: in its group `optimisation`, or beside the others. */
function moving(name: keyof typeof methods, settings: object): object {
  const { properties = {} } = fieldSchema(methods[name].schema);
  return 'optimisation' in properties ? { optimisation: settings } : settings;
}
