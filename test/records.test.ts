import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { Random } from '../src/data/random.ts';
import { formatOf, parseMap, type Paths, readRecords } from '../src/data/records.ts';
import { DataError, FileError, PalmError } from '../src/errors.ts';
import { mutated } from './faults/mutate.ts';
import { times } from './faults/report.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-records-'));
afterAll(() => rmSync(folder, { recursive: true }));
const fixture = (name: string) => fileURLToPath(new URL(`fixtures/parquet/${name}.parquet`, import.meta.url));

function file(content: string | Uint8Array, name = 'data.txt'): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** The records of some files with the ends of their places. */
async function read(paths: Paths): Promise<[place: string, value: unknown][]> {
  const found: [string, unknown][] = [];
  for await (const { path, place, value } of readRecords(paths)) found.push([place.slice(path.length), value]);
  return found;
}

const ROWS = [
  { prompt: 'Q, "one"?', completion: ' a\nb' },
  { prompt: 'Ü', completion: ' {}[]\\"' },
];
const PLACED = (...places: string[]) => ROWS.map((row, i) => [places[i], row]);

describe('a file is recognised by its content, not its name', () => {
  const lines = ROWS.map((row) => JSON.stringify(row)).join('\n');
  const csv = '\ufeffprompt,completion\r\n"Q, ""one""?"," a\nb"\r\n\r\nÜ," {}[]\\"""\r\n';
  it.each([
    ['JSONL', 'jsonl', lines, [':1', ':2']],
    ['a JSON list', 'json', JSON.stringify(ROWS), [':1', ':1']],
    ['a JSON list over lines', 'json', `\ufeff \n${JSON.stringify(ROWS, null, 2)}\n`, [':3', ':7']],
    ['CSV', 'csv', csv, [':2', ':5']],
  ])('%s', async (_, format, content, places) => {
    for (const bytes of [content, gzipSync(content)]) {
      const path = file(bytes);
      expect(await formatOf(path)).toBe(format);
      expect(await read(path)).toEqual(PLACED(...places));
    }
  });

  it.each(['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4'])(
    'Parquet packed with %s, by row groups',
    async (codec) => {
      const rows = await read(file(readFileSync(fixture(`pairs-${codec}`))));
      expect(rows).toHaveLength(5);
      expect(rows[0]).toEqual([':row 1', { prompt: 'Question 0?', chosen: ' good 0 é', rejected: ' bad 0' }]);
      expect(rows[4]).toEqual([
        ':row 5',
        { prompt: 'Question 4?', chosen: ' good 4 é', rejected: ' bad 4', margin: 2 },
      ]);
    },
  );

  it('Parquet with lists, integers and nulls, which are left out', async () => {
    expect((await read(fixture('messages')))[1]).toEqual([
      ':row 2',
      {
        messages: [
          { role: 'user', content: 'Hi 1' },
          { role: 'assistant', content: 'Hello.', weight: 1 },
        ],
        id: 1e12 + 1,
      },
    ]);
  });
});

describe('several files', () => {
  it('are read in their order, each with its own lines', async () => {
    const [a, b] = [file('{"a":1}\n', 'a'), file('[{"a":2}]', 'b')];
    const found = [];
    for await (const { place, at } of readRecords([b, a, b])) found.push([place, at]);
    expect(found).toEqual([b, a, b].map((path) => [`${path}:1`, `${path}:1`]));
    await expect(read([])).rejects.toThrow(/path: got \[\], expected a path or a list of paths/);
  });
});

describe('large files', () => {
  it('are read with one object in memory at a time, also when packed or in a list', async () => {
    const row = JSON.stringify({ prompt: 'x'.repeat(1000) });
    const list = file(gzipSync(`[${new Array(15_000).fill(row).join(',\n')}]`)); // 15 MB
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    let rows = 0;
    for await (const _ of readRecords(list)) {
      if (++rows % 1000 === 0) most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    expect(rows).toBe(15_000);
    expect(most).toBeLessThan(10e6);
  });

  it.each([
    ['a line', '{"a":1}\n', 2, 'a line'],
    ['an object in a list', '[{"a":1},\n{', 2, 'an object'],
    ['a row of CSV', 'prompt\na\n"', 3, 'a line'],
  ])('are refused where %s is huge', async (_, begin, line, what) => {
    const path = file(begin);
    truncateSync(path, 17 * 2 ** 20);
    await expect(read(path)).rejects.toThrow(`${path}:${line}: got ${what} longer than 16777216 bytes`);
  });
});

describe('what is wrong names file and line', () => {
  it.each([
    ['a list that does not end', '[{"a":1}\n', /:2: got the end of the file, expected a comma or the end of the list/],
    ['half an object', '[{"a":1},\n{"a":', /:2: got the end of the file inside an object/],
    ['no comma', '[{"a":1}\n{"a":1}]', /:2: got "{", expected a comma or the end of the list/],
    ['a comma at the end', '[{"a":1},\n]', /:2: got "\]", expected an object/],
    ['a number in a list', '[{"a":1},\n7]', /:2: got "7", expected an object/],
    ['a list in a list', '[\n[{"a":1}]]', /:2: got "\[", expected an object or the end of the list/],
    ['text after a list', '[{"a":1}]\n\nx', /:3: got "x", expected nothing after the list/],
    ['brackets that do not match', '[{"a":1},\n{"a":[}}]', /:2: got "}}" at character 6/],
    ['too few fields', 'prompt,text\na,b\nc\n', /:3: got 1 fields, expected 2, as in the header/],
    ['a quote inside a field', 'prompt,text\na,b"c"\n', /:2: got "b\\"c\\"" in column 2/],
    ['text after a quote', 'prompt,text\na,"b"c\n', /:2: got .* in column 2/],
    ['an open quote', 'prompt,text\n"a,b\n', /:2: got a quoted field without an end/],
    ['a column twice', 'prompt,prompt\na,b\n', /:1: got .*JSON object|column "prompt" twice/],
    ['bytes that are not UTF-8', Buffer.from('prompt\na\n\xff\n', 'latin1'), /:3: got bytes that are not UTF-8/],
  ])('%s', async (_, content, message) => {
    const error = await read(file(content)).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(DataError);
    expect((error as DataError).message).toMatch(message);
  });

  it('gzip that was cut off, and damaged Parquet', async () => {
    const packed = gzipSync('{"a":1}\n'.repeat(1000));
    await expect(read(file(packed.subarray(0, packed.length - 9)))).rejects.toThrow(
      /gzip data that cannot be unpacked/,
    );
    const whole = readFileSync(fixture('pairs-snappy'));
    await expect(read(file(whole.subarray(0, -20)))).rejects.toThrow(/data\.txt: got a file that cannot be read/);
    const page = Buffer.from(whole);
    page.fill(0xff, 4, 40);
    await expect(read(file(page))).rejects.toThrow(/data\.txt:row 1: got a file that cannot be read/);
  });

  it('a Parquet page whose header claims 2^31 entries, which the library would count', async () => {
    await expect(read(fixture('endless'))).rejects.toThrow(/endless\.parquet:row 3: got a file that cannot be read/);
  });

  it('a missing file, a folder', async () => {
    await expect(read(join(folder, 'none'))).rejects.toThrow(FileError);
    await expect(read(folder)).rejects.toThrow(/got a folder/);
  });

  it('names that are no map', () => {
    expect(parseMap('chosen=better, rejected=worse')).toEqual({ chosen: 'better', rejected: 'worse' });
    for (const wrong of ['chosen', 'chosen=', '=b', 'a=b=c', '']) expect(() => parseMap(wrong)).toThrow(/map: got/);
  });
});

describe('changed at random', () => {
  const originals: [string, Buffer][] = [
    ['a JSON list', Buffer.from(JSON.stringify(ROWS, null, 1))],
    ['CSV', Buffer.from('prompt,completion\n"a ""b"", c",d\ne,"f\ng"\n')],
    ['gzip', gzipSync(ROWS.map((row) => JSON.stringify(row)).join('\n'))],
    ['Parquet', readFileSync(fixture('pairs-snappy'))],
    ['Parquet with lists', readFileSync(fixture('messages'))],
  ];
  it.each(originals)('%s is read or refused, soon', { timeout: 600_000 }, async (_, original) => {
    const random = new Random(5);
    const count = times(40, 4000);
    let good = 0;
    for (let i = 0; i < count; i++) {
      const content = mutated(original, random);
      const before = process.cpuUsage();
      try {
        await read(file(content));
        good++;
      } catch (error) {
        if (!(error instanceof PalmError)) throw new Error(content.toString('hex'), { cause: error });
      }
      const { user, system } = process.cpuUsage(before);
      if (user + system > 2e6) throw new Error(`${(user + system) / 1e6} s for ${content.toString('hex')}`);
    }
    expect(good).toBeLessThan(count);
  });
});
