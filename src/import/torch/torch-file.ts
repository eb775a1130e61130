/**
 * Files written by torch.save (.pt): their contents, and the bytes of their tensors, read by position and never as a
 * whole.
 */
import { printable, TorchFileError } from '../../errors.ts';
import { MAX_PICKLE_BYTES, unpickle } from './pickle.ts';
import { itemsOf, type PickleStorage, PickleTensor, type PickleValue } from './pickle-values.ts';
import { DTYPE_BITS } from '../../files/safetensors/header.ts';
import { openZip, type ZipFile, type ZipRecord } from './zip.ts';

/** Maximum number of bytes of a tensor yielded at once. */
const PIECE_BYTES = 4 * 1024 * 1024;
/** Tensors may share storages, as tied weights do; together they may read at most this many times what is stored. */
const MAX_SHARING = 16;

/** Other records than data.pkl and data/ in an archive of torch.save. */
const MARKS = ['version', 'byteorder', '.format_version', '.storage_alignment', '.data/serialization_id'];

/** An open .pt file that has passed all checks. Close it, or use `await using`. */
export class TorchFile implements AsyncDisposable {
  readonly path: string;
  /** The saved value. */
  readonly root: PickleValue;
  private readonly zip: ZipFile;
  private readonly storages: ReadonlyMap<string, ZipRecord>;

  constructor(zip: ZipFile, root: PickleValue, storages: ReadonlyMap<string, ZipRecord>) {
    this.path = zip.path;
    this.root = root;
    this.zip = zip;
    this.storages = storages;
  }

  /**
   * Yields the elements of `tensor`, row by row, in pieces of at most 4 MiB; each piece overwrites the previous one.
   * For a tensor that is not stored contiguously, the part of the storage that it views is held in memory meanwhile.
   */
  async *pieces(tensor: PickleTensor): AsyncGenerator<Uint8Array> {
    const width = bytesOf(tensor.storage);
    const bytes = count(tensor) * width;
    const begin = (this.storages.get(tensor.storage.key) as ZipRecord).begin + tensor.offset * width;
    const buffer = new Uint8Array(Math.min(PIECE_BYTES, bytes));
    const stored = isContiguous(tensor) ? undefined : new Uint8Array(span(tensor) * width);
    if (stored !== undefined) await this.zip.read(begin, stored);
    for (let done = 0; done < bytes; done += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, bytes - done));
      if (stored === undefined) await this.zip.read(begin + done, piece);
      else gather(tensor, stored, width, done / width, piece);
      yield piece;
    }
  }

  async close(): Promise<void> {
    await this.zip.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Opens `path`, checks the archive, reads its pickle without executing anything, and checks that every storage is
 * present.
 * @throws TorchFileError whose `reason` names the broken rule.
 * @throws FileError if the file is missing or unreadable.
 */
export async function openTorchFile(path: string): Promise<TorchFile> {
  const zip = await openZip(path);
  try {
    const root = rootOf(zip);
    const storages = await checkRecords(zip, root);
    const pickle = zip.records.get(`${root}/data.pkl`) as ZipRecord;
    if (pickle.size > MAX_PICKLE_BYTES) {
      throw bad(zip, 'pickle-size', `a data.pkl of ${pickle.size} bytes`, `at most ${MAX_PICKLE_BYTES}`);
    }
    const bytes = new Uint8Array(pickle.size);
    await zip.read(pickle.begin, bytes);
    const value = unpickle(bytes, path);
    checkTensors(zip, tensorsIn(value), storages);
    return new TorchFile(zip, value, storages);
  } catch (error) {
    await zip.close();
    throw error;
  }
}

/** Whether both tensors view the same elements of the same storage. */
export function isSameView(a: PickleTensor, b: PickleTensor): boolean {
  const key = ({ storage, offset, shape, strides }: PickleTensor) =>
    [storage.key, storage.dtype, offset, shape.join(), strides.join()].join(';');
  return key(a) === key(b);
}

/** The folder that contains all records. */
function rootOf(zip: ZipFile): string {
  const roots = new Set([...zip.records.keys()].map((name) => name.slice(0, Math.max(0, name.indexOf('/')))));
  const [root = ''] = roots;
  if (roots.size === 1 && root !== '') return root;
  throw bad(zip, 'roots', `records in ${roots.size} folders`, 'records in one folder');
}

/** Checks the records and returns the storages by key. */
async function checkRecords(zip: ZipFile, root: string): Promise<Map<string, ZipRecord>> {
  const names = [...zip.records.keys()].map((name) => name.slice(root.length + 1));
  if (names.some((name) => name === 'constants.pkl' || name.startsWith('code/'))) {
    const fix = 'Load it with torch.jit.load and save its state_dict() with torch.save.';
    throw bad(zip, 'torchscript', 'a TorchScript archive, which is a program', 'a state_dict', fix);
  }
  if (!names.includes('data.pkl'))
    throw bad(zip, 'no-pickle', 'an archive without data.pkl', 'an archive written by torch.save');
  const other = names.find((name) => name !== 'data.pkl' && !name.startsWith('data/') && !MARKS.includes(name));
  if (other !== undefined) {
    throw bad(zip, 'unknown-record', `the record ${printable(other)}`, 'only records that torch.save writes');
  }
  await checkByteOrder(zip, zip.records.get(`${root}/byteorder`));
  const storages = names.filter((name) => name.startsWith('data/'));
  return new Map(storages.map((name) => [name.slice('data/'.length), zip.records.get(`${root}/${name}`) as ZipRecord]));
}

async function checkByteOrder(zip: ZipFile, record: ZipRecord | undefined): Promise<void> {
  if (record === undefined) return;
  const bytes = Buffer.alloc(Math.min(16, record.size));
  await zip.read(record.begin, bytes);
  const order = bytes.toString('latin1');
  if (record.size === bytes.length && order === 'little') return;
  const fix = 'Save it again on a little-endian machine.';
  throw bad(zip, 'byte-order', `byte order ${printable(order)}`, '"little"', fix);
}

function tensorsIn(root: PickleValue): PickleTensor[] {
  const seen = new Set<PickleValue>([root]);
  for (const value of seen) {
    for (const item of itemsOf(value)) if (typeof item === 'object') seen.add(item);
  }
  return [...seen].filter((value) => value instanceof PickleTensor);
}

function checkTensors(zip: ZipFile, tensors: PickleTensor[], storages: ReadonlyMap<string, ZipRecord>): void {
  for (const storage of new Set(tensors.map((tensor) => tensor.storage))) {
    const record = storages.get(storage.key);
    const place = `storage ${printable(storage.key)}`;
    if (record === undefined) throw bad(zip, 'storage-missing', `no record of ${place}`, 'a record in data/');
    const bytes = storage.elements * bytesOf(storage);
    if (bytes === record.size) continue;
    throw bad(zip, 'storage-size', `${record.size} bytes of ${place}`, `${bytes}, according to data.pkl`);
  }
  const read = tensors.reduce((sum, tensor) => sum + span(tensor) * bytesOf(tensor.storage), 0);
  const stored = [...storages.values()].reduce((sum, { size }) => sum + size, 0);
  if (read <= MAX_SHARING * stored) return;
  throw bad(
    zip,
    'shared-storage',
    `tensors of ${read} bytes in total`,
    `at most ${MAX_SHARING} times the ${stored} bytes stored`,
  );
}

function bytesOf({ dtype }: PickleStorage): number {
  return DTYPE_BITS[dtype] / 8;
}

function count({ shape }: PickleTensor): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** The number of storage elements from the first to the last that the tensor views. */
function span(tensor: PickleTensor): number {
  if (count(tensor) === 0) return 0;
  return 1 + tensor.shape.reduce((sum, size, i) => sum + (size - 1) * (tensor.strides[i] as number), 0);
}

function isContiguous({ shape, strides }: PickleTensor): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i] as number;
  }
  return true;
}

/** Fills `piece` with the elements of `tensor`, starting with number `first`, from the `stored` bytes that it views. */
function gather({ shape, strides }: PickleTensor, stored: Uint8Array, width: number, first: number, piece: Uint8Array) {
  const index = shape.map(() => 0);
  let rest = first;
  for (let i = shape.length - 1; i >= 0; i--) {
    index[i] = rest % (shape[i] as number);
    rest = Math.floor(rest / (shape[i] as number));
  }
  let from = index.reduce((sum, place, i) => sum + place * (strides[i] as number), 0);
  for (let to = 0; to < piece.length; to += width) {
    for (let byte = 0; byte < width; byte++) piece[to + byte] = stored[from * width + byte] as number;
    for (let i = shape.length - 1; i >= 0; i--) {
      from += strides[i] as number;
      index[i] = (index[i] as number) + 1;
      if ((index[i] as number) < (shape[i] as number)) break;
      from -= (strides[i] as number) * (shape[i] as number);
      index[i] = 0;
    }
  }
}

function bad(zip: ZipFile, reason: string, received: string, expected: string, fix = 'Copy the file again.') {
  return new TorchFileError(reason, { argument: zip.path, received, expected, fix });
}
