/** Parquet files, read one row group at a time. */
import { open } from 'node:fs/promises';
import {
  type AsyncBuffer,
  type Compressors,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type RowGroup,
  type SchemaTree,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { DataError, PalmError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { fill } from '../files/open-file.ts';
import { checkRegular, cutShort, READ_FLAGS } from '../files/regular-file.ts';
import { checkFooter, checkPages } from './parquet-check.ts';

/** Maximum size of a row group, unpacked, in bytes, and maximum number of its rows. */
const MAX_GROUP_BYTES = 512 * 1024 * 1024;
const MAX_GROUP_ROWS = 4_000_000;
const EXPECTED = 'a readable Parquet file';

type ReadBytes = (start: number, end: number) => Promise<Uint8Array<ArrayBuffer>>;

/** A row of a Parquet file: its number, from 1, and its values. Null fields are left out. */
export interface ParquetRow {
  row: number;
  value: Record<string, unknown>;
}

/**
 * The rows of the Parquet file `path`, in order.
 * @throws FileError if it cannot be read.
 * @throws DataError naming file and row for a file that is damaged or packed in a way that is not known, row groups
 * larger than 512 MiB, or values that JSON does not have.
 */
export async function* readParquet(path: string): AsyncGenerator<ParquetRow> {
  const handle = await open(path, READ_FLAGS).catch((error: unknown) => {
    throw asFileError(error, path, EXPECTED);
  });
  try {
    const stats = await handle.stat();
    checkRegular(stats, path, EXPECTED);
    const read = async (start: number, end: number) => {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, stats.size) - start));
      if ((await fill(handle, start, bytes)) < bytes.length) throw cutShort(path, start, stats.size);
      return bytes;
    };
    const slice = async (start: number, end = stats.size) => (await read(start, end)).buffer;
    yield* rowsOf(path, { byteLength: stats.size, slice }, read);
  } finally {
    await handle.close();
  }
}

async function* rowsOf(path: string, file: AsyncBuffer, read: ReadBytes): AsyncGenerator<ParquetRow> {
  const metadata = await guarded(path, async () => {
    await checkFooter(read, file.byteLength);
    return await parquetMetadataAsync(file);
  });
  const leaves = await guarded(path, async () => leavesOf(parquetSchema(metadata)));
  let start = 0;
  for (const [number, group] of metadata.row_groups.entries()) {
    const place = `${path}:row ${start + 1}`;
    const [rows, bytes] = [Number(group.num_rows), Number(group.total_byte_size)];
    checkSize(place, number, rows, bytes);
    checkColumns(place, group, leaves);
    await guarded(place, () => checkPages(read, group, file.byteLength));
    const options = { file, metadata, compressors: bounded, rowStart: start, rowEnd: start + rows };
    const values = rows === 0 ? [] : await guarded(place, () => parquetReadObjects(options));
    if (values.length !== rows) throw damaged(place, `${values.length} rows of ${rows}`);
    for (const [i, value] of values.entries()) {
      const at = start + i + 1;
      yield { row: at, value: plain(value, `${path}:row ${at}`, 0) as Record<string, unknown> };
    }
    start += rows;
  }
}

function checkSize(place: string, number: number, rows: number, bytes: number): void {
  if (rows >= 0 && rows <= MAX_GROUP_ROWS && bytes >= 0 && bytes <= MAX_GROUP_BYTES) return;
  throw new DataError({
    argument: place,
    received: `row group ${number + 1} with ${rows} rows and ${bytes} bytes`,
    expected: `at most ${MAX_GROUP_ROWS} rows and ${MAX_GROUP_BYTES} bytes`,
    fix: 'Write the file again with smaller row groups.',
  });
}

/** The paths of the columns below a part of the schema. */
function leavesOf({ children, path }: SchemaTree): string[] {
  return children.length === 0 ? [path.join('.')] : children.flatMap(leavesOf);
}

/**
 * Refuses a row group whose columns are not those of the schema, each once: the library would not wait for the others, and
 * an error in one of them would end the process.
 */
function checkColumns(place: string, { columns }: RowGroup, leaves: readonly string[]): void {
  const paths = new Set(columns.map(({ meta_data }) => meta_data?.path_in_schema.join('.') ?? ''));
  const once = new Set(leaves).size === leaves.length && columns.length === leaves.length;
  if (once && leaves.every((leaf) => paths.has(leaf))) return;
  throw damaged(place, 'columns that are not those of its schema');
}

/** The library's decompressors, refusing pages that claim to be larger than a whole row group may be. */
const bounded = Object.fromEntries(
  Object.entries(compressors).map(([name, decompress]) => [
    name,
    (input: Uint8Array, length: number) => {
      if (length > MAX_GROUP_BYTES) throw new RangeError(`a page of ${length} bytes`);
      return decompress(input, length);
    },
  ]),
) as Compressors;

/** The result of `read`, or a DataError for whatever the library throws. */
async function guarded<T>(place: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof PalmError) throw error;
    throw damaged(place, error instanceof Error ? error.message : String(error), error);
  }
}

function damaged(place: string, problem: string, cause?: unknown): DataError {
  const received = `a file that cannot be read (${printable(problem)})`;
  const fix = 'Download it again, or write its rows as JSONL.';
  return new DataError({ argument: place, received, expected: EXPECTED, fix, cause });
}

const MAX_DEPTH = 100;

/** `value` as JSON has it: numbers for integers, ISO text for dates, and no null fields, which a column has for missing ones. */
function plain(value: unknown, place: string, depth: number): unknown {
  if (depth > MAX_DEPTH) throw damaged(place, `values nested deeper than ${MAX_DEPTH}`);
  if (typeof value === 'bigint') {
    if (!Number.isSafeInteger(Number(value))) throw damaged(place, `the integer ${value}`);
    return Number(value);
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (Array.isArray(value)) return value.map((item) => plain(item, place, depth + 1));
  if (ArrayBuffer.isView(value)) throw damaged(place, 'a column of bytes');
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(([, field]) => field !== null && field !== undefined);
  return Object.fromEntries(fields.map(([name, field]) => [name, plain(field, place, depth + 1)]));
}
