import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { loadPreferences } from '../src/data/preferences.ts';
import { loadPrompts } from '../src/data/prompts.ts';
import { loadRows, type TokenKind } from '../src/data/token-rows.ts';
import { DataError, FileError } from '../src/errors.ts';
import { ByteTokenizer } from '../src/tokenizer/byte.ts';
import type { EncodeOptions, Tokenizer } from '../src/tokenizer/tokenizer.ts';
import { EXAMPLES } from './form-examples.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-token-rows-'));
afterAll(() => rmSync(folder, { recursive: true }));
const bytes = new ByteTokenizer();
const EOS = bytes.eosToken;
const text = (tokens: readonly number[]) => bytes.decode(tokens.filter((token) => token !== EOS));

function jsonl(records: readonly object[], name = 'rows'): string {
  const path = join(folder, name);
  writeFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return path;
}

const chat = (content: string) => [{ role: 'user', content }];

describe('rows of tokens', () => {
  it('keep prompt and response apart, and end the response with the eos', async () => {
    const { rows, groups } = await loadRows(
      'completion',
      jsonl([
        { prompt: 'Q:', completion: ' a', weight: 0.5, id: 1 },
        { prompt: chat('Hi'), completion: [{ role: 'assistant', content: 'Yes.' }] },
        { prompt: 'Q:', completion: ' b' },
      ]),
      bytes,
      { maxLength: 100 },
    );
    expect(rows.map(({ prompt, response }) => [text(prompt), text(response), response.at(-1)])).toEqual([
      ['Q:', ' a', EOS],
      ['\n\nHuman: Hi\n\nAssistant:', ' Yes.', EOS],
      ['Q:', ' b', EOS],
    ]);
    expect(rows[0]).toMatchObject({ weight: 0.5, meta: { id: 1 } });
    expect(groups).toEqual([0, 1, 0]);
  });

  it('decode to the text of the row, without a space at the seam (sentencepiece-joined-space)', async () => {
    const spaced: Tokenizer = {
      ...bytes,
      vocabSize: bytes.vocabSize,
      eosToken: undefined,
      encode: (text, { continues = false } = {}) => bytes.encode(continues ? text : ` ${text}`),
      decode: (tokens) => bytes.decode(tokens).replace(/^ /, ''),
      describe: () => ({ type: 'byte' }),
    };
    const labels = jsonl([{ prompt: 'Q: 2+2=', completion: '4', label: true }]);
    const [label] = (await loadRows('label', labels, spaced, { maxLength: 99 })).rows;
    expect(spaced.decode([...(label?.prompt ?? []), ...(label?.response ?? [])])).toBe('Q: 2+2=4');
    const turns = jsonl([{ messages: [...chat('Hi'), { role: 'assistant', content: 'Yes.' }] }]);
    const [dialogue] = (await loadRows('turns', turns, spaced, { maxLength: 99 })).rows;
    expect(spaced.decode(dialogue?.tokens ?? [])).toBe('\n\nHuman: Hi\n\nAssistant: Yes.');
    const steps = jsonl([{ prompt: 'Q', completions: ['a', 'b'], labels: [true, false] }]);
    const [solution] = (await loadRows('steps', steps, spaced, { maxLength: 99 })).rows;
    const all = [...(solution?.prompt ?? []), ...(solution?.steps.flatMap(({ tokens }) => tokens) ?? [])];
    expect(spaced.decode(all)).toBe('Qa\nb');
  });

  it('of dialogues are learned where the assistant speaks, with the eos, and nowhere else', async () => {
    const assistant = (content: string, weight?: number) => ({ role: 'assistant', content, weight });
    const messages = [...chat('Hi'), assistant('No.', 0), ...chat('Why?'), assistant('Yes.')];
    const { rows } = await loadRows('turns', jsonl([{ messages }]), bytes, { maxLength: 100 });
    const [{ tokens, targets } = { tokens: [], targets: [] }] = rows;
    expect(text(tokens)).toBe('\n\nHuman: Hi\n\nAssistant: No.\n\nHuman: Why?\n\nAssistant: Yes.');
    expect(tokens.filter((_, i) => targets[i])).toEqual([...bytes.encode(' Yes.'), EOS]);
    expect(targets).toHaveLength(tokens.length);
  });

  it('that are too long lose the start of the prompt; responses are dropped and counted, or cut by request', async () => {
    const path = jsonl([
      { prompt: 'p'.repeat(50), completion: 'c'.repeat(10), n: 1 },
      { prompt: 'p'.repeat(50), completion: 'c'.repeat(50), n: 2 },
    ]);
    const dropped = await loadRows('completion', path, bytes, { maxLength: 30 });
    expect(dropped.rows.map(({ prompt, response }) => [prompt.length, response.length])).toEqual([[19, 11]]);
    expect(dropped.cut).toEqual({ prompts: 1, responses: 0 });
    expect(dropped.skipped).toEqual([
      { place: `${path}:2`, reason: 'its response has 51 tokens, and maxLength 30 leaves 20' },
    ]);
    const cut = await loadRows('completion', path, bytes, { maxLength: 30, overlong: 'cut' });
    expect(cut.rows.map(({ prompt, response }) => [prompt.length, response.length])).toEqual([
      [19, 11],
      [10, 20],
    ]);
    expect(cut.rows[1]?.response).not.toContain(EOS);
    expect(cut.cut).toEqual({ prompts: 2, responses: 1 });
  });

  it('that would train on nothing are skipped', async () => {
    const messages = [...chat('Hi'), { role: 'assistant', content: 'No.', weight: 0 }];
    await expect(loadRows('turns', jsonl([{ messages }]), bytes, { maxLength: 99 })).rejects.toThrow(
      /1 unusable row, the first because nothing in it is to be learned/,
    );
    const long = [...chat('x'.repeat(99)), { role: 'assistant', content: 'No.' }];
    await expect(
      loadRows('turns', jsonl([{ messages: long }]), bytes, { maxLength: 99, overlong: 'cut' }),
    ).rejects.toThrow(/nothing in it is to be learned/);
  });

  it('begin with what every sequence begins with, however much of their prompt is cut', async () => {
    const BOS = 257;
    class Beginning extends ByteTokenizer {
      override encode(text: string, { special }: EncodeOptions = {}): number[] {
        return [...(special === undefined ? [] : [BOS]), ...super.encode(text)];
      }
    }
    const tokenizer = new Beginning();
    const encoded = (...texts: string[]) => [BOS, ...texts.flatMap((one) => bytes.encode(one))];
    const pairs = jsonl([{ prompt: 'abcdefgh', chosen: 'x', rejected: 'y' }]);
    const limits = { maxLength: 99, maxPromptLength: 4 };
    expect((await loadPrompts(pairs, tokenizer, { maxPromptLength: 4 })).prompts).toEqual([encoded('fgh')]);
    expect((await loadPreferences(pairs, tokenizer, limits)).pairs[0]?.prompt).toEqual(encoded('fgh'));
    const completions = jsonl([{ prompt: 'abcdefgh', completion: 'x' }]);
    const { rows, cut } = await loadRows('completion', completions, tokenizer, { ...limits, overlong: 'cut' });
    expect([rows[0]?.prompt, cut.prompts]).toEqual([encoded('fgh'), 1]);
    expect((await loadPrompts(pairs, tokenizer, { maxPromptLength: 1 })).prompts).toEqual([bytes.encode('h')]);
    expect((await loadPrompts(pairs, tokenizer, { maxPromptLength: 9 })).prompts).toEqual([encoded('abcdefgh')]);
  });

  it('of steps are never cut inside a step', async () => {
    const path = jsonl([{ prompt: 'Q', completions: ['aaaa', 'bbbb', 'cccc'], labels: [true, null, false] }]);
    await expect(loadRows('steps', path, bytes, { maxLength: 12 })).rejects.toThrow(FileError);
    const { rows, cut } = await loadRows('steps', path, bytes, { maxLength: 12, overlong: 'cut' });
    expect(rows[0]?.steps.map(({ tokens, good }) => [text(tokens), good])).toEqual([
      ['aaaa', true],
      ['\nbbbb', null],
    ]);
    expect(cut).toEqual({ prompts: 0, responses: 1 });
  });

  it.each(EXAMPLES)('come from the form $form', async ({ records, kinds }) => {
    const path = jsonl(records);
    for (const kind of kinds) {
      if (kind === 'pair') expect((await loadPreferences(path, bytes, { maxLength: 999 })).pairs).not.toEqual([]);
      else if (kind === 'prompt')
        expect((await loadPrompts(path, bytes, { maxPromptLength: 99 })).prompts).not.toEqual([]);
      else expect((await loadRows(kind as TokenKind, path, bytes, { maxLength: 999 })).rows).not.toEqual([]);
    }
  });

  it('refuse options that do not exist', async () => {
    const path = jsonl([{ text: 'a' }]);
    await expect(loadRows('texts' as never, path, bytes, { maxLength: 9 })).rejects.toThrow(/kind: got "texts"/);
    await expect(loadRows('text', path, bytes, { maxLength: 9, overlong: 'keep' as never })).rejects.toThrow(
      /drop or cut/,
    );
    await expect(loadRows('text', path, bytes, { maxLength: 1 })).rejects.toThrow(/maxLength/);
  });
});

describe('preferences of other forms', () => {
  it('come from rankings, ratings and dialogues, from several files and formats', async () => {
    const ranking = jsonl([{ prompt: 'Q', responses: ['a', 'b', 'c'], ranking: [0, 1, 1] }], 'ranking');
    const ratings = join(folder, 'ratings');
    const rating = (response: string, ratings: object) => ({ prompt: 'R', response, ratings });
    writeFileSync(ratings, gzipSync(JSON.stringify([rating('x', { good: 1 }), rating('y', { good: 2 })])));
    const { pairs, groups } = await loadPreferences([ranking, ratings], bytes, { maxLength: 99 });
    expect(pairs.map(({ prompt, chosen, rejected }) => [prompt, chosen, rejected].map(text))).toEqual(
      [
        ['R', 'y', 'x'],
        ['Q', 'a', 'b'],
        ['Q', 'a', 'c'],
      ].sort((a, b) => (a[0] as string).localeCompare(b[0] as string)),
    );
    expect(new Set(groups).size).toBe(2);
  });

  it('carry their margin, and are compared across files before they are cut', async () => {
    const row = { prompt: 'Q', chosen: `${'x'.repeat(50)}a`, rejected: `${'x'.repeat(50)}b`, margin: 2 };
    const [a, b] = [jsonl([row], 'a'), jsonl([{ ...row, chosen: row.rejected, rejected: row.chosen }], 'b')];
    const { pairs } = await loadPreferences(a, bytes, { maxLength: 99 });
    expect(pairs[0]?.margin).toBe(2);
    const both = loadPreferences([a, b], bytes, { maxLength: 99 });
    await expect(both).rejects.toThrow(`2 unusable rows, the first because ${b}:1 prefers the other response`);
  });

  it('that cannot be pairs are refused with the form, and unknown ones with the nearest', async () => {
    const label = jsonl([{ prompt: 'Q', completion: 'a', label: true }]);
    const error = await loadPreferences(label, bytes, { maxLength: 9 }).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(DataError);
    expect((error as DataError).message).toMatch(/rows:1: got the form unpaired.*expected rows of the kind pair/);
    const unknown = jsonl([{ question: 'Q', better: 'a', worse: 'b' }]);
    await expect(loadPreferences(unknown, bytes, { maxLength: 9 })).rejects.toThrow(
      /The nearest: preference lacks "prompt" and "chosen"/,
    );
    const map = { prompt: 'question', chosen: 'better', rejected: 'worse' };
    expect((await loadPreferences(unknown, bytes, { maxLength: 9 }, { map })).pairs).toHaveLength(1);
  });
});

describe('prompts of other forms', () => {
  it('come with what else their rows have', async () => {
    const own = await loadPrompts(jsonl([{ prompt: 'Q', answer: '42' }]), bytes, { maxPromptLength: 9 });
    expect(own).toMatchObject({ prompts: [[81]], meta: [{ answer: '42' }] });
    const dialogue = jsonl([{ messages: [...chat('Hi'), { role: 'assistant', content: 'Yes.' }], id: 7 }]);
    const { prompts, meta } = await loadPrompts(dialogue, bytes, { maxPromptLength: 99 });
    expect([prompts.map(text), meta]).toEqual([['\n\nHuman: Hi\n\nAssistant:'], [{ id: 7 }]]);
  });

  it('of a tree are taken once each', async () => {
    const tree = EXAMPLES.find(({ form }) => form === 'oasst-trees');
    const { prompts } = await loadPrompts(jsonl(tree?.records ?? []), bytes, { maxPromptLength: 999 });
    expect(prompts.map(text)).toEqual([
      '\n\nHuman: Why is the sky blue?\n\nAssistant:',
      '\n\nHuman: Why is the sky blue?\n\nAssistant: Rayleigh.\n\nHuman: Who?\n\nAssistant:',
    ]);
  });
});
