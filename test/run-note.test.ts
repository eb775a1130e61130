/** What a run tells of its data and settings when it begins, and of what has changed when it goes on. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { trainingCommand } from '../src/cli/train.ts';
import { readNote, settingsChanged } from '../src/runs/run-note.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-run-note-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();
afterEach(() => {
  vi.unstubAllEnvs();
});

const at = (...names: string[]) => join(folder, ...names);
const write = (name: string, content: string) => {
  writeFileSync(at(name), content);
  return at(name);
};
const json = (...names: string[]) => JSON.parse(readFileSync(at(...names), 'utf8'));
const warnings = () => printed.stderr.split('\n').filter((line) => line.startsWith('warning: '));

const POEM = 'Tiger, tiger, burning bright\nin the forests of the night,\n'.repeat(20);
const model = '--model.dim 16 --model.depth 1 --model.heads 2 --model.dimHead 8 --model.ffMult 2'.split(' ');
const begin = (out: string, data: string, ...args: string[]) => {
  const run = ['--steps', '2', '--sequenceLength', '16', '--batchSize', '2', '--device', device];
  return palm(trainingCommand('pretrain'), '--data', data, '--out', out, ...model, ...run, ...args);
};
const resume = async (out: string, ...args: string[]) => {
  printed.stderr = '';
  await palm(trainingCommand('pretrain'), '--resume', '--out', out, ...args);
};

describe('a resumed run', () => {
  it('warns if the content of the data has changed (resume-other-data)', async () => {
    const data = write('text.txt', POEM);
    await begin(at('run'), data);
    expect(json('run', 'run.json').inputs.data).toMatchObject({ path: data, bytes: POEM.length });
    write('copy.txt', POEM);
    await resume(at('run'), '--data', at('copy.txt'), '--steps', '3');
    expect(warnings()).toEqual([expect.stringContaining('steps: changed from 2 to 3')]);
    write('copy.txt', POEM.toUpperCase());
    await resume(at('run'), '--steps', '4');
    expect(warnings()).toEqual([
      expect.stringContaining('steps: changed from 3 to 4'),
      expect.stringContaining('data: '),
    ]);
    await resume(at('run'), '--steps', '5');
    expect(warnings()).toEqual([expect.stringContaining('steps: changed from 4 to 5')]);
  });

  it('warns of each changed setting with its old and new value', async () => {
    await begin(at('settings'), write('text.txt', POEM));
    const changes = { seed: 7, batchSize: 3, sequenceLength: 12, lr: 0.1, 'model.ffDropout': 0.1 };
    const flags = Object.entries(changes).flatMap(([name, value]) => [`--${name}`, `${value}`]);
    await resume(at('settings'), ...flags, '--steps', '3', '--checkpoint.every', '7');
    for (const [name, value] of Object.entries({ ...changes, steps: 3 })) {
      expect(warnings()).toContainEqual(expect.stringMatching(`^warning: ${name}: changed from \\S+ to ${value}$`));
    }
    expect(warnings()).toHaveLength(6);
    await resume(at('settings'), '--steps', '4');
    expect(warnings()).toHaveLength(1);
  });

  it.each([
    ['--model.dim', '48'],
    ['--model.rotaryXposScaleBase', '9'],
  ])('refuses another %s, which its weights do not fit', async (flag, value) => {
    await begin(at(flag), write('text.txt', POEM));
    const was = new RegExp(`${flag}: got ${value}, expected \\d+, as when the run started. Leave out ${flag}`);
    await expect(resume(at(flag), flag, value, '--steps', '3')).rejects.toThrow(was);
    await resume(at(flag), '--steps', '3');
  });

  it('warns of another initial model, and uses the weights of the checkpoint (resume-other-data)', async () => {
    const rows = Array.from({ length: 20 }, (_, i) => ({ prompt: `${i}?`, chosen: ' yes', rejected: ' no' }));
    const data = write('pairs.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
    for (const seed of ['1', '2']) await begin(at(`from-${seed}`), write('text.txt', POEM), '--seed', seed);
    const first = ['--data', data, '--epochs', '1', '--device', device];
    await palm(trainingCommand('reward'), '--model', at('from-1'), '--out', at('reader'), ...first);
    const draw = ['--rolloutBatch', '2', '--sampling.maxNewTokens', '2', '--device', device, '--steps', '2'];
    const inputs = ['--reward', at('reader'), '--data', data];
    await palm(trainingCommand('ppo'), '--model', at('from-1'), ...inputs, '--out', at('writer'), ...draw);
    expect(warnings()).toEqual([expect.stringContaining('critic.warmup (2) covers all 2 steps')]);
    printed.stderr = '';
    await palm(trainingCommand('ppo'), '--resume', '--out', at('writer'), '--model', at('from-2'), '--steps', '3');
    expect(warnings()).toEqual([
      expect.stringContaining('steps: changed from 2 to 3'),
      expect.stringMatching('^warning: model: '),
    ]);
    printed.stderr = '';
    await palm(trainingCommand('reward'), '--resume', '--out', at('reader'), '--model', at('from-2'));
    expect(warnings()).toEqual([expect.stringMatching('^warning: model: ')]);
  });

  it('reports that all steps are complete, and writes the model', async () => {
    await begin(at('done'), write('text.txt', POEM));
    const before = readFileSync(at('done', 'model.safetensors'));
    rmSync(at('done', 'model.safetensors'));
    for (const steps of ['2', '1']) {
      await resume(at('done'), '--steps', steps);
      expect(printed.stderr).toContain('nothing to do');
      expect(printed.stderr).not.toContain('resuming');
    }
    expect(readFileSync(at('done', 'model.safetensors'))).toEqual(before);
  });

  it('keeps its tokenizer', async () => {
    await begin(at('tokenizer'), write('text.txt', POEM), '--tokenizer', 'test/fixtures/tokenizer/byte-level');
    expect(existsSync(at('tokenizer', 'tokenizer.json'))).toBe(true);
    const config = json('tokenizer', 'config.json');
    write('tokenizer/config.json', JSON.stringify({ ...config, tokenizer: at('gone') }));
    await resume(at('tokenizer'), '--steps', '3');
    expect(warnings()).toHaveLength(1);
    const other = resume(at('tokenizer'), '--steps', '4', '--tokenizer', 'test/fixtures/tokenizer/metaspace');
    await expect(other).rejects.toMatchObject({ code: 'ERR_ARGUMENT', argument: '--tokenizer' });
  });

  it('keeps the rules of 0.1.0 if that version started it, and warns of changed paths', async () => {
    const rows = Array.from({ length: 20 }, (_, i) => ({
      prompt: `${i}? ${'why '.repeat(40)}`,
      chosen: ` yes ${'so '.repeat(100)}`,
      rejected: ` no ${'not '.repeat(i)}`,
    }));
    const data = write('rows.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
    await begin(at('base'), write('text.txt', POEM));
    const first = ['--epochs', '1', '--batchSize', '4', '--warmupSteps', '1', '--device', device];
    await palm(
      trainingCommand('reward'),
      '--model',
      at('base'),
      '--data',
      data,
      '--out',
      at('judge'),
      '--rules',
      'v1',
      ...first,
    );
    expect(json('judge', 'run.json').rows).toMatchObject({ pairs: 19, heldOut: 1, promptsCut: 20, responsesCut: 20 });
    rmSync(at('judge', 'run.json'));
    const { rules: _, ...config } = json('judge', 'config.json');
    write('judge/config.json', JSON.stringify({ ...config, data: at('gone.jsonl') }));
    printed.stderr = '';
    const again = ['--resume', '--out', at('judge'), '--data', data, '--epochs', '2'];
    await palm(trainingCommand('reward'), ...again);
    expect(warnings()).toEqual([
      expect.stringContaining('data: '),
      expect.stringContaining('epochs: changed from 1 to 2'),
    ]);
    expect(json('judge', 'config.json').rules).toBe('v1');
    expect(json('judge', 'run.json')).toMatchObject({ version: '0.1.0', inputs: { data: { path: data } } });
  });
});

describe('a new run', () => {
  it('reports and records how many rows were truncated (pref-cut-silently)', async () => {
    const rows = Array.from({ length: 20 }, (_, i) => ({
      chosen: `\n\nHuman: Tell me about ${i}. ${'And more. '.repeat(50)}\n\nAssistant: ${'Good. '.repeat(i < 5 ? 90 : 1)}`,
      rejected: `\n\nHuman: Tell me about ${i}. ${'And more. '.repeat(50)}\n\nAssistant: ${'Bad. '.repeat(i < 5 ? 90 : 1)}`,
    }));
    const data = write('long.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
    await begin(at('base-2'), write('text.txt', POEM));
    printed.stderr = '';
    const run = ['--out', at('cut'), '--epochs', '1', '--device', device];
    await palm(trainingCommand('reward'), '--model', at('base-2'), '--data', data, ...run);
    expect(printed.stderr).toContain('truncated to fit: 20 prompts, 5 responses (of 20 rows)');
    const counts = { pairs: 19, heldOut: 1, skipped: 0, promptsCut: 20, responsesCut: 5 };
    expect(json('cut', 'run.json').rows).toEqual(counts);
  });

  it('detects rows whatever the file is called, and warns of other JSON (data-by-file-name)', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ prompt: `${i}?`, chosen: ' yes', rejected: ' no' }));
    const lines = rows.map((row) => JSON.stringify(row)).join('\n');
    const counts = new Set<number>();
    for (const name of ['rows.jsonl', 'rows.ndjson', 'rows.json', 'rows.txt']) {
      await begin(at(`${name}-run`), write(name, lines));
      const { tokens, heldOut } = json(`${name}-run`, 'run.json').rows;
      counts.add(tokens + heldOut);
    }
    const learned = rows.reduce((sum, { prompt, chosen }) => sum + prompt.length + chosen.length + 1, 0);
    expect([...counts]).toEqual([learned]);
    expect(warnings()).toEqual([]);
    await begin(at('other'), write('other.txt', '{"text":"To be, or not to be"}\n'.repeat(20)));
    expect(warnings()).toEqual([expect.stringContaining('other.txt')]);
    const refused = begin(at('no'), write('other.ndjson', '{"text":"To be"}\n'));
    await expect(refused).rejects.toMatchObject({ code: 'ERR_FILE', argument: at('other.ndjson') });
  });

  it('expands ~/ to the home folder in files and flags (tilde-in-config)', async () => {
    vi.stubEnv('HOME', folder);
    write('text.txt', POEM);
    const config = write('c.yaml', `data: ~/text.txt\nout: ~/from-yaml\n`);
    await palm(
      trainingCommand('pretrain'),
      '--config',
      '~/c.yaml',
      ...model,
      '--steps',
      '1',
      '--device',
      device,
      '--batchSize',
      '2',
    );
    expect(existsSync(at('from-yaml', 'model.safetensors'))).toBe(true);
    await begin('~/from-flag', '~/text.txt');
    await resume('~/from-flag', '--steps', '3', '--config', config, '--out', '~/from-flag');
    expect(json('from-flag', 'config.json')).toMatchObject({ out: at('from-flag'), data: at('text.txt'), steps: 3 });
    expect(existsSync('~')).toBe(false);
  });

  it('creates its folder before the model, so that an unwritable path fails early', async () => {
    const out = begin('/proc/xx', write('text.txt', POEM));
    await expect(out).rejects.toMatchObject({ code: 'ERR_FILE', argument: expect.stringContaining('/proc/xx') });
    expect(printed.stderr).toBe('');
  });
});

describe('run.json', () => {
  it('is read, may be missing, and is rejected if damaged', () => {
    expect(readNote(at('none.json'))).toBeUndefined();
    const note = { version: '0.1.0', tokenizer: 'byte', inputs: {} };
    expect(readNote(write('note.json', JSON.stringify(note)))).toEqual(note);
    for (const damaged of ['', '{', '[]', '{"version":1}']) {
      expect(() => readNote(write('note.json', damaged))).toThrow(expect.objectContaining({ code: 'ERR_FILE' }));
    }
  });

  it('compares settings by key, whatever their order and nesting', () => {
    const then = { lr: 1, model: { dim: 8, depth: 2 }, betas: [0.9, 0.99], kept: true };
    expect(settingsChanged(then, { kept: true, betas: [0.9, 0.99], model: { depth: 2, dim: 8 }, lr: 1 }, [])).toEqual(
      [],
    );
    const now = { lr: 2, model: { dim: 9, depth: 2 }, betas: [0.9, 0.9], lora: false, out: 'x' };
    const changed = settingsChanged(then, now, ['out']).map((text) => text.split(':')[0]);
    expect(changed).toEqual(['lr', 'model.dim', 'betas', 'kept', 'lora']);
  });
});
