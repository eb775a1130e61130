/** Safetensors files: names, shapes and bytes of tensors, read and written by position and never as a whole. */
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

/**
 * An open safetensors file whose header has been checked against every rule of the format. Close it, or use `await
 * using`.
 */
export class SafetensorsFile extends OpenFile {
  /** All tensors by name, in the order of the header, followed by the aliases that the metadata declares. */
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;

  constructor(path: string, file: FileHandle, { entries, metadata }: SafetensorsHeader) {
    super(path, file);
    this.entries = withTied({ entries, metadata });
    this.metadata = metadata;
  }

  /** Returns the position of the tensor `name`. @throws SafetensorsError if there is none of that name. */
  entry(name: string): SafetensorsEntry {
    const entry = this.entries.get(name);
    if (entry !== undefined) return entry;
    // Compare only plausible names: a hostile file may contain many, or very long ones.
    const names = this.entries.size > 10_000 ? [] : [...this.entries.keys()].filter(({ length }) => length < 256);
    const near = nearest(name, names);
    const fix = near === undefined ? {} : { fix: `Did you mean ${printable(near)}?` };
    throw new SafetensorsError({
      argument: this.path,
      problem: `no tensor named ${printable(name)}`,
      ...fix,
      reason: 'no-such-tensor',
    });
  }

  /**
   * Fills `target` with the bytes of the file starting at `position`.
   * @throws SafetensorsError if the file ends early.
   */
  async read(position: number, target: Uint8Array): Promise<void> {
    await readFully(this.file, this.path, position, target);
  }
}

/**
 * Adds aliases to the entries: safetensors.torch.save_model writes tied tensors once and records their other name in
 * the metadata. Each tensor gets at most one alias, so that a file cannot claim many times what it holds.
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
 * Opens `path` and checks its header. Nothing is allocated for a length that exceeds the file.
 * @throws FileError if the file is missing or unreadable.
 * @throws SafetensorsError if it breaks a rule of the format.
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

/**
 * The maximum header size for a file of `fileBytes`: half the file, as parsing takes four times the header's size, but
 * at least 1 MiB.
 */
function maxHeaderBytes(fileBytes: number): number {
  return Math.min(MAX_HEADER_BYTES, Math.max(2 ** 20, Math.floor(fileBytes / 2)));
}

async function readHeader(file: FileHandle, path: string): Promise<SafetensorsHeader> {
  const stats = await file.stat();
  if (stats.isDirectory()) {
    const fix = 'Name a file; in a run folder it is model.safetensors.';
    throw badFile('not-a-file', path, 'a folder', EXPECTED, { fix });
  }
  if (!stats.isFile()) {
    const fix = 'Save it to a file first.';
    throw badFile('not-a-file', path, 'a pipe, socket or device', EXPECTED, { fix });
  }
  const { size } = stats;
  if (size < 8) throw badFile('too-short', path, `${size} bytes`, 'at least 8 for the header length');
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
  const max = maxHeaderBytes(size);
  if (length > BigInt(max)) throw badFile('header-too-large', path, received, `at most ${max}, half of the file`);
  const bytes = Buffer.allocUnsafe(Number(length));
  await readFully(file, path, 8, bytes);
  return parseHeader(bytes, size - 8 - bytes.length, path);
}

async function readFully(file: FileHandle, path: string, position: number, target: Uint8Array): Promise<void> {
  const done = await fill(file, position, target).catch((error: unknown) => {
    throw asFileError(error, path, EXPECTED);
  });
  if (done < target.length) {
    const expected = `${target.length} bytes starting at byte ${position}`;
    throw badFile('truncated', path, `end of file at byte ${position + done}`, expected, { position: position + done });
  }
}

/** A tensor to write. */
export interface SafetensorsTensor {
  name: string;
  dtype: SafetensorsDtype;
  shape: readonly number[];
}
/** The layout of a file to write: its header, the position of each tensor in file order, and the file size. */
export interface SafetensorsPlan {
  readonly header: Uint8Array;
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly byteLength: number;
}

/**
 * Lays out a file like the reference implementation: tensors sorted by decreasing alignment and then by name, without
 * holes, and the header padded with spaces so that the data start at a multiple of 8.
 * @throws ArgumentError for a duplicate name, an impossible shape, or a header too large to be read back.
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

/** Positions relative to the start of the data. */
function layOut(sorted: readonly SafetensorsTensor[]): Map<string, SafetensorsEntry> {
  const entries = new Map<string, SafetensorsEntry>();
  let begin = 0;
  for (const { name, dtype, shape } of sorted) {
    const argument = `tensor ${printable(name)}`;
    if (entries.has(name)) throw new ArgumentError({ argument, received: 'two tensors of that name', expected: 'one' });
    if (name === METADATA_KEY)
      throw new ArgumentError({ argument, expected: 'another name: this one is reserved for metadata' });
    const possible = shape.length <= MAX_DIMENSIONS && shape.every((size) => Number.isSafeInteger(size) && size >= 0);
    const bytes = possible ? tensorBytes(dtype, shape) : undefined;
    const end = typeof bytes === 'number' ? begin + bytes : Number.NaN;
    if (!Number.isSafeInteger(end)) {
      throw new ArgumentError({
        argument,
        received: `shape ${printable(shape)} of ${dtype}`,
        expected: 'a whole number of bytes',
      });
    }
    entries.set(name, { dtype, shape: [...shape], begin, end });
    begin = end;
  }
  return entries;
}

/**
 * Encodes the 8-byte length and the JSON, which is written member by member because an object would lose a name such as
 * `__proto__`.
 */
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
  const max = maxHeaderBytes(8 + length + ([...entries.values()].at(-1)?.end ?? 0));
  if (length > max || entries.size > MAX_TENSORS) {
    throw new ArgumentError({
      argument: 'tensors',
      received: `${entries.size} tensors with a header of ${length} bytes`,
      expected: `at most ${MAX_TENSORS} tensors and ${max} bytes`,
      fix: 'Write fewer, larger tensors to each file.',
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
    expected: 'a shorter name',
  });
}

function quote(text: string): string {
  if (isWellFormed(text)) return JSON.stringify(text);
  throw new ArgumentError({
    argument: printable(text),
    received: 'a lone surrogate',
    expected: 'valid Unicode',
  });
}

/** A safetensors file being written. `finish` completes it and flushes it to disk; disposal only closes it. */
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
   * Writes `bytes` to the tensor `name`, `offset` bytes after its start. Pieces may come in any order, each once.
   * @throws ArgumentError for a name or position outside the plan.
   * @throws FileError if the disk refuses.
   */
  async write(name: string, offset: number, bytes: Uint8Array): Promise<void> {
    const entry = this.plan.entries.get(name);
    if (entry === undefined || !(offset >= 0) || entry.begin + offset + bytes.length > entry.end) {
      const size = entry === undefined ? 'tensors only' : `${entry.end - entry.begin} bytes`;
      const received = `${bytes.length} bytes at ${offset}`;
      throw new ArgumentError({
        argument: `tensor ${printable(name)}`,
        received,
        expected: `the planned ${size}`,
      });
    }
    await writeFully(this.open(), this.path, entry.begin + offset, bytes);
    this.missing.set(name, (this.missing.get(name) ?? 0) - bytes.length);
  }

  /**
   * Waits until the file is on disk, and closes it.
   * @throws ArgumentError if some bytes of a tensor were not written.
   */
  async finish(): Promise<void> {
    for (const [name, bytes] of this.missing) {
      if (bytes === 0) continue;
      const problem = `${bytes} bytes were not written`;
      throw new ArgumentError({ argument: `tensor ${printable(name)}`, problem });
    }
    try {
      await syncFile(this.open());
    } catch (error) {
      throw asFileError(error, this.path, 'a file to flush to disk');
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
    throw new ArgumentError({ argument: this.path, problem: 'the file is closed' });
  }
}

/** Creates or truncates `path`, and writes the header. @throws FileError if that fails. */
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
    throw asFileError(error, path, 'a file to write to');
  }
}
