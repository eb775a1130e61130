/**
 * Checks the headers of a Parquet file before the library reads them: it believes every size in them, and a list that
 * claims 2^31 entries would keep it busy for minutes.
 */
import type { RowGroup } from 'hyparquet';

/** Maximum size of a page, unpacked, in bytes, and maximum number of its values. */
const MAX_PAGE_BYTES = 256 * 1024 * 1024;
const MAX_PAGE_VALUES = 8_000_000;
const MAX_FOOTER_BYTES = 64 * 1024 * 1024;
const MAX_DEPTH = 32;

type Read = (start: number, end: number) => Promise<Uint8Array>;
/** The numbers and structures in a structure of Thrift, by their field number. */
type Struct = Map<number, number | Struct>;

/** Checks the footer, which says where everything is. @throws RangeError for one that cannot be right */
export async function checkFooter(read: Read, size: number): Promise<void> {
  if (size < 12) throw new RangeError('it has fewer than 12 bytes');
  const length = new DataView((await read(size - 8, size - 4)).buffer).getUint32(0, true);
  if (length > Math.min(MAX_FOOTER_BYTES, size - 12)) throw new RangeError(`a footer of ${length} bytes`);
  new Thrift(await read(size - 8 - length, size - 8)).struct();
}

/** Checks the headers of all pages of a row group. @throws RangeError for one that cannot be right */
export async function checkPages(read: Read, { columns }: RowGroup, size: number): Promise<void> {
  for (const { meta_data: column } of columns) {
    if (column === undefined) throw new RangeError('a column without metadata');
    const begin = Number(column.dictionary_page_offset || column.data_page_offset);
    const end = begin + Number(column.total_compressed_size);
    if (!(begin >= 4 && begin <= end && end <= size)) throw new RangeError(`a column from byte ${begin} to ${end}`);
    const bytes = await read(begin, end);
    for (let at = 0; at < bytes.length; ) {
      const thrift = new Thrift(bytes, at);
      at = checkPage(thrift.struct(), bytes.length - thrift.at) + thrift.at;
    }
  }
}

/** The packed size of a page by its header, when `left` bytes are left. */
function checkPage(header: Struct, left: number): number {
  const [unpacked, packed] = [header.get(2), header.get(3)] as number[];
  const isSize = (value: unknown, most: number) => typeof value === 'number' && value >= 0 && value <= most;
  if (!isSize(unpacked, MAX_PAGE_BYTES) || !isSize(packed, left)) {
    throw new RangeError(`a page of ${packed} bytes, ${unpacked} unpacked`);
  }
  for (const kind of [5, 7, 8]) {
    const values = (header.get(kind) as Struct | undefined)?.get?.(1);
    if (values !== undefined && !isSize(values, MAX_PAGE_VALUES)) throw new RangeError(`a page of ${values} values`);
  }
  return packed as number;
}

/** A structure in Thrift's compact protocol, walked without believing its sizes. */
class Thrift {
  at: number;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  struct(depth = 0): Struct {
    if (depth > MAX_DEPTH) throw new RangeError('a header nested too deep');
    const fields: Struct = new Map();
    for (let id = 0, head = this.byte(); head !== 0; head = this.byte()) {
      id = head >> 4 === 0 ? this.integer() : id + (head >> 4);
      const value = this.value(head & 15, depth);
      if (value !== undefined) fields.set(id, value);
    }
    return fields;
  }

  /** A value of a type by its number: 1 and 2 are true and false, without bytes of their own. */
  private value(type: number, depth: number): number | Struct | undefined {
    if (type === 1 || type === 2) return undefined;
    if (type === 3) return this.byte();
    if (type >= 4 && type <= 6) return this.integer();
    if (type === 7) return this.skip(8);
    if (type === 8) return this.skip(this.varint());
    if (type === 9 || type === 10) return this.list(depth);
    if (type === 12) return this.struct(depth + 1);
    throw new RangeError(`a header with a value of the type ${type}`);
  }

  private list(depth: number): undefined {
    if (depth > MAX_DEPTH) throw new RangeError('a header nested too deep');
    const head = this.byte();
    const size = head >> 4 === 15 ? this.varint() : head >> 4;
    if (size > this.bytes.length - this.at) throw new RangeError(`a list of ${size} entries`);
    const type = head & 15;
    for (let i = 0; i < size; i++) {
      if (type === 1 || type === 2) this.skip(1);
      else this.value(type, depth + 1);
    }
  }

  private skip(size: number): undefined {
    if (size > this.bytes.length - this.at) throw new RangeError(`a value of ${size} bytes`);
    this.at += size;
  }

  private byte(): number {
    const byte = this.bytes[this.at++];
    if (byte === undefined) throw new RangeError('a header that is cut off');
    return byte;
  }

  private varint(): number {
    let value = 0;
    for (let factor = 1; factor < 2 ** 70; factor *= 128) {
      const byte = this.byte();
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    throw new RangeError('a number without an end');
  }

  /** A signed integer, whose sign is its last bit. */
  private integer(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}
