/** Whole runs from a program. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type MetricsSink, runMethod, type RunOptions, type StepMetrics } from '../src/index.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-training-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

const data = join(folder, 'text.txt');
writeFileSync(data, 'Tiger, tiger, burning bright\nin the forests of the night,\n'.repeat(9));
const SMALL = { data, sequenceLength: 16, batchSize: 2, steps: 4, evaluateEvery: 2, device };
const MODEL = { dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2 };
const settings = (out: string, more: object = {}) => ({ ...SMALL, model: MODEL, out: join(folder, out), ...more });

/** A sink that keeps what it gets. */
class Kept implements MetricsSink {
  readonly rows: StepMetrics[] = [];
  closed = 0;

  write(row: StepMetrics): void {
    this.rows.push(row);
  }

  async close(): Promise<void> {
    this.closed++;
  }
}

const textOf = (out: string, file: string) => readFileSync(join(folder, out, file), 'utf8');

describe('runMethod', () => {
  it('leaves the run that the command leaves', async () => {
    const sink = new Kept();
    const result = await runMethod('pretrain', settings('program'), { sinks: [sink] });
    const model = Object.entries(MODEL).flatMap(([name, value]) => [`--model.${name}`, String(value)]);
    const others = Object.entries(SMALL).flatMap(([name, value]) => [`--${name}`, String(value)]);
    await palm(trainingCommand('pretrain'), ...model, ...others, '--out', join(folder, 'command'));
    for (const file of ['metrics.jsonl', 'samples.jsonl', 'model.safetensors'])
      expect(textOf('program', file)).toBe(textOf('command', file));
    expect(sink.rows.map(({ step, samples }) => [step, samples?.length])).toEqual([
      ...[
        [1, undefined],
        [2, 2],
        [3, undefined],
        [4, 2],
      ],
    ]);
    expect(sink.closed).toBe(1);
    const last = sink.rows.at(-1) as StepMetrics;
    expect(result).toMatchObject({ model: join(folder, 'program', 'model.safetensors'), steps: 4 });
    expect(result.metrics).toMatchObject({ loss: last.loss, validationLoss: last.validationLoss });
  });

  it('stops when its signal is aborted, and resumes as if it had not', async () => {
    const controller = new AbortController();
    const stop = new Kept();
    stop.write = ({ step }) => {
      if (step === 2) controller.abort(new Error('enough'));
    };
    const options: RunOptions = { sinks: [stop], signal: controller.signal, say: () => {} };
    await expect(runMethod('pretrain', settings('stopped'), options)).rejects.toThrow('enough');
    expect(existsSync(join(folder, 'stopped', 'model.safetensors'))).toBe(false);
    await expect(runMethod('pretrain', settings('stopped'))).rejects.toThrow('already holds a run');
    await runMethod('pretrain', settings('stopped'), { resume: true });
    for (const file of ['metrics.jsonl', 'samples.jsonl', 'model.safetensors'])
      expect(textOf('stopped', file)).toBe(textOf('program', file));
    expect(printed.stderr).toMatch(/resuming from step 2\nstep\/4/);
  });

  it('says if the run ends before the warm-up', async () => {
    const said: string[] = [];
    const options = { sinks: [], say: (line: string) => void said.push(line) };
    await runMethod('pretrain', settings('cold', { warmupSteps: 10 }), options);
    expect(said).toContain(
      'note: the warm-up of 10 steps is longer than the run of 4, which ends at 40 % of lr: use more steps or fewer warmupSteps',
    );
    said.length = 0;
    await runMethod('pretrain', settings('warm', { warmupSteps: 3 }), options);
    expect(said.join()).not.toContain('note');
  });

  it('refuses what is no method, setting or option', async () => {
    await expect(runMethod('sgd' as never, {} as never)).rejects.toThrow('name: got "sgd", expected one of pretrain');
    await expect(runMethod('pretrain', settings('none', { stepz: 1 }))).rejects.toThrow('Did you mean steps?');
    const wrong = { sinc: [] } as RunOptions;
    await expect(runMethod('pretrain', settings('none'), wrong)).rejects.toThrow('sinc');
    expect(existsSync(join(folder, 'none'))).toBe(false);
  });
});
