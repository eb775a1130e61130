import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { Batches } from '../src/data/batches.ts';
import { splitDialogue } from '../src/data/dialogue.ts';
import { loadDocuments } from '../src/data/documents.ts';
import { holdOutPrompts } from '../src/data/hold-out.ts';
import { kindOfText, readJsonl } from '../src/data/jsonl.ts';
import { loadPreferences } from '../src/data/preferences.ts';
import { loadPreferencesV1 } from '../src/data/preferences-v1.ts';
import { loadPrompts, padRight } from '../src/data/prompts.ts';
import { deriveSeed, Random } from '../src/data/random.ts';
import { holdOut, loadText } from '../src/data/text.ts';
import { ArgumentError, DataError, FileError, ShapeError } from '../src/errors.ts';
import { ByteTokenizer } from '../src/tokenizer/byte.ts';
import type { Tokenizer } from '../src/tokenizer/tokenizer.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-data-'));
afterAll(() => rmSync(folder, { recursive: true }));
const bytes = new ByteTokenizer();

function file(content: string | Uint8Array): string {
  const path = join(folder, 'data');
  writeFileSync(path, content);
  return path;
}

const jsonl = (rows: unknown[]): string => file(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

async function lines(content: string | Uint8Array): Promise<[number, unknown][]> {
  const found: [number, unknown][] = [];
  for await (const { line, value } of readJsonl(file(content))) found.push([line, value]);
  return found;
}

describe('readJsonl', () => {
  it('reads line by line, skipping blank lines, CRLF, a byte order mark and a missing last newline', async () => {
    const content = '\ufeff{"a":1}\r\n\n  \n{"a":"x\u2028y"}\r\n{"a":"\ufeff"}';
    expect(await lines(content)).toEqual([
      [1, { a: 1 }],
      [4, { a: 'x\u2028y' }],
      [5, { a: '\ufeff' }],
    ]);
  });

  it('accepts a byte order mark at the start of every line, as in concatenated files (bom-inside-file)', async () => {
    expect(await lines('{"a":1}\n\ufeff{"a":"\ufeff2"}\n')).toEqual([
      [1, { a: 1 }],
      [2, { a: '\ufeff2' }],
    ]);
    await expect(lines('{"a":1}\n{"a"\ufeff:2}\n')).rejects.toMatchObject({
      code: 'ERR_DATA',
      received: expect.stringContaining('\\ufeff'),
    });
  });

  it('recognises a compressed file by its first bytes (data-by-file-name)', async () => {
    const packed: [string, Buffer][] = [
      ['gzip', gzipSync('{"a":1}\n')],
      ['zstd', Buffer.from('28b52ffd2008', 'hex')],
      ['xz', Buffer.from('fd377a585a000004', 'hex')],
      ['bzip2', Buffer.from('425a683931415926535994', 'hex')],
      ['zip', Buffer.from('504b0304140000080800ff', 'hex')],
      ['parquet', Buffer.from('5041523115fe', 'hex')],
    ];
    for (const [name, content] of packed) {
      const error = { received: expect.stringContaining(name), fix: expect.stringMatching(/Unpack|JSONL/) };
      await expect(lines(content)).rejects.toMatchObject({ code: 'ERR_DATA', ...error });
      await expect(loadText(file(content), bytes)).rejects.toMatchObject({ code: 'ERR_FILE', ...error });
    }
  });

  it('is distinguished from text by the file name or the first line (data-by-file-name)', async () => {
    const kind = async (name: string, content: string) => {
      const path = join(folder, name);
      writeFileSync(path, content);
      return await kindOfText(path, 'chosen');
    };
    for (const name of ['a.jsonl', 'a.ndjson', 'a.json', 'a.JSONL'])
      expect(await kind(name, '{"text":"a"}')).toBe('rows');
    expect(await kind('a.txt', '\ufeff\n {"chosen":"a"}\r\n')).toBe('rows');
    for (const text of ['{"text":"a"}\n{"text":"b"}', '[{"chosen":"a"}]', '[\n{"chosen":"a"}]', '{\n"chosen":"a"}']) {
      expect(await kind('a.txt', text)).toBe('text like rows');
    }
    for (const text of [
      'To be',
      '',
      '{To be}',
      '[Enter HAMLET]\n',
      '"To be"',
      '7',
      `{"chosen":"${'a'.repeat(3e6)}"}`,
    ]) {
      expect(await kind('a.txt', text)).toBe('text');
    }
  });

  it('accepts an empty file', async () => {
    expect(await lines('')).toEqual([]);
  });

  it('reads lines and characters that span two chunks', async () => {
    const rows = Array.from({ length: 300 }, (_, i) => ({ text: `${i} ${'äöü😀'.repeat(i * 3)}` }));
    const found = await lines(rows.map((row) => JSON.stringify(row)).join('\n'));
    expect(found.map(([, value]) => value)).toEqual(rows);
  });

  it.each([
    ['half an object', '{}\n{"a":\n', /data:2: got .*, expected a JSON object\. Write one JSON object per line/],
    ['a list', '\n[1,2]', /data:2: got \[1, 2\]/],
    ['a number', '7', /data:1: got 7/],
    ['null', 'null', /data:1: got null/],
    ['two objects', '{}{}', /data:1: got/],
    ['other bytes', Buffer.from([0x7b, 0x7d, 0x0a, 0xff]), /data:2: got bytes that are not UTF-8/],
    ['a NUL', '{"a":"\0"}', /data:1: got "\\u0000.*" at character 6, expected a JSON object/],
    ['a key twice', '{"a":1,"b":{"a":1},"a":2}', /data:1: got a duplicate key at character 19/],
    ['a key twice, once escaped', '{"a":1,"\\u0061":2}', /data:1: got a duplicate key/],
    ['nesting', `{}\n{"a":${'['.repeat(100_000)}`, /data:2: got nesting deeper than 1000 at character 1004/],
    ['a million values', `{"a":[${'{},'.repeat(1e6)}0]}`, /data:1: got too many values at character/],
    ['UTF-16', Buffer.from('{"a":1}', 'utf16le'), /data:1: got /],
    [
      'half a character',
      Buffer.concat([Buffer.from('{}\n{"a":"'), Buffer.from([0xe2, 0x82])]),
      /data:2: .*starting at byte 6/,
    ],
  ])('refuses %s, naming file and line', async (_, content, message) => {
    const error = await lines(content).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(DataError);
    expect((error as DataError).message).toMatch(message);
  });

  it('refuses missing paths and anything but regular files', async () => {
    await expect(readJsonl(join(folder, 'none')).next()).rejects.toThrow(FileError);
    await expect(readJsonl(folder).next()).rejects.toThrow(/got a folder/);
    await expect(readJsonl('/dev/zero').next()).rejects.toThrow(/pipe, socket or device/);
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await expect(readJsonl(pipe).next()).rejects.toThrow(/a pipe.*Save it to a file first/);
  });

  it('refuses a line of 100 MB, naming the line', async () => {
    const path = file('{}\n');
    truncateSync(path, 1e8);
    const reading = readJsonl(path);
    expect((await reading.next()).value).toEqual({ line: 1, value: {} });
    await expect(reading.next()).rejects.toThrow(/data:2: got a line longer than 16777216 bytes/);
  });

  it('ignores data appended while it reads, and refuses a file that shrinks', async () => {
    const path = file('{"a":1}\n'.repeat(50_000)); // more than is read at once
    let count = 0;
    for await (const { line } of readJsonl(path)) {
      if (line === 1) appendFileSync(path, '{"a":2}\n'.repeat(100));
      count++;
    }
    expect(count).toBe(50_000);
    const shrinking = readJsonl(path);
    await shrinking.next();
    truncateSync(path, 16);
    const rest = async () => {
      for await (const _ of shrinking);
    };
    await expect(rest()).rejects.toThrow(/data: got end of file at byte \d+, expected the 400800 bytes/);
  });

  it('treats keys such as __proto__ as ordinary keys', async () => {
    const [[, value] = []] = await lines('{"__proto__":{"polluted":1},"constructor":1,"toString":2}');
    expect(Object.keys(value as object)).toEqual(['__proto__', 'constructor', 'toString']);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});

describe('loadText', () => {
  it('returns one array of tokens, without the byte order mark', async () => {
    expect([...(await loadText(file('\ufeffé\r\n'), bytes))]).toEqual([0xc3, 0xa9, 13, 10]);
  });

  it('never splits a character when encoding many megabytes in pieces', async () => {
    const emoji = `a${'😀'.repeat(2 ** 23)}`; // one line, with half an emoji at 2^24
    const content = Buffer.from(`${emoji}\nend`);
    const tokens = await loadText(file(content), bytes);
    expect(Buffer.compare(Buffer.from(Uint8Array.from(tokens)), content)).toBe(0);
  });

  it.each([
    ['nothing', '', /got no text/],
    ['other bytes', Buffer.from([0x61, 0xff]), /not UTF-8, starting at byte 1.*iconv/],
    ['UTF-16', Buffer.from('abc', 'utf16le'), /a NUL at character 1.*UTF-16/],
  ])('refuses %s', async (_, content, message) => {
    await expect(loadText(file(content), bytes)).rejects.toThrow(FileError);
    await expect(loadText(file(content), bytes)).rejects.toThrow(message);
  });

  it('refuses files that are too large, and anything but regular files', async () => {
    const path = file('a');
    truncateSync(path, 2 ** 40);
    await expect(loadText(path, bytes)).rejects.toThrow(/1099511627776 bytes, expected at most/);
    await expect(loadText('/dev/zero', bytes)).rejects.toThrow(/pipe, socket or device/);
  });

  it('holds out the end of the text', () => {
    const { train, validation } = holdOut(Int32Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), 0.1);
    expect([train.length, ...validation]).toEqual([10, 11]);
    expect(holdOut(train, 0).validation.length).toBe(0);
    for (const wrong of [1, -0.1, Number.NaN]) expect(() => holdOut(train, wrong)).toThrow(ArgumentError);
  });
});

describe('dialogues', () => {
  const asked = '\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Why?\n\nAssistant:';

  it.each([
    ['at the last answer that both share', `${asked} A.`, `${asked} B.`, asked, ' A.', ' B.'],
    [
      'at the last shared answer when one goes on longer',
      `${asked} A.`,
      `${asked} B.\n\nHuman: No\n\nAssistant: C.`,
      asked,
      ' A.',
      ' B.\n\nHuman: No\n\nAssistant: C.',
    ],
    [
      'at an earlier answer when the last question differs',
      '\n\nHuman: Hi\n\nAssistant: A\n\nHuman: X\n\nAssistant: B',
      '\n\nHuman: Hi\n\nAssistant: A\n\nHuman: Y\n\nAssistant: C',
      '\n\nHuman: Hi\n\nAssistant:',
      ' A\n\nHuman: X\n\nAssistant: B',
      ' A\n\nHuman: Y\n\nAssistant: C',
    ],
    ['at white space otherwise', 'I like cats', 'I like cars', 'I like', ' cats', ' cars'],
    ['before all of the white space', 'Q:\n\n  Yes', 'Q:\n\n  No', 'Q:', '\n\n  Yes', '\n\n  No'],
    [
      'at white space when the marker is not whole',
      'A b\n\nAssist: x',
      'A b\n\nAssis: x',
      'A b',
      '\n\nAssist: x',
      '\n\nAssis: x',
    ],
  ])('are split %s', (_, chosen, rejected, prompt, good, bad) => {
    expect(splitDialogue(chosen, rejected)).toEqual({ prompt, chosen: good, rejected: bad });
  });

  it.each([
    ['equal', `${asked} A.`, `${asked} A.`],
    ['without an answer', asked, `${asked} A.`],
    ['with a blank answer', `${asked}  \n`, `${asked} A.`],
    ['with nothing in common', 'Yes.', 'No.'],
    ['with no white space in common', 'Yes', 'Yesterday'],
    ['empty', '', ''],
  ])('are not split if %s', (_, chosen, rejected) => {
    expect(splitDialogue(chosen, rejected)).toBeUndefined();
  });
});

describe('preferences', () => {
  const text = (tokens: number[]) => bytes.decode(tokens);
  const texts = (pair: { prompt: number[]; chosen: number[]; rejected: number[] } | undefined) =>
    pair && [text(pair.prompt), text(pair.chosen), text(pair.rejected)];

  it('are read from rows with and without a prompt', async () => {
    const path = jsonl([
      { prompt: 'Q', chosen: ' yes', rejected: ' no', id: 7 },
      { chosen: 'H\n\nAssistant: a', rejected: 'H\n\nAssistant: b' },
    ]);
    const { pairs, skipped } = await loadPreferences(path, bytes, { maxLength: 100 });
    expect(pairs.map(texts)).toEqual([
      ['Q', ' yes', ' no'],
      ['H\n\nAssistant:', ' a', ' b'],
    ]);
    expect(skipped).toEqual([]);
  });

  it('skip unusable rows, naming file, line and reason', async () => {
    const path = jsonl([
      { prompt: 'Q', chosen: 'a', rejected: 'b' },
      { prompt: 'Q', chosen: 'a' },
      { prompt: 'Q', chosen: 'a', rejected: 3 },
      { prompt: null, chosen: 'a', rejected: 'b' },
      { prompt: 'Q', chosen: 'a', rejected: 'a' },
      { prompt: 'Q', chosen: 'a', rejected: ' \n' },
      { prompt: '', chosen: 'a', rejected: 'b' },
      { chosen: 'same', rejected: 'same' },
      { chosen: 'left', rejected: 'right' },
      { rejected: 'b' },
      {},
    ]);
    const { pairs, skipped } = await loadPreferences(path, bytes, { maxLength: 100 });
    expect(pairs.length).toBe(1);
    expect(skipped).toEqual(
      [
        '"rejected" is missing',
        '"rejected" is not a string',
        '"prompt" is not a string',
        'its responses are equal',
        '"rejected" is empty',
        '"prompt" is empty',
        'its dialogues are equal',
        'its dialogues share no prompt, or one has no response',
        '"chosen" is missing',
        '"chosen" is missing',
      ].map((reason, i) => ({ place: `${path}:${i + 2}`, reason })),
    );
  });

  it.each([
    [{ maxLength: 16 }, ['prompt', ' chosen', ' no']],
    [{ maxLength: 16, maxPromptLength: 3 }, ['mpt', ' chosen', ' no']],
    [{ maxLength: 10 }, ['mpt', ' chosen', ' no']],
    [{ maxLength: 7 }, ['pt', ' chos', ' no']],
    [{ maxLength: 3 }, ['t', ' c', ' n']],
  ])(
    'with limits %j are truncated at the start of the prompt, then at the end of the responses',
    async (limits, expected) => {
      const path = jsonl([{ prompt: 'prompt', chosen: ' chosen', rejected: ' no' }]);
      const { pairs } = await loadPreferences(path, bytes, limits);
      expect(texts(pairs[0])).toEqual(expected);
    },
  );

  const EOS = bytes.eosToken;
  const long = (i: number) => ({
    prompt: `${i}. ${'Tell me more about it. '.repeat(20)}\n\nAssistant:`,
    chosen: ` good ${'Good. '.repeat(100)}`,
    rejected: ` bad ${'Bad. '.repeat(i % 2 === 0 ? 100 : 2)}`,
  });

  it('end with the eos only if the response is complete, and keep a third for the prompt (pref-cut-silently)', async () => {
    const path = jsonl(Array.from({ length: 20 }, (_, i) => long(i)));
    const { pairs, skipped, cut } = await loadPreferences(path, bytes, { maxLength: 256 });
    expect(skipped).toEqual([]);
    expect(pairs).toHaveLength(20);
    expect(cut).toEqual({ prompts: 20, responses: 20 });
    for (const [i, { prompt, chosen, rejected }] of pairs.entries()) {
      expect(prompt).toHaveLength(85);
      expect(chosen).toHaveLength(256 - 85);
      expect(chosen).not.toContain(EOS);
      expect(rejected.at(-1) === EOS).toBe(i % 2 === 1);
    }
  });

  it('keep as much of the prompt as the responses leave room for, up to maxPromptLength', async () => {
    const path = jsonl([{ ...long(0), chosen: ' yes', rejected: ' no' }]);
    const whole = await loadPreferences(path, bytes, { maxLength: 256 });
    expect(whole.pairs[0]?.prompt).toHaveLength(256 - ' yes'.length - 1);
    expect(whole.pairs[0]?.chosen).toEqual([...bytes.encode(' yes'), EOS]);
    expect(whole.cut).toEqual({ prompts: 1, responses: 0 });
    const short = await loadPreferences(path, bytes, { maxLength: 256, maxPromptLength: 30 });
    expect(short.pairs[0]?.prompt).toHaveLength(30);
  });

  it('never exceed the limits, and count what was truncated', async () => {
    const path = jsonl(Array.from({ length: 12 }, (_, i) => ({ ...long(i), chosen: ' y'.repeat(1 + i * 7) })));
    for (let maxLength = 9; maxLength < 160; maxLength += 3) {
      const { pairs, cut } = await loadPreferences(path, bytes, { maxLength });
      const lengths = pairs.flatMap(({ prompt, chosen, rejected }) =>
        [chosen, rejected].map((response) => prompt.length + response.length),
      );
      expect(Math.max(...lengths)).toBeLessThanOrEqual(maxLength);
      expect(Math.min(...pairs.map(({ prompt }) => prompt.length))).toBeGreaterThanOrEqual(Math.floor(maxLength / 3));
      const unended = pairs.filter((pair) => pair.chosen.at(-1) !== EOS || pair.rejected.at(-1) !== EOS);
      expect(cut.responses).toBe(unended.length);
    }
  });

  it('encode responses as continuations of their prompts, as documents do (sentencepiece-joined-space)', async () => {
    const spaced: Tokenizer = {
      ...bytes,
      vocabSize: bytes.vocabSize,
      encode: (text, { continues = false } = {}) => bytes.encode(continues ? text : ` ${text}`),
      decode: (tokens) => bytes.decode(tokens).replace(/^ /, ''),
      describe: () => ({ type: 'byte' }),
    };
    const path = jsonl([
      { chosen: '\n\nHuman: Is it?\n\nAssistant: Yes it is.', rejected: '\n\nHuman: Is it?\n\nAssistant: No.' },
      { prompt: 'Q: 2+2=', chosen: '4', rejected: '5' },
    ]);
    const whole = ['\n\nHuman: Is it?\n\nAssistant: Yes it is.', 'Q: 2+2=4'];
    const { pairs } = await loadPreferences(path, spaced, { maxLength: 100 });
    expect(pairs.map(({ prompt, chosen }) => spaced.decode([...prompt, ...chosen]))).toEqual(whole);
    const { tokens } = await loadDocuments(path, spaced);
    expect(spaced.decode(tokens)).toBe(`${whole[0]} ${whole[1]}`); // the second prompt begins a text
  });

  it('are compared before truncation (pref-cut-rows-contradict)', async () => {
    const [yes, no] = [` Yes. ${'It is so. '.repeat(40)}`, ` No. ${'It is not so. '.repeat(40)}`];
    const path = jsonl([
      { prompt: `Is the sun hot?${' '.repeat(200)}\n\nAssistant:`, chosen: yes, rejected: no },
      { prompt: `Is ice hot?${' '.repeat(200)}\n\nAssistant:`, chosen: no, rejected: yes },
      { prompt: `Is fire hot?${' '.repeat(200)}\n\nAssistant:`, chosen: yes, rejected: no },
    ]);
    const { pairs, skipped } = await loadPreferences(path, bytes, { maxLength: 256 });
    expect([pairs.length, skipped]).toEqual([3, []]);
  });

  it('of a run started by 0.1.0 equal those of that version', async () => {
    const path = jsonl([long(0), long(2), { prompt: 'Q', chosen: 'a', rejected: 'b' }]);
    const { pairs, skipped } = await loadPreferencesV1(path, bytes, { maxLength: 256, maxPromptLength: 96 });
    expect(pairs.map(({ prompt, chosen }) => [prompt.length, chosen.length, chosen.at(-1)])).toEqual([
      [1, 255, EOS],
      [1, 2, EOS],
    ]);
    expect(skipped).toEqual([{ place: `${path}:2`, reason: 'it duplicates line 1' }]);
  });

  it('are skipped if truncation makes them equal, and an empty result is an error', async () => {
    const path = jsonl([{ prompt: 'prompt', chosen: ' chosen', rejected: ' no' }]);
    const none = loadPreferences(path, bytes, { maxLength: 2 });
    await expect(none).rejects.toThrow(/1 unusable row, the first because its responses are equal in the 1 tokens/);
    await expect(loadPreferences(file('\n'), bytes, { maxLength: 9 })).rejects.toThrow(
      /got no rows, expected at least one/,
    );
    await expect(loadPreferences(path, bytes, { maxLength: 1 })).rejects.toThrow(
      /maxLength: got 1, expected an integer/,
    );
  });

  it('drop duplicates, and all rows that contradict each other', async () => {
    const path = jsonl([
      { prompt: 'Q', chosen: 'a', rejected: 'b' },
      { prompt: 'Q', chosen: 'a', rejected: 'b', by: 'another' },
      { prompt: 'Q', chosen: 'b', rejected: 'c' },
      { prompt: 'R', chosen: 'a', rejected: 'b' },
      { prompt: 'Q', chosen: 'c', rejected: 'b' },
      { prompt: 'Q', chosen: 'b', rejected: 'c' },
      { prompt: 'Q', chosen: 'a', rejected: 'b' },
    ]);
    const { pairs, skipped } = await loadPreferences(path, bytes, { maxLength: 100 });
    expect(pairs.map(texts)).toEqual([
      ['Q', 'a', 'b'],
      ['R', 'a', 'b'],
    ]);
    expect(skipped.map(({ place, reason }) => [place.slice(path.length), reason])).toEqual([
      [':2', 'it duplicates line 1'],
      [':3', 'line 5 prefers the other response'],
      [':5', 'line 3 prefers the other response'],
      [':6', 'line 5 prefers the other response'],
      [':7', 'it duplicates line 1'],
    ]);
  });

  it('are refused if none is left: a ranking of one, or only ties, duplicates and contradictions', async () => {
    const path = jsonl([
      { prompt: 'Q', chosen: 'a' },
      { prompt: 'Q', chosen: 'a', rejected: 'a' },
      { prompt: 'Q', chosen: 'a', rejected: 'b' },
      { prompt: 'Q', chosen: 'b', rejected: 'a' },
      { prompt: 'Q', chosen: '\ud800', rejected: 'a' },
    ]);
    await expect(loadPreferences(path, bytes, { maxLength: 9 })).rejects.toThrow(
      /got 5 unusable rows, the first because "rejected" is missing, expected at least one usable row/,
    );
  });

  it('with a lone surrogate are skipped', async () => {
    const path = jsonl([
      { prompt: 'Q', chosen: 'a', rejected: 'b' },
      { prompt: 'Q\udc00', chosen: 'a', rejected: 'c' },
    ]);
    const { skipped } = await loadPreferences(path, bytes, { maxLength: 9 });
    expect(skipped).toEqual([{ place: `${path}:2`, reason: '"prompt" has a lone surrogate' }]);
  });

  it('with malformed JSON are an error', async () => {
    await expect(loadPreferences(file('{}\n{'), bytes, { maxLength: 9 })).rejects.toThrow(DataError);
  });
});

describe('holdOutPrompts', () => {
  /** K-way rankings as pairs: every two of `answers` answers to each of `prompts` prompts. */
  const kWay = (prompts: number, answers: number) =>
    Array.from({ length: prompts }, (_, prompt) =>
      Array.from({ length: answers }, (_, a) =>
        Array.from({ length: a }, (_, b) => ({
          prompt: `${prompt}? ${'why '.repeat(90)}`,
          chosen: ` answer ${'!'.repeat(a * 20)}${a}`,
          rejected: ` answer ${b}`,
        })),
      ).flat(),
    ).flat();

  it.each([0, 1, 2, 7])('keeps all pairs of a prompt on one side, seed %d', async (seed) => {
    const rows = kWay(40, 5);
    const { pairs, groups } = await loadPreferences(jsonl(rows), bytes, { maxLength: 256 });
    expect(new Set(groups).size).toBe(40);
    const { train, validation } = holdOutPrompts(
      pairs.map((_, i) => i),
      groups,
      { fraction: 0.05, seed },
    );
    expect([train.length, validation.length]).toEqual([380, 20]);
    const learned = new Set(train.map((i) => rows[i]?.prompt));
    expect(validation.filter((i) => learned.has(rows[i]?.prompt))).toEqual([]);
  });

  it('depends only on the seed, draws from all rows and keeps their order', () => {
    const rows = Array.from({ length: 1000 }, (_, i) => i);
    const held = (seed: number) => holdOutPrompts(rows, rows, { fraction: 0.1, seed }).validation;
    expect(held(3)).toEqual(held(3));
    expect(held(3)).not.toEqual(held(4));
    expect(held(3)).toHaveLength(100);
    expect([...held(3)].sort((a, b) => a - b)).toEqual(held(3));
    expect(held(3).filter((i) => i < 500).length).toBeGreaterThan(30);
    expect(held(3).filter((i) => i < 500).length).toBeLessThan(70);
  });

  it('takes a prompt with more rows than requested if there is no smaller one, but never all prompts', () => {
    const rows = Array.from({ length: 100 }, (_, i) => i);
    const tens = rows.map((i) => Math.floor(i / 10));
    expect(holdOutPrompts(rows, tens, { fraction: 0.05, seed: 1 }).validation).toHaveLength(10);
    const one = rows.map(() => 0);
    expect(holdOutPrompts(rows, one, { fraction: 0.5, seed: 1 })).toEqual({ train: rows, validation: [] });
    expect(holdOutPrompts(rows, rows, { fraction: 0, seed: 1 }).validation).toEqual([]);
    expect(holdOutPrompts([], [], { fraction: 0.5, seed: 1 })).toEqual({ train: [], validation: [] });
  });

  it('refuses bad fractions, and groups that do not match the rows', () => {
    for (const fraction of [-0.1, 1, Number.NaN]) {
      expect(() => holdOutPrompts([1], [1], { fraction, seed: 0 })).toThrow(ArgumentError);
    }
    expect(() => holdOutPrompts([1, 2], [1], { fraction: 0.5, seed: 0 })).toThrow(ShapeError);
  });
});

describe('prompts', () => {
  it('are counted if they are truncated', async () => {
    const path = jsonl([{ prompt: 'abcdef' }, { prompt: 'abcd' }, { prompt: 'abcde' }]);
    expect((await loadPrompts(path, bytes, { maxPromptLength: 4 })).cut).toBe(2);
  });

  it('are read from every kind of row and truncated on the left', async () => {
    const path = jsonl([
      { prompt: 'abcdef' },
      { prompt: 'uvw', chosen: 'x', rejected: 'x' },
      { chosen: 'H\n\nAssistant: a', rejected: 'H\n\nAssistant: b' },
      { prompt: '' },
      { text: 'x' },
      { prompt: 5 },
      { chosen: 'a', rejected: 'b' },
    ]);
    const { prompts, skipped } = await loadPrompts(path, bytes, { maxPromptLength: 4 });
    expect(prompts.map((tokens) => bytes.decode(tokens))).toEqual(['cdef', 'uvw', 'ant:']);
    expect(skipped.map(({ place, reason }) => [place.slice(path.length), reason])).toEqual([
      [':4', '"prompt" is empty'],
      [':5', '"prompt" is missing'],
      [':6', '"prompt" is not a string'],
      [':7', 'its dialogues share no prompt, or one has no response'],
    ]);
    await expect(loadPrompts(path, bytes, { maxPromptLength: 0 })).rejects.toThrow(ArgumentError);
  });

  it('are padded on the right', () => {
    const { tokens, shape, lengths } = padRight([[1, 2, 3], [4], [5, 6]], 9);
    expect([...tokens]).toEqual([1, 2, 3, 4, 9, 9, 5, 6, 9]);
    expect(shape).toEqual([3, 3]);
    expect([...lengths]).toEqual([3, 1, 2]);
  });

  it('are refused if they are empty', () => {
    expect(() => padRight([], 0)).toThrow(ShapeError);
    expect(() => padRight([[1], []], 0)).toThrow(/rows\[1\]: got an empty row/);
  });
});

describe('batches', () => {
  const take = (batches: Batches, count: number) => Array.from({ length: count }, () => batches.next());

  it('hold every index once per epoch, in a different order each time', () => {
    const all = take(new Batches({ size: 10, batchSize: 4, seed: 1 }), 15).flat();
    const epochs = [0, 1, 2, 3, 4, 5].map((epoch) => all.slice(10 * epoch, 10 * epoch + 10));
    for (const epoch of epochs) expect([...epoch].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(new Set(epochs.map(String)).size).toBe(6);
  });

  it('depend only on the seed', () => {
    const first = (seed: number) => take(new Batches({ size: 50, batchSize: 8, seed }), 20);
    expect(first(5)).toEqual(first(5));
    expect(first(5)).not.toEqual(first(6));
    expect(first(0)[0]).toEqual([7, 36, 17, 43, 1, 3, 23, 20]);
  });

  it('continue from any saved state', () => {
    const options = { size: 7, batchSize: 3, seed: 2 };
    const straight = new Batches(options);
    for (let i = 0; i < 20; i++) {
      const resumed = new Batches(options);
      resumed.restore(JSON.parse(JSON.stringify(straight.state())));
      const expected = straight.next();
      expect(resumed.next()).toEqual(expected);
      expect(resumed.state()).toEqual(straight.state());
    }
  });

  it.each([
    [7, 3],
    [6, 3],
    [2, 5],
    [1, 1],
  ])('skip exactly as many of %i indices as next() would consume, %i at a time', (size, batchSize) => {
    for (let first = 0; first < 4; first++) {
      for (let count = 0; count < 15; count++) {
        const [skipped, straight] = [0, 1].map(() => new Batches({ size, batchSize, seed: 3 })) as [Batches, Batches];
        take(skipped, first);
        skipped.skip(count);
        take(straight, first + count);
        expect(take(skipped, 4)).toEqual(take(straight, 4));
        expect(skipped.state()).toEqual(straight.state());
      }
    }
    const batches = new Batches({ size, batchSize, seed: 3 });
    expect(() => batches.skip(-1)).toThrow(/batches: got -1/);
    expect(() => batches.skip(0.5)).toThrow(ArgumentError);
  });

  it('may be larger than an epoch', () => {
    const batches = new Batches({ size: 2, batchSize: 5, seed: 0 });
    expect(batches.next().length).toBe(5);
    expect(batches.state()).toEqual({ epoch: 2, position: 1 });
  });

  it('refuse invalid sizes and states', () => {
    expect(() => new Batches({ size: 0, batchSize: 1, seed: 0 })).toThrow(
      /size: got 0, expected an integer of at least 1/,
    );
    expect(() => new Batches({ size: 1, batchSize: 1.5, seed: 0 })).toThrow(ArgumentError);
    expect(() => new Batches({ size: 1, batchSize: 1, seed: -1 })).toThrow(/seed: got -1/);
    const batches = new Batches({ size: 3, batchSize: 1, seed: 0 });
    expect(() => batches.restore({ epoch: 0, position: 4 })).toThrow(
      /position: got 4, expected an integer from 0 to 3/,
    );
    expect(() => batches.restore({ epoch: -1, position: 0 })).toThrow(ArgumentError);
  });
});

describe('random numbers', () => {
  it('are those of xoshiro128**', () => {
    // From the C source of its authors, seeded with 1, 2, 3, 4: 11520, 0, 5927040, 70819200.
    const random = new Random(0);
    random.restore([1, 2, 3, 4]);
    const number = (high: number, low: number) => ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
    expect(random.next()).toBe(number(11520, 0));
    expect(random.next()).toBe(number(5927040, 70819200));
  });

  it('are uniformly distributed', () => {
    const random = new Random(9);
    const counts = new Array(10).fill(0);
    let sum = 0;
    for (let i = 0; i < 100_000; i++) {
      counts[random.int(10)]++;
      sum += random.next();
    }
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500); // five standard deviations
    expect(Math.abs(sum / 100_000 - 0.5)).toBeLessThan(0.005);
  });

  it('continue from a saved state', () => {
    const random = new Random(2 ** 53 - 1);
    random.next();
    const other = new Random(0);
    other.restore(random.state());
    expect(other.next()).toBe(random.next());
    for (const wrong of [
      [0, 0, 0, 0],
      [1, 2, 3],
      [1, 2, 3, -1],
      [1, 2, 3, 2 ** 32],
    ]) {
      expect(() => other.restore(wrong)).toThrow(ArgumentError);
    }
  });

  it('shuffle into every order with equal probability', () => {
    const counts = new Map<string, number>();
    const random = new Random(4);
    for (let i = 0; i < 6000; i++) {
      const order = random.shuffle([0, 1, 2]).join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});

describe('derived seeds', () => {
  it('differ for every seed, part and order, over the whole range', () => {
    const seeds = new Set<number>();
    for (let seed = 0; seed < 50; seed++) {
      for (let part = 0; part < 50; part++) seeds.add(deriveSeed(seed, part)).add(deriveSeed(seed, part, 0));
      seeds.add(deriveSeed(seed)).add(deriveSeed(seed * 2 ** 32 + 77));
    }
    expect(seeds.size).toBe(5100);
    const values = [...seeds];
    expect(values.every((seed) => Number.isSafeInteger(seed) && seed >= 0)).toBe(true);
    expect(Math.max(...values)).toBeGreaterThan(0.99 * 2 ** 53);
    for (const bit of [0, 1, 7, 31, 32, 40, 52]) {
      const share = values.filter((seed) => Math.floor(seed / 2 ** bit) % 2 === 1).length / values.length;
      expect(Math.abs(share - 0.5)).toBeLessThan(0.04);
    }
  });

  it('never change between versions', () => {
    expect([deriveSeed(0), deriveSeed(0, 1), deriveSeed(2 ** 53 - 1, 2, 3)]).toEqual([
      8874959688031068, 5623157546412607, 2693124313690440,
    ]);
  });

  it.each([[-1], [0.5], [2 ** 53], [Number.NaN]])('refuse the seed %d', (seed) => {
    expect(() => deriveSeed(seed)).toThrow(ArgumentError);
    expect(() => deriveSeed(0, seed)).toThrow(ArgumentError);
  });
});
