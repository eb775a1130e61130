/** `palm data inspect` and `convert`, and the commands that train on their rows. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { dataCommand } from '../src/cli/data.ts';
import { inspectionText } from '../src/cli/data-text.ts';
import { grpoConfig } from '../src/config/grpo.ts';
import { parseConfig } from '../src/config/schema.ts';
import { inspectData } from '../src/data/inspect.ts';
import { loadPrompts } from '../src/data/prompts.ts';
import { methods } from '../src/methods.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy } from '../src/models/policy.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { ByteTokenizer } from '../src/tokenizer/byte.ts';
import type { Answer } from '../src/trainers/rollouts.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { TREE } from './form-examples.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-cli-data-'));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  process.exitCode = undefined;
});
capturePrinted();
const bytes = new ByteTokenizer();

function jsonl(name: string, records: readonly object[]): string {
  const path = join(folder, name);
  writeFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return path;
}

const PAIRS = [
  { prompt: 'Is the sky blue?', chosen: ' Yes.', rejected: ' No.' },
  { prompt: 'Is the sky blue?', chosen: ' Yes, by day.', rejected: ' Never.' },
  { prompt: 'Is ice hot?', chosen: ' No.', rejected: ' Yes.' },
  { prompt: 'Is ice hot?', chosen: ' Yes.', rejected: ' No.' },
  { prompt: 'p'.repeat(90), chosen: ` ${'long '.repeat(60)}`, rejected: ' No.' },
];

describe('palm data inspect', () => {
  it('shows the form and why, what is used, cut and left out, lengths, targets and examples', async () => {
    await palm(dataCommand(), 'inspect', jsonl('pairs', PAIRS), '--maxLength', '64');
    const { stdout } = printed;
    for (const line of [
      /form +preference \(jsonl\)/,
      /because of +prompt, chosen, rejected/,
      /rows +3 of the kind pair/,
      /cut +the start of 1 prompts, the end of 1 responses/,
      /prompts +2 different, 1 rows repeat one/,
      /contradicting +2 pairs/,
      /targets +\d+ tokens, \d+\.\d %/,
      /2 {2}another row prefers the other response, first at/,
      /prompt │ Is the sky blue\?\ntarget │ {2}Yes\.⏎eos/,
    ]) {
      expect(stdout).toMatch(line);
    }
    expect(Math.max(...stdout.split('\n').map((line) => [...line].length))).toBeLessThanOrEqual(80);
    expect(process.exitCode).toBeUndefined();
  });

  it('prints JSON, whose numbers are those of the rows', async () => {
    const path = jsonl('turns', [
      {
        messages: [
          { role: 'user', content: 'Hi' },
          { role: 'assistant', content: 'Yes.' },
        ],
      },
    ]);
    await palm(dataCommand(), 'inspect', path, '--json');
    const found = JSON.parse(printed.stdout);
    expect(found).toMatchObject({
      files: [{ path, format: 'jsonl', form: 'messages', because: ['messages'] }],
      ...{ kind: 'turns', used: 1, skipped: [], tokens: { all: 29, targets: 6 } },
    });
    expect(found.lengths.reduce((sum: number, { count }: { count: number }) => sum + count, 0)).toBe(1);
  });

  it('fails where nothing is to be learned, and says why', async () => {
    const path = jsonl('nothing', [{ messages: [{ role: 'assistant', content: 'No.', weight: 0 }] }]);
    await expect(palm(dataCommand(), 'inspect', path)).rejects.toThrow(/nothing in it is to be learned/);
    await expect(palm(dataCommand(), 'inspect', jsonl('empty', []))).rejects.toThrow(/no rows/);
    await palm(dataCommand(), 'inspect', jsonl('prompts', [{ prompt: 'Q' }]));
    expect(process.exitCode).toBeUndefined(); // prompts have no targets of their own
  });

  it('looks at another kind of row by request', async () => {
    const path = jsonl('tree', [TREE]);
    await palm(dataCommand(), 'inspect', path, '--as', 'pair');
    expect(printed.stdout).toMatch(/form +oasst-trees/);
    expect(printed.stdout).toMatch(/rows +1 of the kind pair/);
  });

  it('shows prompts grey and targets green, wide characters and controls within 80 columns', async () => {
    const path = jsonl('odd', [{ prompt: `${'long '.repeat(80)}\u001b[31m\n`, completion: '😀'.repeat(200) }]);
    const found = await inspectData(path, bytes, { maxLength: 2000 });
    const shown = inspectionText(found, bytes, { color: true });
    expect(shown).toContain('\u001b[90m…');
    expect(shown).toMatch(/\[32m😀+…⏎eos.\[0m/u);
    expect(shown).not.toContain('\u001b[31m');
    expect(inspectionText(found, bytes, { color: false })).not.toContain('\u001b');
  });
});

describe('palm data convert', () => {
  it('gives back every field of a tree, by way of messages', async () => {
    const [flat, back] = [join(folder, 'flat'), join(folder, 'back')];
    await palm(dataCommand(), 'convert', jsonl('tree', [TREE]), '--form', 'oasst-messages', '--out', flat);
    await palm(dataCommand(), 'convert', flat, '--form', 'oasst-trees', '--out', back);
    expect(JSON.parse(readFileSync(back, 'utf8'))).toEqual(TREE);
    expect(printed.stderr).toContain(`${flat}: 5 rows of the form oasst-messages`);
  });

  it('writes rows of another form, and tells what it left out', async () => {
    const out = join(folder, 'labels');
    const path = jsonl('some', [...PAIRS.slice(0, 2), { ...PAIRS[0], chosen: ' No.' }]);
    await palm(dataCommand(), 'convert', path, '--form', 'unpaired', '--out', out);
    const lines = readFileSync(out, 'utf8').trim().split('\n');
    expect(lines.map((line) => JSON.parse(line).label)).toEqual([true, false, true, false]);
    expect(printed.stderr).toContain(`skipped 1, the first at ${path}:3: its responses are equal`);
  });

  it('refuses forms that would lose something or cannot be written, and to replace a file', async () => {
    const [out, kept] = [join(folder, 'refused'), jsonl('kept', [{ a: 1 }])];
    const path = jsonl('labels', [{ prompt: 'Q', completion: 'a', label: true }]);
    const convert = (form: string, to = out) => palm(dataCommand(), 'convert', path, '--form', form, '--out', to);
    await expect(convert('preference')).rejects.toThrow(/got the form unpaired.*expected rows of the kind pair/);
    await expect(convert('shp')).rejects.toThrow(/form: got "shp", expected one of text, messages/);
    await expect(convert('unpair')).rejects.toThrow(/Did you mean unpaired/);
    await expect(convert('oasst-trees')).rejects.toThrow(/got the form unpaired, expected one of oasst-trees/);
    expect(existsSync(out)).toBe(false);
    await expect(convert('unpaired', kept)).rejects.toThrow(/kept.*: already exists\. Choose another name/);
    expect(readFileSync(kept, 'utf8')).toBe('{"a":1}\n');
  });
});

describe('a reward function', () => {
  it('gets what the row of the prompt has besides it', async () => {
    using model = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2 });
    using policy = new Policy(model);
    const path = jsonl('answers', [
      { prompt: 'a', answer: '1' },
      { prompt: 'b', answer: '2' },
    ]);
    const { prompts, meta } = await loadPrompts(path, bytes, { maxPromptLength: 9 });
    const seen: unknown[] = [];
    const reward = (answers: Answer[]) => answers.map(({ promptText, meta }) => seen.push([promptText, meta]));
    const config = parseConfig(
      grpoConfig,
      { steps: 1, klWeight: 0, sampling: { maxNewTokens: 2, samplesPerPrompt: 2 } },
      'grpo',
    );
    const run = methods.grpo.assemble(config, { policy, reward, prompts, meta, tokenizer: bytes });
    for await (const _ of run.train());
    run.parts.optimizer.dispose();
    expect(seen).toHaveLength(4);
    expect(new Set(seen.map((each) => JSON.stringify(each)))).toEqual(
      new Set(['["a",{"answer":"1"}]', '["b",{"answer":"2"}]']),
    );
  });
});

describe('training', () => {
  const size = { numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2 };

  it('on pairs and prompts takes rankings, trees and several files, with their other names', async () => {
    const [model, judge] = [join(folder, 'model.safetensors'), join(folder, 'judge.safetensors')];
    using base = new PaLM(size);
    await base.save(model, { tokenizer: bytes });
    using reward = new RewardModel(base);
    await reward.save(judge, { tokenizer: bytes });
    const rankings = jsonl('rankings', [{ ask: 'Q', responses: ['a', 'b', 'c'], ranking: [0, 1, 2] }]);
    const tree = jsonl('tree', [TREE]);
    const again = jsonl('again', [TREE]);
    const out = join(folder, 'run');
    const opened = (name: 'dpo' | 'reward' | 'grpo' | 'ppo', more: object) => {
      const { schema, open } = methods[name];
      return open(schema.parse({ model, out, ...more }) as never);
    };
    for (const name of ['dpo', 'reward'] as const) {
      const run = await (await opened(name, { data: rankings, map: 'prompt=ask', validation: [tree] })).start();
      expect(run.rows).toMatchObject(name === 'dpo' ? { pairs: 3, heldOut: 1 } : { rankings: 1, heldOut: 1 });
      (run.parts.weights as unknown as Disposable)[Symbol.dispose]();
    }
    for (const name of ['grpo', 'ppo'] as const) {
      const run = await (await opened(name, { data: [tree, again], reward: judge })).start();
      expect(run.rows).toMatchObject({ prompts: 4 });
      expect(run.inputs.data).toEqual([tree, again]);
    }
  });
});
