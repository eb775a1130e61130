/** Files of tensors in the safetensors format: their names, shapes and bytes, read and written at places, never as a whole. */
import { type FileHandle, open } from 'node:fs/promises';
import { ArgumentError, nearest, printable, SafetensorsError } from '../../errors.ts';
import { asFileError } from '../file-error.ts';
import { isWellFormed } from '../json.ts';
import { checkKind, PATH } from '../../checks/kinds.ts';
import { READ_FLAGS } from '../regular-file.ts';
import { fill, OpenFile, syncFile } from '../open-file.ts';
import {
  badFile,
  DTYPE_BITS,
  MAX_DIMENSIONS,
  MAX_HEADER_BYTES,
  MAX_TENSORS,
  MAX_KEY_BYTES,
  METADATA_KEY,
  parseHeader,
  type SafetensorsDtype,
  type SafetensorsEntry,
  type SafetensorsHeader,
  tensorBytes,
} from './header.ts';

export type { SafetensorsDtype, SafetensorsEntry } from './header.ts';

const EXPECTED = 'a readable safetensors file';

/** An open safetensors file whose header has been checked by every rule of the format. Close it, or use `await using`. */
export class SafetensorsFile extends OpenFile {
  /** Every tensor by name, in the order of the header; then those that metadata say are the same as another. */
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;

  constructor(path: string, file: FileHandle, { entries, metadata }: SafetensorsHeader) {
    super(path, file);
    this.entries = withTied({ entries, metadata });
    this.metadata = metadata;
  }

  /** Where the tensor `name` lies. @throws SafetensorsError when the file has none of that name. */
  entry(name: string): SafetensorsEntry {
    const entry = this.entries.get(name);
    if (entry !== undefined) return entry;
    // Of the names in a hostile file only those are compared that could be meant.
    const names = this.entries.size > 10_000 ? [] : [...this.entries.keys()].filter(({ length }) => length < 256);
    const near = nearest(name, names);
    const fix = near === undefined ? {} : { fix: `Did you mean ${printable(near)}?` };
    throw new SafetensorsError({
      argument: this.path,
      received: 'no such tensor',
      expected: `${printable(name)} in it`,
      ...fix,
      reason: 'no-such-tensor',
    });
  }

  /** Fills `target` with the bytes of the file from `position` on. @throws SafetensorsError when the file ends before. */
  async read(position: number, target: Uint8Array): Promise<void> {
    await readFully(this.file, this.path, position, target);
  }
}

/**
 * The entries under all their names: safetensors.torch.save_model writes tied tensors once, and into the metadata which other
 * name stands for which. A tensor gets one name more at most, as a file shall not stand for many times what it holds.
 */
function withTied({ entries, metadata }: SafetensorsHeader): ReadonlyMap<string, SafetensorsEntry> {
  const tied = new Map<string, SafetensorsEntry>();
  const used = new Set<string>();
  for (const [name, other] of metadata) {
    const entry = entries.get(other);
    if (entry === undefined || entries.has(name) || used.has(other)) continue;
    used.add(other);
    tied.set(name, entry);
  }
  return tied.size === 0 ? entries : new Map([...entries, ...tied]);
}

/**
 * Opens `path` and checks its header: nothing is allocated for a length that the file does not have.
 * @throws FileError for a missing or unreadable file, SafetensorsError for any that breaks a rule of the format.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  checkKind('path', path, PATH);
  let file: FileHandle | undefined;
  try {
    file = await open(path, READ_FLAGS);
    return new SafetensorsFile(path, file, await readHeader(file, path));
  } catch (error) {
    await file?.close();
    throw asFileError(error, path, EXPECTED);
  }
}

/** Of a file of `fileBytes`: half of it, as reading takes four times the size of a header, or the megabyte that is little. */
function mostHeaderBytes(fileBytes: number): number {
  return Math.min(MAX_HEADER_BYTES, Math.max(2 ** 20, Math.floor(fileBytes / 2)));
}

async function readHeader(file: FileHandle, path: string): Promise<SafetensorsHeader> {
  const stats = await file.stat();
  if (stats.isDirectory()) {
    const fix = 'Name a file; in the folder of a run it is model.safetensors.';
    throw badFile('not-a-file', path, 'a folder', EXPECTED, { fix });
  }
  if (!stats.isFile()) {
    const fix = 'Write it to a file first.';
    throw badFile('not-a-file', path, 'something that is not a regular file', EXPECTED, { fix });
  }
  const { size } = stats;
  if (size < 8) throw badFile('too-short', path, `${size} bytes`, 'at least the 8 of a header length');
  const prefix = Buffer.alloc(8);
  await readFully(file, path, 0, prefix);
  const length = prefix.readBigUInt64LE();
  const received = `a header length of ${length}`;
  if (length > BigInt(MAX_HEADER_BYTES)) {
    const hint =
      prefix.toString('latin1', 0, 2) === 'PK' ? { fix: 'It may be a .pt file: convert it with palm import.' } : {};
    throw badFile('header-too-large', path, received, `at most ${MAX_HEADER_BYTES}`, hint);
  }
  if (length > BigInt(size - 8)) throw badFile('header-cut-off', path, received, `at most the ${size - 8} that follow`);
  const most = mostHeaderBytes(size);
  if (length > BigInt(most)) throw badFile('header-too-large', path, received, `at most ${most}, half of the file`);
  const bytes = Buffer.allocUnsafe(Number(length));
  await readFully(file, path, 8, bytes);
  return parseHeader(bytes, size - 8 - bytes.length, path);
}

async function readFully(file: FileHandle, path: string, position: number, target: Uint8Array): Promise<void> {
  const done = await fill(file, position, target).catch((error: unknown) => {
    throw asFileError(error, path, EXPECTED);
  });
  if (done < target.length) {
    const expected = `${target.length} bytes from byte ${position} on`;
    throw badFile('truncated', path, `its end at byte ${position + done}`, expected, { position: position + done });
  }
}

/** A tensor to be written. */
export interface SafetensorsTensor {
  name: string;
  dtype: SafetensorsDtype;
  shape: readonly number[];
}
/** A file as it will be: its first bytes, where each tensor goes (in the order of the file), and its size. */
export interface SafetensorsPlan {
  readonly header: Uint8Array;
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly byteLength: number;
}

/**
 * Lays out a file as the reference implementation does: tensors by falling alignment, then by name, without holes, and the
 * header padded with spaces so that the data begin at a multiple of 8.
 * @throws ArgumentError for a name used twice, a shape that cannot be, or a header that would not be read again.
 */
export function planSafetensors(
  tensors: readonly SafetensorsTensor[],
  metadata: ReadonlyMap<string, string> = new Map(),
): SafetensorsPlan {
  const sorted = [...tensors].sort(compareTensors);
  const relative = layOut(sorted);
  const header = encodeHeader(relative, metadata);
  const entries = new Map<string, SafetensorsEntry>();
  for (const [name, { dtype, shape, begin, end }] of relative) {
    entries.set(name, { dtype, shape, begin: header.length + begin, end: header.length + end });
  }
  const dataBytes = [...relative.values()].at(-1)?.end ?? 0;
  return { header, entries, byteLength: header.length + dataBytes };
}

const DTYPE_ORDER = Object.keys(DTYPE_BITS);

function compareTensors(a: SafetensorsTensor, b: SafetensorsTensor): number {
  const byDtype = DTYPE_ORDER.indexOf(b.dtype) - DTYPE_ORDER.indexOf(a.dtype);
  return byDtype || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name));
}

/** Places from the beginning of the data. */
function layOut(sorted: readonly SafetensorsTensor[]): Map<string, SafetensorsEntry> {
  const entries = new Map<string, SafetensorsEntry>();
  let begin = 0;
  for (const { name, dtype, shape } of sorted) {
    const argument = `tensor ${printable(name)}`;
    if (entries.has(name)) throw new ArgumentError({ argument, received: 'two of that name', expected: 'one' });
    if (name === METADATA_KEY) throw new ArgumentError({ argument, expected: 'another name: metadata have this one' });
    const possible = shape.length <= MAX_DIMENSIONS && shape.every((size) => Number.isSafeInteger(size) && size >= 0);
    const bytes = possible ? tensorBytes(dtype, shape) : undefined;
    const end = typeof bytes === 'number' ? begin + bytes : Number.NaN;
    if (!Number.isSafeInteger(end)) {
      throw new ArgumentError({ argument, received: `shape ${printable(shape)} of ${dtype}`, expected: 'whole bytes' });
    }
    entries.set(name, { dtype, shape: [...shape], begin, end });
    begin = end;
  }
  return entries;
}

/** The 8 bytes of length and the JSON, written member by member because an object would lose a name such as `__proto__`. */
function encodeHeader(entries: Map<string, SafetensorsEntry>, metadata: ReadonlyMap<string, string>): Uint8Array {
  const members: string[] = [];
  if (metadata.size > 0) {
    const pairs = [...metadata].map(([key, value]) => `${quoteKey(key)}:${quote(value)}`);
    members.push(`"${METADATA_KEY}":{${pairs.join()}}`);
  }
  for (const [name, { dtype, shape, begin, end }] of entries) {
    members.push(`${quoteKey(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`);
  }
  const json = Buffer.from(`{${members.join()}}`);
  const length = Math.ceil(json.length / 8) * 8;
  const most = mostHeaderBytes(8 + length + ([...entries.values()].at(-1)?.end ?? 0));
  if (length > most || entries.size > MAX_TENSORS) {
    throw new ArgumentError({
      argument: 'tensors',
      received: `${entries.size} with a header of ${length} bytes`,
      expected: `at most ${MAX_TENSORS} and ${most} bytes`,
      fix: 'Write fewer and larger tensors to a file.',
    });
  }
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  json.copy(header, 8);
  return header;
}

function quoteKey(key: string): string {
  const quoted = quote(key);
  if (Buffer.byteLength(quoted) <= MAX_KEY_BYTES) return quoted;
  throw new ArgumentError({
    argument: printable(key),
    received: 'a name of more than 64 KiB',
    expected: 'a shorter one',
  });
}

function quote(text: string): string {
  if (isWellFormed(text)) return JSON.stringify(text);
  throw new ArgumentError({
    argument: printable(text),
    received: 'half of a surrogate pair',
    expected: 'valid Unicode',
  });
}

/** A safetensors file being written; `finish` makes it whole and durable, disposal only closes it. */
export class SafetensorsWriter implements AsyncDisposable {
  readonly path: string;
  readonly plan: SafetensorsPlan;
  private readonly missing: Map<string, number>;
  private file: FileHandle | undefined;

  constructor(path: string, plan: SafetensorsPlan, file: FileHandle) {
    this.path = path;
    this.plan = plan;
    this.file = file;
    this.missing = new Map([...plan.entries].map(([name, { begin, end }]) => [name, end - begin]));
  }

  /**
   * Writes `bytes` to the tensor `name`, `offset` bytes after its beginning. Pieces come in any order, each once.
   * @throws ArgumentError for a name or place that is not in the plan. @throws FileError when the disk refuses.
   */
  async write(name: string, offset: number, bytes: Uint8Array): Promise<void> {
    const entry = this.plan.entries.get(name);
    if (entry === undefined || !(offset >= 0) || entry.begin + offset + bytes.length > entry.end) {
      const size = entry === undefined ? 'no such tensor' : `${entry.end - entry.begin} bytes`;
      const received = `${bytes.length} bytes at ${offset}`;
      throw new ArgumentError({
        argument: `tensor ${printable(name)}`,
        received,
        expected: `what was planned: ${size}`,
      });
    }
    await writeFully(this.open(), this.path, entry.begin + offset, bytes);
    this.missing.set(name, (this.missing.get(name) ?? 0) - bytes.length);
  }

  /** Waits until the file is on the disk and closes it. @throws ArgumentError when bytes of a tensor were never written. */
  async finish(): Promise<void> {
    for (const [name, bytes] of this.missing) {
      if (bytes === 0) continue;
      const received = `all but ${bytes} bytes`;
      throw new ArgumentError({ argument: `tensor ${printable(name)}`, received, expected: 'every byte once' });
    }
    try {
      await syncFile(this.open());
    } catch (error) {
      throw asFileError(error, this.path, 'to be written to the disk');
    }
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const file = this.file;
    this.file = undefined;
    await file?.close();
  }

  private open(): FileHandle {
    if (this.file !== undefined) return this.file;
    throw new ArgumentError({ argument: this.path, received: 'a write', expected: 'none: it is closed' });
  }
}

/** Creates `path`, or empties it, and writes the header. @throws FileError when that cannot be. */
export async function createSafetensors(path: string, plan: SafetensorsPlan): Promise<SafetensorsWriter> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'w');
    await writeFully(file, path, 0, plan.header);
    return new SafetensorsWriter(path, plan, file);
  } catch (error) {
    await file?.close();
    throw asFileError(error, path, 'a file to write to');
  }
}

async function writeFully(file: FileHandle, path: string, position: number, bytes: Uint8Array): Promise<void> {
  try {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
  } catch (error) {
    throw asFileError(error, path, 'to be written');
  }
}
