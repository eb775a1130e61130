/**
 * Reads the zip archives that torch.save writes, and no others: uncompressed contiguous records, the central directory,
 * and the end record. Redundant fields must agree, and every checksum is verified.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { printable, TorchFileError } from '../../errors.ts';
import { asFileError } from '../../files/file-error.ts';
import { READ_FLAGS } from '../../files/regular-file.ts';
import { fill, OpenFile } from '../../files/open-file.ts';

/** A record of an archive: `size` bytes starting at byte `begin` of the file. */
export interface ZipRecord {
  readonly name: string;
  readonly begin: number;
  readonly size: number;
}

/** Maximum number of records, size of their directory, and length of a name. */
const MAX_RECORDS = 10_000;
const MAX_DIRECTORY_BYTES = 4 * 1024 * 1024;
const MAX_NAME_BYTES = 1024;
/** The maximum padding that torch.save adds to a header to align data to 64 bytes. */
const EXTRA_BYTES = 72;
/** The bytes of a file held in memory while checksums are computed. */
const BUFFER_BYTES = 1024 * 1024;

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const DESCRIPTOR = 0x08074b50;
const END = 0x06054b50;
const END64 = 0x06064b50;
const END64_LOCATOR = 0x07064b50;

/** Flag bits: sizes that follow the data, and names in UTF-8. All others concern encryption and compression. */
const FOLLOWED = 0x0008;
const UTF8 = 0x0800;
const ENCRYPTED = 0x2041;
/** Marks a 32-bit field whose value is in an extra field because it does not fit. */
const IN_EXTRA = 0xffffffff;

/** An open archive that has passed all checks. Close it, or use `await using`. */
export class ZipFile extends OpenFile {
  /** The size of the file in bytes. */
  readonly size: number;
  /** The records by name, in the order of the file. */
  readonly records: ReadonlyMap<string, ZipRecord>;

  constructor(path: string, size: number, file: FileHandle, records: ReadonlyMap<string, ZipRecord>) {
    super(path, file);
    this.size = size;
    this.records = records;
  }

  /**
   * Fills `target` with the bytes of the file starting at `position`.
   * @throws TorchFileError if the file ends early.
   */
  async read(position: number, target: Uint8Array): Promise<void> {
    await readFully(this.file, this.path, position, target);
  }
}

/**
 * Opens `path` and checks all of it, passing the data through a 1 MiB buffer.
 * @throws TorchFileError for anything that today's torch.save does not write.
 * @throws FileError if the file is missing or unreadable.
 */
export async function openZip(path: string): Promise<ZipFile> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, READ_FLAGS);
    const stats = await file.stat();
    if (!stats.isFile()) {
      const fix = 'Save it to a file first.';
      throw new TorchFileError('not-a-file', {
        argument: path,
        received: 'a pipe, socket or device',
        expected: 'a .pt file',
        fix,
      });
    }
    const reader = new ZipReader(path, stats.size, file);
    return new ZipFile(path, stats.size, file, await reader.records());
  } catch (error) {
    await file?.close();
    throw asFileError(error, path, 'a readable .pt file');
  }
}

/** A record's entry in the central directory. */
interface Entry {
  name: string;
  flags: number;
  crc: number;
  size: number;
  /** The position of its local header. */
  at: number;
}

class ZipReader {
  private readonly path: string;
  private readonly size: number;
  private readonly file: FileHandle;

  constructor(path: string, size: number, file: FileHandle) {
    this.path = path;
    this.size = size;
    this.file = file;
  }

  async records(): Promise<Map<string, ZipRecord>> {
    await this.checkKind();
    const directory = await this.directory();
    const placed = await this.place(await this.entries(directory), directory.begin);
    for (const { entry, begin } of placed) await this.checkCrc(entry, begin);
    return new Map(placed.map(({ entry: { name, size }, begin }) => [name, { name, begin, size }]));
  }

  /**
   * Finds the start of each entry's data. In file order, the records must cover the file up to `limit` without gaps.
   */
  private async place(entries: readonly Entry[], limit: number): Promise<{ entry: Entry; begin: number }[]> {
    const placed: { entry: Entry; begin: number }[] = [];
    let end = 0;
    for (const entry of entries) {
      this.checkBeside(entry.at, end, printable(entry.name));
      const begin = await this.localHeader(entry);
      placed.push({ entry, begin });
      end = begin + entry.size + (await this.descriptorBytes(entry, begin + entry.size));
    }
    this.checkBeside(limit, end, 'the directory');
    return placed;
  }

  private checkBeside(at: number, end: number, what: string): void {
    if (at < end) throw this.bad('overlap', `an overlap before ${what}`, 'contiguous records', at);
    if (at > end) throw this.bad('hole', `unused bytes before ${what}`, 'contiguous records', end);
  }

  private async checkKind(): Promise<void> {
    const head = await this.bytes(0, Math.min(this.size, 512));
    if (head.length >= 4 && head.readUInt32LE(0) === LOCAL) return;
    const fix = 'Load it with a current PyTorch and save its state_dict again with torch.save.';
    if (head[0] === 0x80 && (head[1] as number) <= 5) {
      throw this.bad('legacy-pickle', 'a bare pickle, the format of torch.save before 1.6', 'a zip archive', 0, fix);
    }
    if (this.size > 9 && head.readBigUInt64LE(0) <= BigInt(this.size - 8) && head[8] === 0x7b) {
      const whole = 'It needs no import: use it wherever a model file is expected.';
      throw this.bad('safetensors', 'a safetensors file', 'a zip archive', undefined, whole);
    }
    if (head.toString('latin1', 257, 262) === 'ustar') {
      throw this.bad('tar', 'a tar archive, the format of the first PyTorch versions', 'a zip archive', 0, fix);
    }
    throw this.bad('not-zip', `${printable(head.subarray(0, 8).toString('latin1'))} at the start`, 'a zip archive', 0);
  }

  /** Locates the central directory from the end of the file. */
  private async directory(): Promise<{ begin: number; end: number; count: number }> {
    if (this.size < 22) throw this.bad('truncated', `${this.size} bytes`, 'at least 22, the size of an empty archive');
    const at = this.size - 22;
    const end = await this.bytes(at, 22);
    if (end.readUInt32LE(0) !== END || end.readUInt16LE(20) !== 0) {
      throw this.bad(
        'no-end',
        'other content at the end (the file is truncated, or has trailing data)',
        'the end record of a zip archive',
        at,
      );
    }
    const narrow = { count: end.readUInt16LE(10), size: end.readUInt32LE(12), begin: end.readUInt32LE(16) };
    const disks = end.readUInt16LE(4) + end.readUInt16LE(6);
    if (disks !== 0 || end.readUInt16LE(8) !== narrow.count)
      throw this.bad('disks', 'a multi-part archive', 'a single file', at);
    const { wide, begin: limit } = await this.wideEnd(at);
    const found = wide ?? narrow;
    const agree = (small: number, large: number, full: number) => small === large || small === full;
    if (
      !agree(narrow.count, found.count, 0xffff) ||
      !agree(narrow.size, found.size, IN_EXTRA) ||
      !agree(narrow.begin, found.begin, IN_EXTRA)
    ) {
      throw this.bad('end-mismatch', 'two end records that disagree', 'the same directory in both', at);
    }
    if (found.count > MAX_RECORDS) throw this.bad('too-many-records', `${found.count}`, `at most ${MAX_RECORDS}`, at);
    if (found.size > MAX_DIRECTORY_BYTES) {
      throw this.bad('directory-size', `a directory of ${found.size} bytes`, `at most ${MAX_DIRECTORY_BYTES}`, at);
    }
    if (found.begin + found.size !== limit) {
      const received = `a directory from ${found.begin} to ${found.begin + found.size}`;
      throw this.bad('directory-place', received, `a directory that ends at ${limit}, where the end record starts`, at);
    }
    return { begin: found.begin, end: limit, count: found.count };
  }

  /** Reads the 64-bit end record, which precedes the other one; `begin` is where the end records start. */
  private async wideEnd(at: number) {
    if (at < 76) return { wide: undefined, begin: at };
    const locator = await this.bytes(at - 20, 20);
    if (locator.readUInt32LE(0) !== END64_LOCATOR) return { wide: undefined, begin: at };
    const begin = at - 76;
    const end = await this.bytes(begin, 56);
    const whole = end.readUInt32LE(0) === END64 && end.readBigUInt64LE(4) === 44n;
    const placed = locator.readBigUInt64LE(8) === BigInt(begin) && locator.readUInt32LE(4) === 0;
    const one = end.readUInt32LE(16) === 0 && end.readUInt32LE(20) === 0;
    if (!whole || !placed || !one || end.readBigUInt64LE(24) !== end.readBigUInt64LE(32)) {
      throw this.bad('end-mismatch', 'an inconsistent 64-bit end record', 'the end record of a zip archive', begin);
    }
    const [count, size, place] = [32, 40, 48].map((offset) => this.integer(end, offset, begin));
    return { wide: { count, size, begin: place } as { count: number; size: number; begin: number }, begin };
  }

  private async entries({ begin, end, count }: { begin: number; end: number; count: number }): Promise<Entry[]> {
    const bytes = await this.bytes(begin, end - begin);
    const names = new Set<string>();
    const entries: Entry[] = [];
    let at = 0;
    for (let i = 0; i < count; i++) {
      const { entry, next } = this.entry(bytes, at, begin);
      if (names.has(entry.name)) {
        throw this.bad('duplicate-record', `two records named ${printable(entry.name)}`, 'unique names', begin + at);
      }
      names.add(entry.name);
      entries.push(entry);
      at = next;
    }
    if (at !== bytes.length)
      throw this.bad('directory-size', 'extra bytes in its directory', 'only the entries it counts', begin + at);
    return entries.sort((a, b) => a.at - b.at);
  }

  private entry(bytes: Buffer, at: number, begin: number): { entry: Entry; next: number } {
    const place = begin + at;
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== CENTRAL) {
      throw this.bad('directory-entry', 'other content', 'a directory entry', place);
    }
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((offset) => bytes.readUInt16LE(at + offset)) as [
      number,
      number,
      number,
    ];
    const next = at + 46 + nameBytes + extraBytes + commentBytes;
    if (next > bytes.length) throw this.bad('directory-entry', 'a truncated directory entry', 'a complete one', place);
    const name = this.name(bytes.subarray(at + 46, at + 46 + nameBytes), place);
    const flags = this.flags(bytes.readUInt16LE(at + 8), bytes.readUInt16LE(at + 10), name, place);
    const extra = bytes.subarray(at + 46 + nameBytes, next - commentBytes);
    const narrow = [24, 20, 42].map((offset) => bytes.readUInt32LE(at + offset));
    const [size, stored, local] = this.widened(narrow, extra, place);
    if (size !== stored) {
      throw this.bad('compressed', `${stored} bytes for ${size} in ${printable(name)}`, 'uncompressed records', place);
    }
    if (bytes.readUInt16LE(at + 34) !== 0) throw this.bad('disks', 'a multi-part archive', 'a single file', place);
    const crc = bytes.readUInt32LE(at + 16);
    return { entry: { name, flags, crc, size: size as number, at: local as number }, next };
  }

  /** Resolves sizes and positions: those that do not fit in 32 bits are in extra field 1, in the same order. */
  private widened(narrow: number[], extra: Buffer, place: number): number[] {
    const missing = narrow.filter((value) => value === IN_EXTRA).length;
    if (missing === 0) return narrow;
    for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
      if (extra.readUInt16LE(at) !== 1 || extra.readUInt16LE(at + 2) < 8 * missing) continue;
      if (at + 4 + 8 * missing > extra.length) break;
      let next = at + 4;
      return narrow.map((value) => {
        if (value !== IN_EXTRA) return value;
        next += 8;
        return this.integer(extra, next - 8, place);
      });
    }
    throw this.bad('directory-entry', 'no 64-bit size', 'one, as the entry announces', place);
  }

  private name(bytes: Buffer, place: number): string {
    const name = bytes.toString('utf8');
    const plain = bytes.length > 0 && bytes.length <= MAX_NAME_BYTES && Buffer.from(name).equals(bytes);
    const parts = name.split('/');
    if (plain && !/[\p{Cc}\\:]/u.test(name) && parts.every((part) => part !== '' && part !== '.' && part !== '..')) {
      return name;
    }
    throw this.bad('record-name', printable(name.slice(0, 200)), 'a plain relative name', place);
  }

  private flags(flags: number, method: number, name: string, place: number): number {
    if (flags & ENCRYPTED)
      throw this.bad('encrypted', `the encrypted record ${printable(name)}`, 'unencrypted records', place);
    if (method !== 0)
      throw this.bad('compressed', `the compressed record ${printable(name)}`, 'uncompressed records', place);
    if ((flags & ~(FOLLOWED | UTF8)) === 0) return flags;
    throw this.bad('flags', `flags ${flags} of ${printable(name)}`, 'only flags that torch.save sets', place);
  }

  /** Checks the header before the data against the directory, and returns where the data start. */
  private async localHeader({ name, flags, crc, size, at }: Entry): Promise<number> {
    const header = await this.bytes(at, Math.min(30 + Buffer.byteLength(name) + EXTRA_BYTES, this.size - at));
    if (header.length < 30 || header.readUInt32LE(0) !== LOCAL)
      throw this.bad('local-header', 'other content', `the header of ${printable(name)}`, at);
    const nameBytes = header.readUInt16LE(26);
    const begin = at + 30 + nameBytes + header.readUInt16LE(28);
    const rest =
      begin - at > header.length ? await this.bytes(at + 30, begin - at - 30) : header.subarray(30, begin - at);
    const wide = [header.readUInt32LE(22), header.readUInt32LE(18)];
    // Values that follow the data are 0 or unknown here.
    const follows = (flags & FOLLOWED) !== 0;
    const sizes = follows
      ? wide.filter((value) => value !== 0 && value !== IN_EXTRA)
      : this.widened(wide, rest.subarray(nameBytes), at);
    const same =
      header.readUInt16LE(6) === flags &&
      header.readUInt16LE(8) === 0 &&
      (header.readUInt32LE(14) === crc || (follows && header.readUInt32LE(14) === 0)) &&
      sizes.every((value) => value === size) &&
      rest.subarray(0, nameBytes).equals(Buffer.from(name));
    if (same) return begin;
    throw this.bad(
      'local-mismatch',
      `a header of ${printable(name)} that differs from its directory entry`,
      'equal values',
      at,
    );
  }

  /** The length of the descriptor that repeats the sizes after the data, if there is one. */
  private async descriptorBytes({ name, flags, crc, size }: Entry, at: number): Promise<number> {
    if ((flags & FOLLOWED) === 0) return 0;
    const bytes = await this.bytes(at, Math.min(24, this.size - at));
    const whole = bytes.length >= 16 && bytes.readUInt32LE(0) === DESCRIPTOR && bytes.readUInt32LE(4) === crc;
    if (whole && bytes.readUInt32LE(8) === size && bytes.readUInt32LE(12) === size) return 16;
    const large = BigInt(size);
    if (whole && bytes.length === 24 && bytes.readBigUInt64LE(8) === large && bytes.readBigUInt64LE(16) === large)
      return 24;
    throw this.bad(
      'local-mismatch',
      `sizes after ${printable(name)} that differ from its directory entry`,
      'equal values',
      at,
    );
  }

  private async checkCrc({ name, crc, size }: Entry, begin: number): Promise<void> {
    const buffer = Buffer.alloc(Math.min(BUFFER_BYTES, size));
    let actual = 0;
    for (let done = 0; done < size; done += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, size - done));
      await readFully(this.file, this.path, begin + done, piece);
      actual = crc32(piece, actual);
    }
    if (actual === crc) return;
    throw this.bad(
      'checksum',
      `a wrong checksum of ${printable(name)}, whose data were changed`,
      'the checksum in its entry',
      begin,
    );
  }

  private async bytes(position: number, length: number): Promise<Buffer> {
    const target = Buffer.alloc(Math.max(0, Math.min(length, this.size - position)));
    await readFully(this.file, this.path, position, target);
    if (target.length === length) return target;
    throw this.bad(
      'truncated',
      `end of file at byte ${this.size}`,
      `${length} bytes starting at byte ${position}`,
      position,
    );
  }

  private integer(bytes: Buffer, offset: number, place: number): number {
    const value = bytes.readBigUInt64LE(offset);
    if (value <= BigInt(this.size)) return Number(value);
    throw this.bad('truncated', `a size or position of ${value}`, `at most ${this.size}, the file size`, place);
  }

  private bad(reason: string, received: string, expected: string, at?: number, fix?: string): TorchFileError {
    const argument = at === undefined ? this.path : `${this.path}, byte ${at}`;
    return new TorchFileError(reason, { argument, received, expected, fix: fix ?? 'Copy the file again.' });
  }
}

async function readFully(file: FileHandle, path: string, position: number, target: Uint8Array): Promise<void> {
  const done = await fill(file, position, target);
  if (done === target.length) return;
  throw new TorchFileError('truncated', {
    argument: `${path}, byte ${position + done}`,
    received: 'end of file',
    expected: `${target.length - done} more bytes`,
    fix: 'Copy the file again.',
  });
}
