/** Sweeps: what is tried, which trials go on, that interruptions change nothing, and what is refused before anything runs. */
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { sweepCommand } from '../src/cli/sweep.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { parseConfig } from '../src/config/schema.ts';
import { type SweepConfigInput, sweepConfig } from '../src/config/sweep.ts';
import { loadTokenizer, PaLM, sweep } from '../src/index.ts';
import { sweepSchema } from '../scripts/recipe-schema.ts';
import { parametersOf } from '../src/sweep/parameters.ts';
import { meanAndSpread, promoted, ranked, rankCorrelations, ranks, type SweepTrial } from '../src/sweep/ranking.ts';
import { trialTable } from '../src/sweep/text.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-sweep-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();
const at = (...names: string[]) => join(folder, ...names);
const write = (name: string, content: string) => {
  writeFileSync(at(name), content);
  return at(name);
};
const textOf = (...names: string[]) => readFileSync(at(...names), 'utf8');
const linesOf = (...names: string[]) =>
  textOf(...names)
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

const data = write('text.txt', 'Tiger, tiger, burning bright\nin the forests of the night,\n'.repeat(9));
const base = {
  data,
  device,
  model: { dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2 },
  ...{ sequenceLength: 16, batchSize: 2, steps: 8, evaluateEvery: 4, warmupSteps: 0, checkpoint: { every: 100 } },
};
const RATES = [1e-4, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4];
const SMALL = { run: 'pretrain', base, search: 'grid', metric: 'loss', parameters: { lr: RATES } } as const;
const quiet = { say: () => {}, warn: () => {} };

const parametersIn = (given: Partial<SweepConfigInput>) =>
  parametersOf(parseConfig(sweepConfig, { run: 'dpo', metric: 'loss', ...given }, 'sweep'));

describe('parameters', () => {
  const parameters = { lr: { log: [1e-5, 1e-1] }, beta: { uniform: [-1, 3] }, batchSize: [4, 8, 16] } as const;
  const draws = (more: object) =>
    parametersIn({ trials: 200, parameters: structuredClone(parameters), ...more } as object);

  it('of a trial depend on the seed and its number alone', () => {
    const all = draws({});
    expect(draws({ trials: 7 })).toEqual(all.slice(0, 7));
    expect(draws({ seed: 1 })[0]).not.toEqual(all[0]);
    const more = draws({ parameters: { epochs: [1, 2], ...structuredClone(parameters) } });
    expect(more.map(({ epochs: _, ...others }) => others)).toEqual(all);
    expect(new Set(all.map(({ lr }) => lr)).size).toBeGreaterThan(195);
  });

  it('are spread evenly over their ranges', () => {
    const all = draws({}) as { lr: number; beta: number; batchSize: number }[];
    const share = (found: (one: (typeof all)[number]) => boolean) => all.filter(found).length / all.length;
    expect(share(({ lr }) => lr >= 1e-5 && lr <= 1e-1)).toBe(1);
    expect(share(({ beta }) => beta >= -1 && beta <= 3)).toBe(1);
    expect(Math.abs(share(({ lr }) => lr < 1e-3) - 0.5)).toBeLessThan(0.1);
    expect(Math.abs(share(({ beta }) => beta < 1) - 0.5)).toBeLessThan(0.1);
    for (const size of parameters.batchSize)
      expect(Math.abs(share(({ batchSize }) => batchSize === size) - 1 / 3)).toBeLessThan(0.1);
  });

  it('of a grid are all combinations, the last parameter changing fastest', () => {
    const found = parametersIn({ search: 'grid', parameters: { lr: [1, 2], loss: ['ipo', 'exo', 'hinge'] } });
    expect(found.map(({ lr, loss }) => `${lr} ${loss}`)).toEqual([
      ...['1 ipo', '1 exo', '1 hinge', '2 ipo', '2 exo', '2 hinge'],
    ]);
  });

  it.each([
    [{ parameters: {} }, 'sweep.parameters: got an object, expected at least one parameter'],
    [{ parameters: { lr: [1] } }, 'sweep.trials: got nothing, expected the number of trials'],
    [{ parameters: { lr: 3 }, trials: 1 }, 'sweep.parameters.lr: got 3, expected a list of values, or a range'],
    [{ parameters: { lr: { log: [0, 1] } }, trials: 1 }, 'a range with 0 < min < max'],
    [{ parameters: { lr: { uniform: [2, 1] } }, trials: 1 }, 'a range with min < max'],
    [
      { parameters: { lr: { uniform: [1, 2] } }, search: 'grid' },
      'sweep.parameters.lr: got an object, expected a list',
    ],
    [{ parameters: { lr: [1] }, search: 'grid', trials: 2 }, 'sweep.trials: got 2, expected nothing'],
    [{ parameters: { a: Array(200).fill(1), b: Array(200).fill(1) }, search: 'grid' }, 'not 40000'],
    [{ parameters: { lr: [1] }, search: 'grid', metric: 'kl' }, 'sweep.mode: got nothing, expected min or max'],
  ])('are refused: %#', (given, message) => {
    expect(() => parametersIn(given as object)).toThrow(message);
  });
});

it('has the JSON schema that `npm run options` writes', () => {
  const file = join(import.meta.dirname, '../src/recipes/sweep.schema.json');
  expect(readFileSync(file, 'utf8')).toBe(sweepSchema());
  const schema = z.fromJSONSchema(JSON.parse(sweepSchema()));
  const some = { run: 'dpo', metric: 'loss', trials: 2, parameters: { lr: { log: [1e-5, 1e-3] }, beta: [1, 2] } };
  expect(schema.safeParse(some).error).toBeUndefined();
  for (const wrong of [{ trial: 2 }, { parameters: { lr: { logarithm: [1, 2] } } }, { halving: {} }])
    expect(schema.safeParse({ ...some, ...wrong }).success).toBe(false);
});

describe('the trials of a rung', () => {
  const trial = (number: number, value: number | undefined, more: Partial<SweepTrial> = {}): SweepTrial => {
    const failed = value === undefined ? 'why' : undefined;
    const rest = { folders: [], rungs: 1, steps: 3, spread: undefined, failed, firstValue: value, parameters: {} };
    return { trial: number, value, ...rest, ...more };
  };
  const numbers = (trials: readonly SweepTrial[]) => trials.map((one) => one.trial);

  it('are ranked by value, after those that came further and before those that failed', () => {
    const all = [trial(1, 0.3), trial(2, undefined), trial(3, 0.9), trial(4, 0.1, { rungs: 2 }), trial(5, 0.3)];
    expect(numbers(ranked(all, 'max'))).toEqual([4, 3, 1, 5, 2]);
    expect(numbers(ranked(all, 'min'))).toEqual([4, 1, 5, 3, 2]);
  });

  it('go on if they are among the best third', () => {
    const all = [5, 1, 9, 3, 7, 2, 8, undefined, 6].map((value, i) => trial(i + 1, value));
    expect(numbers(promoted(all, 'max', 3))).toEqual([3, 7, 5]);
    expect(numbers(promoted(all, 'min', 3))).toEqual([2, 6, 4]);
    expect(numbers(promoted(all.slice(0, 2), 'min', 3))).toEqual([2]);
    expect(promoted([trial(1, undefined)], 'min', 3)).toEqual([]);
  });

  it('have a rank correlation of each parameter with the metric', () => {
    expect(ranks([30, 10, 20, 10])).toEqual([4, 1.5, 3, 1.5]);
    const given = [
      [1e-5, true, 'a', 1],
      [1e-3, false, 'b', 1],
      [1e-4, true, 'a', 1],
      [1e-2, false, 'b', 1],
    ];
    const all = given.map(([lr, dynamic, kind, same], i) => {
      return trial(i + 1, [1, 3, 4, 8][i], { parameters: { lr, dynamic, kind, same } });
    });
    // Spearman's 1 − 6 Σ d² / (n (n² − 1)), with two neighbours swapped
    const found = rankCorrelations([...all, trial(9, undefined, { parameters: all[0]?.parameters ?? {} })]);
    expect(found.lr).toBeCloseTo(0.8, 12);
    expect(found.dynamic).toBeCloseTo(-0.4472135955, 9);
    expect([found.kind, found.same]).toEqual([undefined, undefined]);
  });

  it('are worth the mean of their repeats', () => {
    expect(meanAndSpread([1, 2, 6])).toEqual({ value: 3, spread: Math.sqrt(7) });
    expect(meanAndSpread([4])).toEqual({ value: 4, spread: undefined });
  });

  it('are shown in few columns', () => {
    const parameters = { lr: 0.001234, 'loss.clip': 0.2, 'score.clip': 3, 'sampling.samplesPerPrompt': 8 };
    const trials = [trial(1, 0.5, { parameters, spread: 0.01 }), trial(2, undefined, { parameters })];
    const text = trialTable({ metric: 'score', trials, rankCorrelations: { ...rankCorrelations(trials), lr: 0.5 } });
    expect(text).toBe(
      [
        '     trial        lr  loss.clip  score.clip  samplesPerPrompt             score  steps',
        '         1  0.001234        0.2           3                 8  0.5000 ± 0.01000      3',
        '         2  0.001234        0.2           3                 8            failed      3',
        '',
        'rank corr.      0.50          -           -                 -',
        'trial 2 failed: why',
      ].join('\n'),
    );
  });
});

describe('a sweep with halving', () => {
  const halving = { ...SMALL, halving: { first: 2 } } as unknown as SweepConfigInput;
  const whole = sweep(halving, { out: at('whole'), ...quiet });

  it('lets the best third go on, and its survivor is a run without a stop, bit for bit', async () => {
    const { trials, best, rerun, rankCorrelations: found } = await whole;
    const lossesOf = (trial: number) => linesOf('whole', `trial-00${trial}`, 'metrics.jsonl').map(({ loss }) => loss);
    const meanAt = (trial: number, from: number, to: number) =>
      lossesOf(trial)
        .slice(from, to)
        .reduce((sum, loss) => sum + loss / (to - from), 0);
    const first = RATES.map((_, i) => ({ trial: i + 1, loss: meanAt(i + 1, 0, 2) })).sort((a, b) => a.loss - b.loss);
    const second = first.slice(0, 2).map(({ trial }) => ({ trial, loss: meanAt(trial, 2, 6) }));
    second.sort((a, b) => a.loss - b.loss);
    const survivor = second[0]?.trial as number;
    expect(trials.map(({ trial }) => trial)).toEqual([...second, ...first.slice(2)].map(({ trial }) => trial));
    expect(trials.map(({ steps, rungs }) => [steps, rungs])).toEqual([
      ...[
        [8, 3],
        [6, 2],
      ],
      ...Array(4).fill([2, 1]),
    ]);
    expect(best?.trial).toBe(survivor);
    expect(best?.value).toBeCloseTo(meanAt(survivor, 6, 8), 12);
    expect(found.lr).toBeLessThan(0);
    const [name, ...args] = rerun as [string, ...string[]];
    await palm(trainingCommand(name as 'pretrain'), ...args);
    for (const file of ['model.safetensors', 'metrics.jsonl'])
      expect(readFileSync(at('whole', 'best', file)).equals(readFileSync(join(best?.folders[0] as string, file)))).toBe(
        true,
      );
  });

  it('goes on after an interruption between trials as if there had been none', async () => {
    const before = await whole;
    const out = at('halted');
    const controller = new AbortController();
    const say = (line: string) => {
      if (line.startsWith('trial 4')) controller.abort(new Error('enough'));
    };
    await expect(sweep(halving, { out, ...quiet, say, signal: controller.signal })).rejects.toThrow('enough');
    expect(linesOf('halted', 'sweep.jsonl')).toHaveLength(1 + 3);
    appendFileSync(at('halted', 'sweep.jsonl'), '{"trial":4,"rep');
    await expect(sweep(halving, { out, ...quiet })).rejects.toThrow('already holds a sweep. Add --resume');
    const after = await sweep(halving, { out, ...quiet, resume: true });
    const inFolder = JSON.parse(JSON.stringify(after).replaceAll('/halted', '/whole'));
    expect(inFolder).toEqual(JSON.parse(JSON.stringify(before)));
    expect(textOf('halted', 'sweep.jsonl')).toBe(textOf('whole', 'sweep.jsonl'));
    await sweep(halving, { out, ...quiet, resume: true });
    expect(textOf('halted', 'sweep.jsonl')).toBe(textOf('whole', 'sweep.jsonl'));
  });

  it('writes a report of all trials and the curves of the best', async () => {
    const { report } = await whole;
    expect(report).toBe(at('whole', 'report.html'));
    const page = textOf('whole', 'report.html');
    expect(page).toContain('<title>Sweep: loss</title>');
    expect(page.match(/<th scope="row">[1-6]<\/th>/g)).toHaveLength(6);
    expect(page).toMatch(/<th scope="row">rank correlation with loss<\/th><td>-\d\.\d\d<\/td>/);
    expect(page).toContain('The best 6 compared');
  });

  it('is resumed with the settings it began with, or not at all', async () => {
    await whole;
    const resumed = (more: object) => sweep({ ...halving, ...more }, { out: at('whole'), ...quiet, resume: true });
    await expect(resumed({ base: { ...base, steps: 9 } })).rejects.toThrow('base.steps: changed from 8 to 9');
    await expect(resumed({ repeats: 2 })).rejects.toThrow('repeats: changed from 1 to 2');
    const none = sweep(halving, { out: at('none'), ...quiet, resume: true });
    await expect(none).rejects.toThrow('holds no sweep. Leave out --resume');
    expect(existsSync(at('none'))).toBe(false);
  });
});

describe('a trial', () => {
  it('that fails is noted, and not tried again', async () => {
    const failing = {
      ...SMALL,
      base: { ...base, steps: 2 },
      parameters: { minLr: [0, 1], batchSize: [2, 3] },
      repeats: 2,
    };
    const given = failing as unknown as SweepConfigInput;
    const said: string[] = [];
    const { trials, best } = await sweep(given, { out: at('failing'), ...quiet, say: (line) => said.push(line) });
    expect(trials.map(({ trial, failed }) => [trial, failed === undefined]).sort()).toEqual([
      ...[1, 2].map((trial) => [trial, true]),
      ...[3, 4].map((trial) => [trial, false]),
    ]);
    expect(trials[2]?.failed).toContain('minLr: got 1, expected at most lr');
    expect(said.filter((line) => line.startsWith('  failed: minLr'))).toHaveLength(2);
    expect(best?.folders).toEqual([1, 2].map((repeat) => at('failing', `trial-00${best?.trial}-${repeat}`)));
    const values = best?.folders.map((out) => linesOf(out.slice(folder.length + 1), 'metrics.jsonl')[1].loss) ?? [];
    expect(values[0]).not.toBe(values[1]);
    expect(best).toMatchObject(meanAndSpread(values));
    const seeds = best?.folders.map((out) => JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')).seed);
    expect(seeds).toEqual([0, 1]);
    const journal = textOf('failing', 'sweep.jsonl');
    await sweep(given, { out: at('failing'), ...quiet, resume: true });
    expect(textOf('failing', 'sweep.jsonl')).toBe(journal);
  });

  it('that is killed goes on from its checkpoint; a changed reward module stops the sweep', async () => {
    using model = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device });
    await model.save(at('base.safetensors'), { tokenizer: await loadTokenizer('byte') });
    const prompts = write('prompts.jsonl', '{"prompt": "ab"}\n{"prompt": "b"}\n');
    // Burns a line of the fuse with each call, if there is one, and ends the process with the last.
    const module = `import { existsSync, readFileSync, writeFileSync } from 'node:fs';
      const fuse = process.env.PALM_TEST_FUSE;
      export default (answers) => {
        const left = fuse && readFileSync(fuse, 'utf8').slice(1);
        if (left === '') process.kill(process.pid, 'SIGKILL');
        if (left) writeFileSync(fuse, left);
        return answers.map(({ responseTokens: r }) => r.filter((t) => t % 2).length);
      };`;
    const reward = write('reward.mjs', module);
    const settings = {
      ...{ model: at('base.safetensors'), data: prompts, reward, device, steps: 3, rolloutBatch: 2, minibatchSize: 4 },
      ...{ warmupSteps: 0, sampling: { maxNewTokens: 4 }, checkpoint: { every: 1 } },
    };
    const given = {
      run: 'grpo',
      base: settings,
      trials: 2,
      metric: 'score',
      parameters: { lr: { log: [1e-3, 1e-1] } },
    };
    const file = write('sweep.yaml', JSON.stringify(given));
    await palm(sweepCommand(), file, '--out', at('straight'), '--json', '--quiet');
    expect(printed.stderr).toBe('');
    const straight = JSON.parse(printed.stdout);
    const fuse = write('fuse', '123456'); // the third step of the second trial
    const main = join(import.meta.dirname, '../dist/cli/main.js');
    const env = { ...process.env, PALM_TEST_FUSE: fuse };
    const killed = spawnSync(process.execPath, [main, 'sweep', file, '--out', at('killed')], { env });
    expect(killed.signal).toBe('SIGKILL');
    expect(linesOf('killed', 'sweep.jsonl')).toHaveLength(1 + 1 + 1);
    expect(existsSync(at('killed', 'trial-002', 'checkpoints', 'step-000001'))).toBe(true);

    writeFileSync(reward, `${module}\n`);
    const resumed = () => palm(sweepCommand(), file, '--out', at('killed'), '--json', '--resume');
    await expect(resumed()).rejects.toThrow(
      /reward\.mjs: got sha256 \w{12}, expected sha256 \w{12}, as when the sweep/,
    );
    expect(linesOf('killed', 'sweep.jsonl')).toHaveLength(1 + 1 + 1);
    writeFileSync(reward, module);
    printed.stdout = '';
    printed.stderr = '';
    await resumed();
    expect(printed.stderr).toMatch(/^reward: \S+reward\.mjs \(sha256 \w{12}\)\ntrial 2 of 2: lr [\d.]+\n/);
    expect(printed.stderr).toMatch(/\n {2}score [\d.]+ at step 3\n$/);
    expect(JSON.parse(printed.stdout.replaceAll('/killed', '/straight'))).toEqual(straight);
    for (const name of ['model.safetensors', 'metrics.jsonl'])
      expect(textOf('killed', 'trial-002', name)).toBe(textOf('straight', 'trial-002', name));
  });
});

describe('before the first trial', () => {
  const refused = async (more: object, options: object = {}) => {
    const file = write('refused.yaml', JSON.stringify({ ...SMALL, ...more }, null, 1));
    const error = await palm(sweepCommand(), file, '--out', at('refused'), ...Object.keys(options)).catch((e) => e);
    expect(existsSync(at('refused'))).toBe(false);
    return (error as Error).message.replaceAll(`${folder}/`, '');
  };

  it('an unknown parameter is named, with its line', async () => {
    expect(await refused({ parameters: { 'los.clip': [1] } })).toMatch(
      /^refused\.yaml:\d+: sweep\.parameters\."los\.clip": got no option of pretrain, expected one/,
    );
    expect(await refused({ parameters: { learningRate: [1], lr: [1] } })).toContain('sweep.parameters.learningRate');
    expect(await refused({ parameters: { dim: [16] } })).toContain('Did you mean model.dim?');
    expect(await refused({ parameters: { out: ['a'] } })).toContain('nothing: trials are in the folder of the sweep');
    expect(await refused({ parameters: { seed: [1] }, repeats: 2 })).toContain('repeats are runs with other seeds');
    expect(await refused({ base: { ...base, out: 'a' } })).toContain('sweep.base.out');
  });

  it('a wrong setting of any trial is named with the trial', async () => {
    expect(await refused({ parameters: { lr: [0.1, 0.2, -1] } })).toMatch(/^trial 3: pretrain\.lr: got -1/);
    expect(await refused({ base: { ...base, stepz: 1 } })).toMatch(/^trial 1: pretrain\.stepz.* Did you mean steps\?$/);
    expect(await refused({ base: { ...base, data: at('none.txt') } })).toContain('none.txt: no such file');
    const run = write('run.yaml', `method: pretrain\nsteps: 0\n`);
    expect(await refused({ run, base: { data } })).toMatch(/^trial 1: run\.yaml:2: pretrain\.steps: got 0/);
  });

  it('what a trial runs is known', async () => {
    expect(await refused({ run: 'pretrian' })).toMatch(
      /refused\.yaml:2: sweep\.run: got "pretrian".*Did you mean pretrain/,
    );
    expect(await refused({ run: write('empty.yaml', 'lr: 1\n') })).toContain('empty.yaml: method: got nothing');
    expect(await refused({ run: write('none.yaml', 'method: ppp\n') })).toContain('none.yaml: method: got "ppp"');
  });

  it('a metric that the steps do not have ends the sweep in the first step', async () => {
    const file = write('metric.yaml', JSON.stringify({ ...SMALL, metric: 'los', mode: 'min' }, null, 1));
    const running = palm(sweepCommand(), file, '--out', at('metric'), '--quiet');
    await expect(running).rejects.toThrow(/metric\.yaml:\d+: sweep\.metric: got "los".*Did you mean loss\?/s);
    expect(linesOf('metric', 'sweep.jsonl')).toHaveLength(1);
  });

  it('wrong options are refused', async () => {
    await expect(sweep(SMALL as never, {} as never)).rejects.toThrow('out');
    await expect(sweep(SMALL as never, { out: 'a', jobs: 2 } as never)).rejects.toThrow('jobs');
  });
});
