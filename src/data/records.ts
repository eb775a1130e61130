/** The records of files of any format, recognised by what is in them, with one record in memory at a time. */
import { ArgumentError, DataError, printable } from '../errors.ts';
import { checkKind, type Kind, PATH } from '../checks/kinds.ts';
import { csvHeader, readCsv } from './csv.ts';
import { knowsField } from './forms/table.ts';
import { readJsonList } from './json-list.ts';
import { readJsonl } from './jsonl.ts';
import { unpackedPieces, upTo } from './pieces.ts';

/** One file or several, read in this order. */
export type Paths = string | readonly string[];
/** New names of fields: `{ chosen: 'better' }` reads what a file calls `better` as `chosen`. */
export type FieldMap = Readonly<Record<string, string>>;

/** A record and where it is: `file:line`, or `file:row N` of a Parquet file. */
export interface DataRecord {
  path: string;
  place: string;
  /** The place for a reader who knows the file: `line 3`; the whole place if there are several files. */
  at: string;
  value: Record<string, unknown>;
}

/** The formats of files; gzip around them is not counted. */
export type Format = 'jsonl' | 'json' | 'csv' | 'parquet';

const PATHS: Kind = {
  is: (value) => PATH.is(value) || (Array.isArray(value) && value.length > 0 && value.every(PATH.is)),
  words: 'a path or a list of paths',
};

/** The paths as a list. @throws ArgumentError unless there is one at least */
export function pathsOf(paths: Paths): readonly string[] {
  checkKind('path', paths, PATHS);
  return typeof paths === 'string' ? [paths] : paths;
}

/**
 * Reads JSONL, a JSON list, CSV with a header, or Parquet; all but Parquet may be packed as gzip.
 * @throws FileError if a file cannot be read.
 * @throws DataError naming file and line for what is not an object, or not of its format.
 */
export async function* readRecords(paths: Paths, map: FieldMap = {}): AsyncGenerator<DataRecord> {
  const files = pathsOf(paths);
  for (const path of files) {
    for await (const { at, value } of readFile(path, map)) {
      const place = `${path}:${at.replace('line ', '')}`;
      yield { path, place, at: files.length === 1 ? at : place, value: renamed(value, map, place) };
    }
  }
}

async function* readFile(path: string, map: FieldMap): AsyncGenerator<{ at: string; value: Record<string, unknown> }> {
  const format = await formatOf(path, map);
  if (format === 'parquet') {
    const { readParquet } = await import('./parquet.ts'); // its library is needed for nothing else
    for await (const { row, value } of readParquet(path)) yield { at: `row ${row}`, value };
    return;
  }
  const read = { jsonl: readJsonl, json: readJsonList, csv: readCsv }[format];
  for await (const { line, value } of read(path, unpackedPieces(path))) yield { at: `line ${line}`, value };
}

/** How much of a file to look at. */
const LOOK_BYTES = 64 * 1024;

/**
 * The format of a file by its first bytes. A text is CSV if its first line names a field that some form needs; anything
 * else counts as JSONL, whose reader says what is wrong with it.
 */
export async function formatOf(path: string, map: FieldMap = {}): Promise<Format> {
  const begin = await upTo(unpackedPieces(path), LOOK_BYTES);
  if (begin.subarray(0, 4).toString('latin1') === 'PAR1') return 'parquet';
  const text = new TextDecoder().decode(begin).trimStart();
  if (text.startsWith('[')) return 'json';
  if (text.startsWith('{')) return 'jsonl';
  const names = csvHeader(text.split('\n', 1)[0] as string) ?? [];
  const back = new Map(Object.entries(map).map(([name, old]) => [old, name]));
  return knowsField(names.map((name) => back.get(name) ?? name)) ? 'csv' : 'jsonl';
}

function renamed(value: Record<string, unknown>, map: FieldMap, place: string): Record<string, unknown> {
  const pairs = Object.entries(map).filter(([, old]) => Object.hasOwn(value, old));
  if (pairs.length === 0) return value;
  const olds = pairs.map(([, old]) => old);
  const kept = Object.entries(value).filter(([name]) => !olds.includes(name));
  const twice = pairs.find(([name]) => kept.some(([other]) => other === name));
  if (twice === undefined) return Object.fromEntries([...kept, ...pairs.map(([name, old]) => [name, value[old]])]);
  const received = `both ${printable(twice[1])} and ${printable(twice[0])}`;
  throw new DataError({ argument: place, received, expected: `only one, as ${twice[1]} is renamed to ${twice[0]}` });
}

/** Reads `chosen=better,rejected=worse`. @throws ArgumentError */
export function parseMap(text: string): FieldMap {
  const pairs = text.split(',').map((pair) => pair.split('=').map((name) => name.trim()));
  const wrong = pairs.find((pair) => pair.length !== 2 || pair.includes(''));
  if (wrong === undefined) return Object.fromEntries(pairs);
  const expected = 'names such as chosen=better,rejected=worse';
  throw new ArgumentError({ argument: 'map', received: printable(wrong.join('=')), expected });
}
