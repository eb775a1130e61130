import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { rowsAs } from '../src/data/forms/convert.ts';
import { convertRecords } from '../src/data/forms/convert-records.ts';
import { type FormOptions, readForms, readKind } from '../src/data/forms/read.ts';
import type { FormRow } from '../src/data/forms/rows.ts';
import { FORM_NAMES, FORMS } from '../src/data/forms/table.ts';
import { renderPrompt, renderResponse, renderTurns } from '../src/data/forms/transcript.ts';
import { Random } from '../src/data/random.ts';
import { DataError, FileError, PalmError } from '../src/errors.ts';
import { mutated } from './faults/mutate.ts';
import { EXAMPLES, MESSAGES, TREE } from './form-examples.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-forms-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'rows');

const jsonl = (records: readonly object[]): string => {
  writeFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return path;
};

/** The rows of a file; nothing may be skipped. */
async function rowsOf(file: string, options: FormOptions = {}): Promise<FormRow[]> {
  const rows: FormRow[] = [];
  for await (const result of readForms(file, options)) {
    if ('skip' in result) throw new Error(result.skip);
    rows.push(...result.rows.map(({ row }) => row));
  }
  return rows;
}

/** The reasons for which rows of a file are skipped. */
async function skipsIn(file: string): Promise<string[]> {
  const reasons: string[] = [];
  for await (const result of readForms(file)) if ('skip' in result) reasons.push(result.skip);
  return reasons;
}

async function converted(file: string, to: string): Promise<object[]> {
  const records: object[] = [];
  for await (const result of convertRecords(file, to)) {
    if ('record' in result) records.push(result.record);
  }
  return records;
}

const errorOf = (reading: Promise<unknown>): Promise<unknown> =>
  reading.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('every form', () => {
  it('has an example', () => {
    expect(EXAMPLES.map(({ form }) => form).sort()).toEqual([...FORM_NAMES].sort());
  });

  it.each(EXAMPLES)('$form is recognised and gives its rows', async ({ form, records, row, kinds }) => {
    for await (const result of readForms(jsonl(records))) expect(result.form.name).toBe(form);
    const rows = await rowsOf(path);
    expect(rows.map(({ kind }) => kind)).toEqual(kinds);
    expect(rows[0]).toMatchObject(row);
    const gives = FORMS.find(({ name }) => name === form)?.gives;
    for (const kind of kinds) expect(gives).toContain(kind);
  });

  it.each(EXAMPLES)('$form is the same after a round trip', async ({ form, records, written = form }) => {
    const before = await rowsOf(jsonl(records));
    const out = await converted(path, written);
    if (written === form) expect(out.sort(byId)).toEqual([...records].sort(byId));
    const after = await rowsOf(jsonl(out));
    expect(after).toEqual(written === form ? before : rowsOfKind(before, after[0] as FormRow));
  });

  it.each(EXAMPLES)('$form: a later row without one of its fields is refused', async ({ form, records }) => {
    const needs = Object.keys(FORMS.find(({ name }) => name === form)?.needs ?? {});
    for (const need of needs) {
      const broken = structuredClone(records[0]) as Record<string, unknown>;
      delete broken[need.split('.')[0] as string];
      const error = await errorOf(rowsOf(jsonl([...records, broken])));
      expect(error).toBeInstanceOf(DataError);
      expect((error as DataError).argument).toBe(`${path}:${records.length + 1}`);
      expect((error as DataError).message).toContain(`"${need}`);
      expect((error as DataError).message).toContain(form);
    }
  });

  it.each(EXAMPLES)(
    '$form: malformed JSON, an empty file and a huge line name their place',
    async ({ form, records }) => {
      const text = readFileSync(jsonl(records));
      writeFileSync(path, `${text}{"prompt":`);
      await expect(rowsOf(path)).rejects.toThrow(
        `${path}:${records.length + 1}: got the end at character 10, expected a JSON object`,
      );
      writeFileSync(path, '');
      for (const kind of FORMS.find(({ name }) => name === form)?.gives ?? []) {
        await expect(readKind(kind, path)).rejects.toThrow(FileError);
      }
      writeFileSync(path, text);
      truncateSync(path, text.length + 17 * 2 ** 20);
      await expect(rowsOf(path)).rejects.toThrow(
        `${path}:${records.length + 1}: got a line longer than 16777216 bytes`,
      );
    },
  );

  it.each(EXAMPLES)('$form, changed at random, is read or refused', async ({ records }) => {
    const random = new Random(3);
    const original = Buffer.from(records.map((record) => JSON.stringify(record)).join('\n'));
    let refused = 0;
    for (let i = 0; i < 15; i++) {
      const content = mutated(original, random);
      writeFileSync(path, content);
      const error = await errorOf(skipsIn(path));
      if (error === undefined) continue;
      refused++;
      if (!(error instanceof PalmError)) throw new Error(content.toString('latin1'), { cause: error });
    }
    expect(refused).toBeGreaterThan(0);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});

function byId(a: object, b: object): number {
  const id = (record: object) => String((record as { message_id?: string }).message_id);
  return id(a) < id(b) ? -1 : 1;
}

function rowsOfKind(rows: readonly FormRow[], { kind }: FormRow): FormRow[] {
  return rows.filter((row) => row.kind === kind);
}

describe('detection', () => {
  it('lists the keys and the nearest three forms with what each lacks', async () => {
    const error = await errorOf(rowsOf(jsonl([{ prompt: 7, better: 'a', rejected: 'b' }])));
    expect(error).toMatchObject({
      code: 'ERR_DATA',
      argument: `${path}:1`,
      received: 'a row with the keys "prompt", "better", "rejected"',
      fix: expect.stringMatching(/implicit-preference lacks "chosen".*--map chosen=better/),
    });
    expect(String((error as DataError).fix).split(' lacks ')).toHaveLength(4);
    await expect(rowsOf(jsonl([{}]))).rejects.toThrow('a row with no keys');
  });

  it('renames fields, and refuses a name that is there already', async () => {
    const options = { map: { chosen: 'better', rejected: 'worse' } };
    const record = { prompt: 'Q', better: 'a', worse: 'b' };
    expect(await rowsOf(jsonl([record]), options)).toMatchObject([
      { kind: 'pair', chosen: 'a', rejected: 'b', meta: {} },
    ]);
    await expect(rowsOf(jsonl([{ ...record, chosen: 'c' }]), options)).rejects.toThrow(
      /rows:1: got both "better" and "chosen"/,
    );
  });

  it('is overridden by name, and then says what a row lacks', async () => {
    const record = { prompt: 'Q', chosen: 'a', rejected: 'b' };
    expect(await rowsOf(jsonl([record]), { form: 'prompt' })).toMatchObject([
      { kind: 'prompt', meta: { chosen: 'a' } },
    ]);
    await expect(rowsOf(path, { form: 'text' })).rejects.toThrow(/rows:1: got a row in which "text" is missing/);
    await expect(rowsOf(path, { form: 'preferences' })).rejects.toThrow(
      /form: got "preferences".*Did you mean preference\?/s,
    );
  });

  it('refuses a later row of another form, naming the field', async () => {
    const rows = [
      { prompt: 'Q', completion: 'a' },
      { prompt: 'Q', completion: 'a', label: true },
    ];
    await expect(rowsOf(jsonl(rows))).rejects.toThrow(
      /rows:2: got a row with "label", the form unpaired, expected the form prompt-completion, as .*rows:1/,
    );
    expect(await rowsOf(path, { form: 'prompt-completion' })).toHaveLength(2);
  });

  it('is done for each of several files', async () => {
    const other = join(folder, 'other');
    writeFileSync(other, '{"chosen":"I am a","rejected":"I am b"}\n');
    jsonl([{ prompt: 'Q', chosen: 'a', rejected: 'b' }]);
    const { rows, forms } = await readKind('pair', [path, other]);
    expect(rows.map(({ place, at }) => [place, at])).toEqual([
      [`${path}:1`, `${path}:1`],
      [`${other}:1`, `${other}:1`],
    ]);
    expect(forms.map(({ form }) => form.name)).toEqual(['preference', 'implicit-preference']);
  });

  it('refuses kinds that would lose or invent something', async () => {
    const label = { prompt: 'Q', completion: 'a', label: true };
    await expect(readKind('pair', jsonl([label]))).rejects.toThrow(
      /rows:1: got the form unpaired.*expected rows of the kind pair/,
    );
    await expect(readKind('ranking', jsonl([{ prompt: 'Q', chosen: 'a', rejected: 'b' }]))).rejects.toThrow(DataError);
    await expect(readKind('text', jsonl([{ prompt: 'Q' }]))).rejects.toThrow(DataError);
  });
});

describe('rows', () => {
  it.each([
    [
      'an unknown role',
      { messages: [{ role: 'bot', content: 'a' }] },
      /rows:1: got the role "bot", expected one of system/,
    ],
    [
      'an image',
      { messages: [{ role: 'user', content: [{ type: 'image' }] }] },
      /rows:1: got a message whose content is/,
    ],
  ])('with %s are refused', async (_, record, message) => {
    await expect(rowsOf(jsonl([record]))).rejects.toThrow(message);
  });

  it.each([
    [
      'two equal scores',
      {
        chosen: [{ role: 'user', content: 'a' }],
        rejected: [{ role: 'user', content: 'b' }],
        score_chosen: 1,
        score_rejected: 1,
      },
      'it is a tie',
    ],
    ['no strength', { prompt: 'Q', response_1: 'a', response_2: 'b', preference_strength: 0 }, 'it is a tie'],
    ['equal responses', { prompt: 'Q', chosen: 'a', rejected: 'a' }, 'its responses are equal'],
    ['half a character', { prompt: 'Q\ud800', completion: 'a' }, '"prompt" has a lone surrogate'],
    ['an empty text', { text: ' \n' }, '"text" is empty'],
    [
      'a control question',
      { question: { problem: 'p' }, label: { steps: [{}] }, is_quality_control_question: true },
      'it is a quality control question',
    ],
    [
      'an annotator who gave up',
      { question: { problem: 'p' }, label: { steps: [{}], finish_reason: 'give_up' } },
      'its annotator stopped with give_up',
    ],
    ['more steps than labels', { prompt: 'Q', completions: ['a', 'b'], labels: [true] }, 'it has 2 steps and 1 labels'],
    [
      'a deleted root',
      { ...TREE, prompt: { ...TREE.prompt, deleted: true } },
      'its first message was deleted or rejected',
    ],
    [
      'history',
      { instruction: 'i', output: 'o', history: [['a', 'b']] },
      '"history" is not supported; write it as messages',
    ],
    [
      'dialogues that differ earlier',
      {
        chosen: [
          { role: 'user', content: 'x' },
          { role: 'assistant', content: 'a' },
        ],
        rejected: [
          { role: 'user', content: 'y' },
          { role: 'assistant', content: 'b' },
        ],
      },
      'its dialogues differ before the last message',
    ],
  ])('with %s are skipped with the reason', async (_, record, reason) => {
    expect(await skipsIn(jsonl([record]))).toEqual([reason]);
  });

  it('of a dialogue that does not end with the assistant are prompts', async () => {
    const messages = [{ role: 'user', content: 'Hi' }];
    expect(await rowsOf(jsonl([{ messages, id: 1 }]))).toEqual([{ kind: 'prompt', prompt: messages, meta: { id: 1 } }]);
  });
});

describe('conversions', () => {
  const placed = (...rows: FormRow[]) => rows.map((row, i) => ({ place: `f:${i + 1}`, at: `line ${i + 1}`, row }));

  it('make a ranking all ordered pairs, each with its share of the prompt, and none of ties', () => {
    const ranking: FormRow = {
      kind: 'ranking',
      prompt: 'Q',
      responses: ['a', 'b', 'c'],
      rank: [0, 1, 1],
      meta: { id: 1 },
    };
    const pair = { kind: 'pair', prompt: 'Q', chosen: 'a', weight: 0.5, meta: { id: 1 } };
    const { rows, left } = rowsAs('pair', placed(ranking, { ...ranking, rank: [2, 2, 2] }));
    expect(rows.map(({ row }) => row)).toEqual([
      { ...pair, rejected: 'b' },
      { ...pair, rejected: 'c' },
    ]);
    expect(left).toEqual([{ place: 'f:2', reason: 'all its responses are tied' }]);
  });

  it('make ratings of one prompt a ranking by their mean, without how long or hard a response is', () => {
    const rating = (prompt: string, response: string, good: number, verbosity: number): FormRow => {
      return { kind: 'rating', prompt, response, ratings: { good, sense: 2, verbosity }, meta: {} };
    };
    const rows = placed(rating('Q', 'a', 1, 4), rating('R', 'x', 1, 1), rating('Q', 'b', 3, 0), rating('Q', 'c', 1, 0));
    const { rows: rankings, left } = rowsAs('ranking', rows);
    expect(rankings).toMatchObject([
      { place: 'f:1', row: { prompt: 'Q', responses: ['a', 'b', 'c'], rank: [1, 0, 1] } },
    ]);
    expect(left).toEqual([{ place: 'f:2', reason: 'no other response to its prompt is rated' }]);
  });

  it('make a pair two labels, and every judged row its prompt', () => {
    const pair: FormRow = { kind: 'pair', prompt: 'Q', chosen: 'a', rejected: 'b', meta: { id: 1 } };
    expect(rowsAs('label', placed(pair)).rows.map(({ row }) => [row.response, row.good])).toEqual([
      ['a', true],
      ['b', false],
    ]);
    expect(rowsAs('prompt', placed(pair)).rows.map(({ row }) => row)).toEqual([
      { kind: 'prompt', prompt: 'Q', meta: { id: 1 } },
    ]);
  });
});

describe('trees of Open Assistant', () => {
  it('become messages and trees again with every field, also unknown ones', async () => {
    const messages = await converted(jsonl([TREE]), 'oasst-messages');
    expect(messages).toHaveLength(MESSAGES.length);
    expect(await converted(jsonl(messages.toReversed()), 'oasst-trees')).toEqual([reversed(TREE)]);
    expect(await converted(jsonl(messages), 'oasst-trees')).toEqual([TREE]);
  });

  it('leave out what was deleted or rejected, and keep the fields of every message', async () => {
    const [ranking, prompt] = await rowsOf(jsonl([TREE]));
    expect(ranking).toMatchObject({ meta: { origin: TREE.origin, replies: [{ emojis: { '+1': 2 } }, { rank: 1 }] } });
    expect(prompt).toMatchObject({
      prompt: [{ meta: { detoxify: { toxicity: 0.0004 }, future: TREE.prompt.future } }, {}, {}],
    });
    expect(JSON.stringify([ranking, prompt])).not.toContain('Deleted.');
  });

  const message = (id: string, parent?: string) => ({ message_id: id, parent_id: parent, text: 't', role: 'prompter' });
  it.each([
    ['a parent that is missing', [message('a'), message('b', 'x')], /rows:2: got a parent_id that no message/],
    ['an id twice', [message('a'), message('a')], /rows:2: got the message_id of .*rows:1 again/],
    [
      'a circle',
      [message('a'), message('b', 'c'), message('c', 'b')],
      /rows:2: got a message that is an answer to itself/,
    ],
    [
      'a thousand levels',
      Array.from({ length: 1000 }, (_, i) => message(`${i}`, i === 0 ? undefined : `${i - 1}`)),
      /a tree deeper than 900/,
    ],
  ])('with %s are refused', async (_, messages, problem) => {
    await expect(rowsOf(jsonl(messages))).rejects.toThrow(problem);
  });

  /** The tree with the replies of every message in reverse. */
  function reversed<T>(value: T): T {
    if (Array.isArray(value)) return value.map(reversed) as T;
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value).map(([key, inner]) => {
      return [key, key === 'replies' ? reversed(inner).toReversed() : reversed(inner)];
    });
    return Object.fromEntries(entries);
  }
});

describe('the transcript', () => {
  const turns = [
    { role: 'system' as const, content: 'Be brief.' },
    { role: 'user' as const, content: 'Hi' },
    { role: 'assistant' as const, content: 'Yes?', train: false },
    { role: 'user' as const, content: 'Bye' },
    { role: 'assistant' as const, content: 'Bye.' },
  ];

  it('is that of hh-rlhf, and prompt and response join to it', () => {
    const prompt = renderPrompt(turns.slice(0, 4));
    const response = renderResponse(turns.slice(0, 4), 'Bye.');
    const spans = renderTurns(turns);
    if ('skip' in prompt || 'skip' in response || 'skip' in spans) throw new Error('skipped');
    expect(prompt.use + response.use).toBe(
      '\n\nSystem: Be brief.\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Bye\n\nAssistant: Bye.',
    );
    expect(spans.use.map(({ text }) => text).join('')).toBe(prompt.use + response.use);
    expect(spans.use.filter(({ target }) => target).map(({ text }) => text)).toEqual([' Bye.']);
    expect(renderPrompt('Q:')).toEqual({ use: 'Q:' });
    expect(renderResponse('Q:', 'a')).toEqual({ use: 'a' });
  });

  it('refuses a message that contains a marker', () => {
    const [turn] = [{ role: 'user' as const, content: 'x\n\nAssistant: y' }];
    for (const rendered of [renderPrompt([turn]), renderTurns([turn]), renderResponse([], turn.content)]) {
      expect(rendered).toEqual({ skip: expect.stringContaining('begins a message in the transcript') });
    }
  });
});
