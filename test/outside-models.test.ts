/** Commands with models in formats of others: a Hugging Face folder and a GGUF file, from MODEL to a run and back. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { chatCommand } from '../src/cli/chat.ts';
import { exportCommand } from '../src/cli/export.ts';
import { dataCommand } from '../src/cli/data.ts';
import { generateCommand } from '../src/cli/generate.ts';
import { inspectCommand } from '../src/cli/inspect.ts';
import { scoreCommand } from '../src/cli/score.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { loadPreferences } from '../src/data/preferences.ts';
import { loadPrompts } from '../src/data/prompts.ts';
import { ArgumentError, FileError } from '../src/errors.ts';
import { LanguageModel } from '../src/models/language-model.ts';
import { loadModel, loadScoped } from '../src/models/registry.ts';
import { keepTokenizer } from '../src/runs/kept-tokenizer.ts';
import { findModel, loadingOf, textOf } from '../src/runs/model-file.ts';
import { resolveModelPath } from '../src/runs/model-place.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import type { Chat } from '../src/tokenizer/chat.ts';
import { openTokenizer } from '../src/tokenizer/open.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { LETTERS, outsideModel, SPECIAL, TEMPLATE } from './outside-model.ts';

const fixtures = fileURLToPath(new URL('.', import.meta.url));
const SMOLLM = join(fixtures, 'fixtures/gguf/tokenizers/smollm.gguf');
const folder = mkdtempSync(join(tmpdir(), 'palm-outside-'));
afterAll(() => rmSync(folder, { recursive: true }));

const modelWith = (name: string, characters: string) => outsideModel(join(folder, name), characters);
const model = modelWith('llama', LETTERS);
const USED = SPECIAL.length + [...LETTERS].length;
const messages = [
  { role: 'user', content: 'a river?' },
  { role: 'assistant', content: 'the dart.' },
];
const data = join(folder, 'talks.jsonl');
writeFileSync(data, Array.from({ length: 4 }, () => JSON.stringify({ messages })).join('\n'));

capturePrinted();

describe('a Hugging Face folder', () => {
  it('brings its tokenizer, its template and all tokens that end an answer', async () => {
    const file = await findModel(model);
    expect(file).toMatchObject({ kind: 'llama', path: model, outside: true, stopTokens: [1, 2] });
    const text = await textOf({}, file);
    expect([text.vocabSize, text.stopTokens, text.chat?.template.source]).toEqual([USED, [1, 2], TEMPLATE]);
    expect((await textOf({ chatTemplate: 'none' }, file)).chat).toBeUndefined();
  });

  it('never draws rows beyond the tokenizer', async () => {
    const file = await findModel(model);
    const tokenizer = await textOf({}, file);
    using loaded = await loadModel(file.path, loadingOf(file, tokenizer, 'cpu'));
    expect(loaded.decoder).toMatchObject({ numTokens: 71, usedTokens: USED });
    using drawn = await loaded.generate({
      prompts: [[3]],
      maxNewTokens: 40,
      samplesPerPrompt: 16,
      temperature: 5,
      seed: 1,
    });
    const tokens = Array.from(await drawn.sequences.data(), Number);
    expect(Math.max(...tokens)).toBeLessThan(USED);
    expect(Math.max(...tokens)).toBeGreaterThan(USED - 4);
  });

  it('is refused with a tokenizer that is larger', async () => {
    const many = modelWith('many', Array.from({ length: 90 }, (_, i) => String.fromCodePoint(0x400 + i)).join(''));
    await expect(textOf({}, await findModel(many))).rejects.toThrow(/93 tokens for a model with 71/);
  });

  it('is looked for on this machine where its name begins with a folder', async () => {
    await expect(resolveModelPath(join(folder, 'absent'))).rejects.toThrow(FileError);
    await expect(resolveModelPath(model, { revision: 'main' })).rejects.toThrow(ArgumentError);
    await expect(resolveModelPath('no such model!')).rejects.toThrow(ArgumentError);
  });

  it('is inspected: its type, its vocabulary and the tokens that end an answer', async () => {
    await palm(inspectCommand(), model);
    expect(printed.stdout).toMatch(/^model +llama$/m);
    expect(printed.stdout).toMatch(new RegExp(`^vocabulary +71 rows, ${USED} used$`, 'm'));
    expect(printed.stdout).toMatch(/^ends answers +1, 2$/m);
  });
});

describe('conversations', () => {
  it('are prompts and pairs by the template', async () => {
    const { tokenizer, chat } = await openTokenizer(model);
    const asked = [messages[0]];
    const rows = join(folder, 'pairs.jsonl');
    const said = (content: string) => [{ role: 'assistant', content }];
    writeFileSync(rows, JSON.stringify({ prompt: asked, chosen: said('the dart.'), rejected: said('no.') }));
    const prompt = await (chat as Chat).prompt(asked as never);
    const { pairs } = await loadPreferences(rows, tokenizer, { maxLength: 200 }, { chat });
    expect(pairs).toEqual([
      { prompt, chosen: tokenizer.encode('the dart.<|im_end|>'), rejected: tokenizer.encode('no.<|im_end|>') },
    ]);
    const questions = join(folder, 'prompts.jsonl');
    writeFileSync(questions, JSON.stringify({ prompt: asked }));
    const limits = { maxPromptLength: 200 };
    expect((await loadPrompts(questions, tokenizer, limits, { chat })).prompts).toEqual([prompt]);
    const byText = await loadPrompts(questions, tokenizer, limits);
    expect(byText.prompts).not.toEqual([prompt]);
    const other = await loadTokenizer('byte');
    await expect(loadPrompts(questions, other, limits, { chat })).rejects.toThrow(/another tokenizer/);
    await expect(loadPreferences(rows, other, { maxLength: 9 }, { chat })).rejects.toThrow(/another tokenizer/);
  });

  it('are inspected as they are learned: by the template, or as plain text where that is asked for', async () => {
    await palm(dataCommand(), 'inspect', data, '--tokenizer', model);
    expect(printed.stdout).toContain('prompt │ user↵a river?↵assistant↵');
    expect(printed.stdout).not.toContain('uman');
    await palm(dataCommand(), 'inspect', data, '--tokenizer', model, '--chatTemplate', 'none');
    expect(printed.stdout).toContain('?uman? a river?↵↵?ssistant?');
  });

  it('are answered: a line of input each, until /exit', async () => {
    const lines = ['a river?\n', '/reset\n', 'a hill?\n', '/exit\n', 'never read\n'];
    vi.spyOn(process, 'stdin', 'get').mockReturnValue(Readable.from(lines) as never);
    await palm(chatCommand(), model, '--maxNewTokens', '4', '--temperature', '0', '--system', 'be short.');
    const answers = printed.stdout.split('\n');
    const { chat, tokenizer } = await openTokenizer(model);
    using loaded = await loadModel(model, { usedTokens: USED });
    for (const content of ['a river?', 'a hill?']) {
      const asked = [
        { role: 'system', content: 'be short.' },
        { role: 'user', content },
      ] as const;
      const prompts = [await (chat as Chat).prompt(asked)];
      using drawn = await loaded.generate({ prompts, maxNewTokens: 4, temperature: 0, eosToken: [1, 2] });
      const ids = Array.from(await drawn.sequences.data(), Number).slice(prompts[0]?.length);
      expect(printed.stdout).toContain(tokenizer.decode(ids));
    }
    expect(answers.length).toBeGreaterThanOrEqual(3);
  });

  it('are refused of a model without a template', async () => {
    const silent = modelWith('silent', LETTERS);
    rmSync(join(silent, 'chat_template.jinja'));
    await expect(palm(chatCommand(), silent)).rejects.toThrow(/without a chat template/);
    await expect(palm(generateCommand(), silent, 'a river?', '--chat')).rejects.toThrow(/without a chat template/);
    await expect(palm(generateCommand(), silent, 'a', '--chatTemplate', 'none')).rejects.toThrow(/without --chat/);
    await expect(palm(generateCommand(), silent, 'a', '--prompt', 'b')).rejects.toThrow(/given twice/);
  });
});

const out = join(folder, 'run');
const train = (...more: string[]) =>
  palm(trainingCommand('sft'), '--model', model, '--data', data, '--epochs', '1', '--batchSize', '2', ...more);
beforeEach(async () => {
  if (!existsSync(out)) await train('--out', out, '--lora', '2', '--validationFraction', '0', '--quiet');
});

it.each([
  ['llama', 'training, decoding'],
  ['gptj', 'no training (parallel blocks with a norm of another kind), decoding'],
  ['falcon-rw', 'no training (alibi), no decoding (alibi)'],
])('of %s is inspected: what has a fast path, and why the rest has none', async (name, paths) => {
  await palm(inspectCommand(), join(fixtures, 'parity/families/cases', name));
  expect(printed.stdout).toMatch(new RegExp(`^fast paths +${paths.replace(/[()]/g, '\\$&')}$`, 'm'));
});

describe('a run that trains one', () => {
  it('learns what the assistant wrote, and keeps all that the model needs', async () => {
    const run = await findModel(out);
    expect(run).toMatchObject({ kind: 'Policy', outside: false, stopTokens: [1, 2] });
    expect(run.decoder).toMatchObject({ usedTokens: USED, numTokens: 71 });
    const { chat, vocabSize } = await textOf({}, run);
    expect([chat?.template.source, vocabSize]).toEqual([TEMPLATE, USED]);
    const note = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8'));
    expect(note.inputs.model).toMatchObject({ path: model, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(note.inputs.model.bytes).toBeGreaterThan(10_000);
  });

  it('answers by itself, and goes on', async () => {
    await palm(generateCommand(), out, 'a river?', '--chat', '--maxNewTokens', '3', '--temperature', '0');
    expect(printed.stdout.length).toBeGreaterThan(1);
    await palm(trainingCommand('sft'), '--out', out, '--epochs', '2', '--resume', '--quiet');
    expect(printed.stderr).toBe('warning: epochs: changed from 1 to 2\n');
    const steps = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n');
    expect(steps).toHaveLength(4);
  });

  it('reads conversations as plain text where it is asked to', async () => {
    const plain = join(folder, 'plain');
    await train('--out', plain, '--lora', '2', '--validationFraction', '0', '--quiet', '--chatTemplate', 'none');
    const [first, other] = [out, plain].map((run) => readFileSync(join(run, 'metrics.jsonl'), 'utf8').split('\n')[0]);
    expect(JSON.parse(other as string).loss).not.toBeCloseTo(JSON.parse(first as string).loss, 3);
    expect(JSON.parse(readFileSync(join(plain, 'config.json'), 'utf8')).chatTemplate).toBe('none');
  });
});

describe('an element type that is asked for', () => {
  const narrow = join(folder, 'narrow');

  it('is what a run computes in, from its first step on', async () => {
    const settings = ['--lora', '2', '--validationFraction', '0', '--quiet'];
    await train('--out', narrow, '--dtype', 'bfloat16', ...settings);
    expect((await findModel(model)).decoder.dtype).toBe('float32');
    expect((await findModel(narrow)).decoder.dtype).toBe('bfloat16');
    await expect(palm(trainingCommand('sft'), '--out', narrow, '--resume', '--dtype', 'float32')).rejects.toThrow(
      'expected "bfloat16", as when the run started',
    );
    await palm(trainingCommand('sft'), '--out', narrow, '--epochs', '2', '--resume', '--quiet');
    expect((await findModel(narrow)).decoder.dtype).toBe('bfloat16');
  });

  it('is what a model answers in, and refused of a file that has its own', async () => {
    await palm(generateCommand(), model, 'a', '--dtype', 'bfloat16', '--maxNewTokens', '2');
    expect(printed.stdout.length).toBeGreaterThan(1);
    const own = palm(generateCommand(), narrow, 'a', '--dtype', 'float32');
    await expect(own).rejects.toThrow('a file of this package has its own');
  });
});

describe('what a run has learned', () => {
  const write = (from: string, ...args: string[]) => palm(exportCommand(), from, ...args);
  const logits = async (of: LanguageModel, scope?: string) => {
    using result = await of.forward([[5, 9, 20, 4]], scope === undefined ? {} : { scope });
    return Array.from(await result.logits.data(), Number);
  };

  it('becomes a folder for transformers, with its tokenizer and template', async () => {
    const folderOf = join(folder, 'merged');
    await write(out, '--format', 'hugging-face', '--merge', '--out', folderOf);
    expect(printed.stdout).toBe(`wrote ${folderOf}, with the adapters actor merged into the weights\n`);
    using merged = await loadModel((await findModel(out)).path);
    using read = await LanguageModel.load(folderOf);
    expect((await logits(read)).slice(0, USED)).toEqual((await logits(merged)).slice(0, USED));
    const before = await openTokenizer(model);
    const after = await openTokenizer(folderOf);
    expect(after.tokenizer.hash).toBe(before.tokenizer.hash);
    expect(after.chat?.template.source).toBe(TEMPLATE);
    expect((await findModel(folderOf)).stopTokens).toEqual([1, 2]);
  });

  it('becomes an adapter for PEFT', async () => {
    const adapter = join(folder, 'adapter');
    await write(out, '--format', 'peft', '--out', adapter);
    expect(printed.stdout).toBe(`wrote ${adapter}: the adapters actor\n`);
    using trained = await loadScoped((await findModel(out)).path);
    using base = await LanguageModel.load(model, { usedTokens: USED, adapters: { again: adapter } });
    expect(await logits(base, 'again')).toEqual(await logits(trained, 'actor'));
    expect(await logits(base, 'again')).not.toEqual(await logits(base));
    await expect(LanguageModel.load(model, { adapters: { again: folder } })).rejects.toThrow('adapter_config.json');
    await expect(LanguageModel.load(model, { adapters: { again: 5 } as never })).rejects.toThrow('load.adapters.again');
  });

  it.each([
    [['--format', 'hugging-face'], 'Add --merge to fold its adapters'],
    [['--format', 'hugging-face', '--merge', '--names', 'python'], 'expected nothing with --format hugging-face'],
    [['--format', 'peft', '--merge'], 'expected nothing with --format peft'],
    [['--format', 'peft', '--scope', 'other'], 'other'],
    [['--scope', 'actor'], 'nothing without --merge or --format peft'],
  ])('is not written with %j', async (args, message) => {
    const place = join(folder, 'refused');
    await expect(write(out, ...args, '--out', place)).rejects.toThrow(message);
    expect(existsSync(place)).toBe(false);
    await expect(write(model, '--format', 'peft', '--out', place)).rejects.toThrow('a model without adapters');
  });

  it('may come from a GGUF file: that becomes a folder', async () => {
    const [file, written] = [join(fixtures, 'fixtures/gguf/llama.gguf'), join(folder, 'from-gguf')];
    await write(file, '--format', 'hugging-face', '--out', written);
    using read = await LanguageModel.load(written);
    using source = await LanguageModel.load(file);
    expect(await logits(read)).toEqual(await logits(source));
  });
});

describe('a reward model of one', () => {
  it('scores conversations as it learned them', async () => {
    const out = join(folder, 'judge');
    const [pairs, answers] = [join(folder, 'judged.jsonl'), join(folder, 'answers.jsonl')];
    const [prompt, said] = [messages.slice(0, 1), (content: string) => [{ role: 'assistant', content }]];
    const pair = JSON.stringify({ prompt, chosen: said('the dart.'), rejected: said('no.') });
    writeFileSync(pairs, Array.from({ length: 4 }, () => pair).join('\n'));
    const learning = ['--epochs', '1', '--validationFraction', '0', '--quiet'];
    await palm(trainingCommand('reward'), '--model', model, '--data', pairs, '--out', out, ...learning);
    const text = '<|im_start|>user\na river?<|im_end|>\n<|im_start|>assistant\n';
    const rows = [
      { prompt: text, response: 'the dart.' },
      { prompt, response: 'the dart.' },
      { prompt, completion: said('the dart.') },
      { prompt: said('') },
      { prompt: [{ role: 'judge', content: '' }], response: '' },
    ];
    writeFileSync(answers, rows.map((row) => JSON.stringify(row)).join('\n'));
    const scores = async (...more: string[]) => {
      printed.stdout = '';
      await palm(scoreCommand(), out, '--data', answers, ...more);
      return printed.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).score as number);
    };
    const [one, ...others] = await scores();
    expect(others).toHaveLength(2);
    for (const other of others) expect(other).toBeCloseTo(one as number, 6);
    expect(printed.stderr).toMatch(/skipped rows: 2, the first at .*:4: "response" is neither a text nor one message/);
    const [same, plain] = await scores('--chatTemplate', 'none');
    expect(same).toBeCloseTo(one as number, 6);
    expect(plain).not.toBeCloseTo(one as number, 4);
  });
});

describe('a GGUF file', () => {
  it('is found with its tokens that end an answer', async () => {
    const path = join(fixtures, 'fixtures/gguf/llama.gguf');
    expect(await findModel(path)).toMatchObject({ kind: 'llama', path, outside: true, stopTokens: [2] });
  });

  it('has a tokenizer that a run keeps as files with the same hash', async () => {
    const kept = mkdtempSync(join(folder, 'kept-'));
    const tokenizer = await loadTokenizer(SMOLLM);
    await keepTokenizer(tokenizer, kept);
    expect((await loadTokenizer(kept)).hash).toBe(tokenizer.hash);
    expect((await openTokenizer(kept)).chat?.template.source).toBe((await openTokenizer(SMOLLM)).chat?.template.source);
  });
});
