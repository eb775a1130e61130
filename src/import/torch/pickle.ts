/**
 * Reads the pickles inside .pt files without executing anything: a stack machine with only the opcodes and globals that
 * a state_dict needs. A global is treated as a name, never as code; anything not listed below is rejected.
 */
import { printable, TorchFileError } from '../../errors.ts';
import {
  itemsOf,
  kind,
  PickleDict,
  PickleGlobal,
  PickleSet,
  PickleStorage,
  PickleTensor,
  PickleTuple,
  type PickleValue,
} from './pickle-values.ts';
import { DTYPE, ORDERED_DICT, PARAMETER, SIZE, STORAGES, TENSOR } from './pickle-globals.ts';

/** Maximum size of a pickle in bytes. */
export const MAX_PICKLE_BYTES = 64 * 1024 * 1024;
/** Enough for a state_dict of 10,000 tensors, with room to spare. */
const MAX_OPCODES = 1_000_000;
const MAX_CONTAINERS = 75_000;
const MAX_FILLED_DICTS = 10_000;
const MAX_STACK = 50_000;
const MAX_MEMO = 200_000;
const MAX_STRING_BYTES = 1024 * 1024;
const MAX_NAME_BYTES = 256;
const MAX_NESTING = 100;
const MAX_RANK = 8;

/**
 * Decodes the pickle in `bytes`. `path` is used in errors, which give the position of the opcode.
 * @throws TorchFileError for any opcode, global, call or number that the pickle of a state_dict does not contain.
 */
export function unpickle(bytes: Uint8Array, path: string): PickleValue {
  return new Machine(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), path).run();
}

class Machine {
  private readonly bytes: Buffer;
  private readonly path: string;
  private readonly stack: PickleValue[] = [];
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PickleValue>();
  private next = 0;
  /** The position of the current opcode. */
  private at = 0;
  private containers = 0;
  private filledDicts = 0;

  constructor(bytes: Buffer, path: string) {
    this.bytes = bytes;
    this.path = path;
  }

  run(): PickleValue {
    if (this.bytes.length > MAX_PICKLE_BYTES) {
      throw this.bad('pickle-size', `${this.bytes.length} bytes`, `at most ${MAX_PICKLE_BYTES}`);
    }
    this.protocol();
    for (let count = 1; ; count++) {
      this.at = this.next;
      const opcode = this.byte();
      if (opcode === 0x2e) return this.stop();
      if (count > MAX_OPCODES) throw this.bad('pickle-limits', 'too many opcodes', `at most ${MAX_OPCODES}`);
      this.obey(opcode);
      if (this.stack.length > MAX_STACK) throw this.bad('pickle-limits', 'too deep a stack', `at most ${MAX_STACK}`);
    }
  }

  private protocol(): void {
    if (this.byte() !== 0x80) throw this.bad('pickle-protocol', 'no protocol', 'protocol 2, which torch.save writes');
    const protocol = this.byte();
    if (protocol === 2) return;
    throw this.bad('pickle-protocol', `protocol ${protocol}`, 'protocol 2 (save without pickle_protocol)');
  }

  private stop(): PickleValue {
    const value = this.pop();
    if (this.stack.length > 0 || this.marks.length > 0)
      throw this.bad('pickle-stack', 'leftover values', 'one at the end');
    if (this.next !== this.bytes.length) throw this.bad('pickle-trailing', 'trailing bytes', 'none');
    this.checkNesting(value);
    return value;
  }

  private obey(opcode: number): void {
    switch (opcode) {
      case 0x28: // MARK
        this.marks.push(this.stack.length);
        return;
      case 0x4e: // NONE
        this.stack.push(null);
        return;
      case 0x88: // NEWTRUE
        this.stack.push(true);
        return;
      case 0x89: // NEWFALSE
        this.stack.push(false);
        return;
      case 0x4a: // BININT
        this.stack.push(this.take(4).readInt32LE());
        return;
      case 0x4b: // BININT1
        this.stack.push(this.byte());
        return;
      case 0x4d: // BININT2
        this.stack.push(this.take(2).readUInt16LE());
        return;
      case 0x8a: // LONG1
        this.stack.push(this.long());
        return;
      case 0x47: // BINFLOAT
        this.stack.push(this.take(8).readDoubleBE());
        return;
      case 0x58: // BINUNICODE
        this.stack.push(this.text(this.take(4).readUInt32LE()));
        return;
      case 0x55: // SHORT_BINSTRING
        this.stack.push(this.text(this.byte()));
        return;
      case 0x29: // EMPTY_TUPLE
        this.contain(new PickleTuple([]));
        return;
      case 0x5d: // EMPTY_LIST
        this.contain([]);
        return;
      case 0x7d: // EMPTY_DICT
        this.contain(new PickleDict(false));
        return;
      case 0x8f: // EMPTY_SET
        this.contain(new PickleSet());
        return;
      case 0x74: // TUPLE
        this.contain(new PickleTuple(this.popMark()));
        return;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        this.contain(new PickleTuple(this.popMany(opcode - 0x84)));
        return;
      case 0x61: // APPEND
        this.append(this.popMany(1));
        return;
      case 0x65: // APPENDS
        this.append(this.popMark());
        return;
      case 0x73: // SETITEM
        this.setItems(this.popMany(2));
        return;
      case 0x75: // SETITEMS
        this.setItems(this.popMark());
        return;
      case 0x71: // BINPUT
        this.put(this.byte());
        return;
      case 0x72: // LONG_BINPUT
        this.put(this.take(4).readUInt32LE());
        return;
      case 0x68: // BINGET
        this.get(this.byte());
        return;
      case 0x6a: // LONG_BINGET
        this.get(this.take(4).readUInt32LE());
        return;
      case 0x63: // GLOBAL
        this.stack.push(this.global());
        return;
      case 0x51: // BINPERSID
        this.stack.push(this.storage(this.pop()));
        return;
      case 0x52: // REDUCE
        this.reduce();
        return;
      case 0x62: // BUILD
        this.build();
        return;
      default:
        throw this.bad('pickle-opcode', `opcode 0x${opcode.toString(16)}`, 'only opcodes that a state_dict needs');
    }
  }

  private long(): number | bigint {
    const length = this.byte();
    if (length > 8) throw this.bad('pickle-integer', `an integer of ${length} bytes`, 'at most 8');
    let value = 0n;
    for (const [i, byte] of this.take(length).entries()) value |= BigInt(byte) << BigInt(8 * i);
    const signed = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
  }

  private text(length: number): string {
    if (length > MAX_STRING_BYTES) {
      throw this.bad('pickle-limits', `a text of ${length} bytes`, `at most ${MAX_STRING_BYTES}`);
    }
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.take(length));
    } catch (error) {
      if (error instanceof TorchFileError) throw error;
      throw this.bad('pickle-text', 'a text that is not valid UTF-8', 'UTF-8');
    }
  }

  private append(values: readonly PickleValue[]): void {
    const list = this.stack.at(-1);
    if (!Array.isArray(list)) throw this.bad('pickle-append', `an element for ${kind(list)}`, 'a list to append to');
    for (const value of values) list.push(value);
  }

  private setItems(items: readonly PickleValue[]): void {
    const dict = this.stack.at(-1);
    if (!(dict instanceof PickleDict)) {
      throw this.bad('pickle-setitem', `an item for ${kind(dict)}`, 'a dict made in this file');
    }
    if (items.length % 2 !== 0) throw this.bad('pickle-setitem', 'a key without a value', 'key-value pairs');
    if (dict.entries.size === 0 && ++this.filledDicts > MAX_FILLED_DICTS) {
      throw this.bad('pickle-limits', 'too many dicts', `at most ${MAX_FILLED_DICTS}`);
    }
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i] as PickleValue;
      if (key !== null && !['string', 'number', 'bigint', 'boolean'].includes(typeof key)) {
        throw this.bad('pickle-key', `${kind(key)} as a key`, 'a text or a number');
      }
      dict.set(key, items[i + 1] as PickleValue);
    }
  }

  private put(slot: number): void {
    if (this.stack.length === 0) throw this.bad('pickle-stack', 'an empty stack', 'a value to remember');
    this.memo.set(slot, this.stack.at(-1) as PickleValue);
    if (this.memo.size > MAX_MEMO) throw this.bad('pickle-limits', 'too large a memo', `at most ${MAX_MEMO}`);
  }

  private get(slot: number): void {
    const value = this.memo.get(slot);
    if (value === undefined) throw this.bad('pickle-memo', `slot ${slot}`, 'a slot that was filled before');
    this.stack.push(value);
  }

  private global(): PickleGlobal {
    const name = `${this.line()}.${this.line()}`;
    const known = name === ORDERED_DICT || name === TENSOR || name === PARAMETER || name === SIZE;
    if (known || Object.hasOwn(STORAGES, name) || DTYPE.test(name)) return new PickleGlobal(name);
    const key = this.stack.findLast((value) => typeof value === 'string');
    const place = key === undefined ? '' : `, in or after the entry ${printable(key)}`;
    const fix =
      'It names code, which torch.load(file, weights_only=True) rejects too, and plain torch.load executes. Ask whoever ' +
      'wrote the file to save only the state_dict.';
    throw this.bad(
      'pickle-global',
      `global ${printable(name)}${place}`,
      'only what a state_dict of tensors needs',
      fix,
    );
  }

  private line(): string {
    const end = this.bytes.subarray(this.next, this.next + MAX_NAME_BYTES).indexOf(0x0a);
    if (end < 0) throw this.bad('pickle-global', 'an unterminated name', `at most ${MAX_NAME_BYTES} bytes`);
    const text = this.bytes.toString('latin1', this.next, this.next + end);
    this.next += end + 1;
    return text;
  }

  private storage(id: PickleValue): PickleStorage {
    const [word, type, key, location, elements] = id instanceof PickleTuple ? id.items : [];
    const dtype = type instanceof PickleGlobal ? STORAGES[type.name] : undefined;
    const whole = id instanceof PickleTuple && id.items.length === 5 && word === 'storage' && dtype !== undefined;
    if (!whole || typeof key !== 'string' || typeof location !== 'string' || !isCount(elements)) {
      throw this.bad('pickle-storage', 'a malformed persistent id', "('storage', type, key, location, elements)");
    }
    return new PickleStorage(dtype, key, elements);
  }

  private reduce(): void {
    const [callable, args] = this.popMany(2);
    if (!(callable instanceof PickleGlobal) || !(args instanceof PickleTuple)) {
      throw this.bad('pickle-reduce', `a call of ${kind(callable)}`, 'a global and its arguments');
    }
    const { items } = args;
    if (callable.name === ORDERED_DICT && items.length === 0) this.contain(new PickleDict(true));
    else if (callable.name === SIZE && items.length === 1) this.contain(new PickleTuple(this.counts(items[0])));
    else if (callable.name === TENSOR) this.stack.push(this.tensor(items));
    else if (callable.name === PARAMETER && items.length === 3 && items[0] instanceof PickleTensor) {
      this.stack.push(items[0]);
    } else {
      const received = `a call of ${callable.name} with ${items.length} arguments`;
      throw this.bad('pickle-reduce', received, 'only calls that create tensors and dicts');
    }
  }

  private tensor(items: readonly PickleValue[]): PickleTensor {
    const [storage, offset, size, stride, , hooks] = items;
    const forms = items.length === 6 || items.length === 7;
    if (!forms || !(storage instanceof PickleStorage) || !isCount(offset) || !isEmptyDict(hooks)) {
      throw this.bad('tensor-arguments', 'malformed arguments', '_rebuild_tensor_v2(storage, offset, size, ...)');
    }
    const shape = this.counts(size);
    const strides = this.counts(stride);
    if (shape.length !== strides.length || shape.length > MAX_RANK) {
      const received = `${shape.length} sizes and ${strides.length} strides`;
      throw this.bad('tensor-rank', received, `equal numbers, at most ${MAX_RANK}`);
    }
    const elements = shape.reduce((product, length) => product * length, 1);
    const last = offset + shape.reduce((sum, length, i) => sum + (length - 1) * (strides[i] as number), 0);
    if (elements > storage.elements) {
      const received = `shape ${printable(shape)} of ${storage.elements} elements`;
      throw this.bad('tensor-expanded', received, 'no more elements than are stored');
    }
    if (elements > 0 ? last >= storage.elements : offset > storage.elements) {
      const received = `shape ${printable(shape)} with strides ${printable(strides)} at offset ${offset}`;
      throw this.bad('tensor-bounds', received, `indices below ${storage.elements}`);
    }
    return new PickleTensor(storage, offset, shape, strides);
  }

  private counts(value: PickleValue | undefined): number[] {
    const items = value instanceof PickleTuple ? value.items : value;
    if (Array.isArray(items) && items.every(isCount)) return [...items];
    throw this.bad('tensor-arguments', 'malformed sizes or strides', 'tuples of integers >= 0');
  }

  // OrderedDicts store module versions in an attribute; nothing else may have attributes.
  private build(): void {
    const state = this.pop();
    const object = this.stack.at(-1);
    if (object instanceof PickleDict && object.ordered && state instanceof PickleDict) return;
    throw this.bad('pickle-build', `attributes of ${kind(object)}`, 'attributes of an OrderedDict');
  }

  private contain(value: PickleValue): void {
    if (++this.containers > MAX_CONTAINERS) {
      throw this.bad('pickle-limits', 'too many lists, tuples and dicts', `at most ${MAX_CONTAINERS}`);
    }
    this.stack.push(value);
  }

  private pop(): PickleValue {
    return this.popMany(1)[0] as PickleValue;
  }

  private popMany(count: number): PickleValue[] {
    if (this.stack.length - count < (this.marks.at(-1) ?? 0)) {
      throw this.bad('pickle-stack', 'too few values', `${count} of them`);
    }
    return this.stack.splice(this.stack.length - count);
  }

  private popMark(): PickleValue[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw this.bad('pickle-stack', 'no mark on the stack', 'a mark before this opcode');
    return this.stack.splice(mark);
  }

  private byte(): number {
    return this.take(1)[0] as number;
  }

  private take(length: number): Buffer {
    const end = this.next + length;
    if (end > this.bytes.length) throw this.bad('pickle-truncated', 'end of file', `${length} more bytes`);
    const taken = this.bytes.subarray(this.next, end);
    this.next = end;
    return taken;
  }

  /** Visits every container once: its height is one more than that of the highest container in it. */
  private checkNesting(root: PickleValue): void {
    const heights = new Map<PickleValue, number>();
    const visit = (value: PickleValue, depth: number): number => {
      if (depth > MAX_NESTING) throw this.bad('pickle-nesting', 'deep nesting or a cycle', `at most ${MAX_NESTING}`);
      if (value === null || typeof value !== 'object') return 0;
      const known = heights.get(value);
      if (known !== undefined) {
        if (depth + known > MAX_NESTING) visit(null, depth + known);
        return known;
      }
      heights.set(value, Number.POSITIVE_INFINITY); // in progress: meeting it again means a cycle
      let height = 0;
      for (const item of itemsOf(value)) height = Math.max(height, visit(item, depth + 1) + 1);
      heights.set(value, height);
      return height;
    };
    visit(root, 0);
  }

  private bad(reason: string, received: string, expected: string, fix = 'Copy the file again.'): TorchFileError {
    return new TorchFileError(reason, { argument: `${this.path}, data.pkl byte ${this.at}`, received, expected, fix });
  }
}

function isCount(value: PickleValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isEmptyDict(value: PickleValue | undefined): boolean {
  return value instanceof PickleDict && value.entries.size === 0;
}
