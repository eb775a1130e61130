/** CSV as RFC 4180 describes it: a header, commas, and quotes around fields with commas, quotes or newlines. */
import { DataError, printable } from '../errors.ts';
import { decodeLine, type JsonlLine } from './jsonl.ts';
import { MAX_ROW_BYTES, splitLines, tooLong } from './pieces.ts';

/**
 * The rows of a CSV file, each an object of strings by the names in the header, with the line that it begins on. Empty
 * fields are left out, as CSV cannot say whether they are missing or empty; so are blank lines.
 * @throws DataError naming `file:line` for bytes that are not UTF-8, quotes in the wrong place, a row with more or fewer
 * fields than the header, a column named twice, or a row over 16 MiB.
 */
export async function* readCsv(path: string, pieces: AsyncGenerator<Buffer>): AsyncGenerator<JsonlLine> {
  let names: string[] | undefined;
  for await (const { line, text } of records(path, pieces)) {
    const place = `${path}:${line}`;
    if (text.trim() === '') continue;
    const fields = splitFields(text, place);
    if (names === undefined) names = header(fields, place);
    else yield { line, value: rowOf(names, fields, place) };
  }
}

/** The names in the first line of a CSV file; undefined if it is none. */
export function csvHeader(line: string): string[] | undefined {
  try {
    return header(splitFields(line.replace(/\r$/, ''), ''), '');
  } catch (error) {
    if (error instanceof DataError) return undefined;
    throw error;
  }
}

/** Lines, joined where a quoted field goes on in the next one. */
async function* records(path: string, pieces: AsyncGenerator<Buffer>): AsyncGenerator<{ line: number; text: string }> {
  let line = 0;
  let first = 1;
  let text: string[] = [];
  let size = 0;
  let open = false;
  for await (const bytes of splitLines(pieces, path)) {
    line++;
    if (!open) [first, text, size] = [line, [], 0];
    size += bytes.length;
    if (size > MAX_ROW_BYTES) throw tooLong(`${path}:${first}`, 'a row');
    text.push(decodeLine(bytes, `${path}:${line}`));
    if (quotesIn(bytes) % 2 === 1) open = !open;
    if (!open) yield { line: first, text: text.join('\n').replace(/\r$/, '') };
  }
  if (open) throw badField(`${path}:${first}`, 'a quoted field without an end');
}

function quotesIn(bytes: Buffer): number {
  let quotes = 0;
  for (let at = bytes.indexOf(34); at >= 0; at = bytes.indexOf(34, at + 1)) quotes++;
  return quotes;
}

function badField(place: string, received: string): DataError {
  const fix = 'Put fields with commas, quotes or newlines in quotes, and double the quotes inside.';
  return new DataError({ argument: place, received, expected: 'fields of CSV', fix });
}

function splitFields(text: string, place: string): string[] {
  const fields: string[] = [];
  for (let at = 0; ; at++) {
    const end = text[at] === '"' ? closingQuote(text, at) + 1 : commaAfter(text, at);
    const field = text.slice(at, end);
    const misplaced = text[at] === '"' ? end === 0 || commaAfter(text, end) !== end : field.includes('"');
    if (misplaced) throw badField(place, `${printable(text.slice(at, at + 24))} in column ${fields.length + 1}`);
    fields.push(text[at] === '"' ? field.slice(1, -1).replaceAll('""', '"') : field);
    if (end === text.length) return fields;
    at = end;
  }
}

/** The position of the comma at or after `at`, or the end of `text`. */
function commaAfter(text: string, at: number): number {
  const comma = text.indexOf(',', at);
  return comma < 0 ? text.length : comma;
}

/** The position of the quote that closes the one at `at`, or -1. */
function closingQuote(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); end >= 0; end = text.indexOf('"', end + 2)) {
    if (text[end + 1] !== '"') return end;
  }
  return -1;
}

function header(fields: string[], place: string): string[] {
  const names = fields.map((name) => name.trim());
  const twice = names.find((name, i) => name === '' || names.indexOf(name) !== i);
  if (twice === undefined) return names;
  const received = twice === '' ? 'a column without a name' : `the column ${printable(twice)} twice`;
  throw new DataError({ argument: place, received, expected: 'a different name for each column' });
}

function rowOf(names: string[], fields: string[], place: string): Record<string, unknown> {
  if (fields.length !== names.length) {
    const expected = `${names.length}, as in the header`;
    throw new DataError({ argument: place, received: `${fields.length} fields`, expected });
  }
  return Object.fromEntries(names.map((name, i) => [name, fields[i]]).filter(([, field]) => field !== ''));
}
