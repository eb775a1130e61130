/** One file from the hub to disk: resumed where it was cut, checked by its hash, and only then given its name. */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HubError, PalmError } from '../errors.ts';
import { syncFolder } from '../files/atomic-write.ts';
import { asFileError } from '../files/file-error.ts';
import { makeFolder } from '../files/folder.ts';
import { fill, syncFile } from '../files/open-file.ts';
import { ask, type Hub, Passing, passing, retrying } from './client.ts';
import type { Entry } from './listing.ts';
import { Pace } from './pace.ts';

/** The end of the name of a file that is not whole yet. huggingface_hub has other ends, and appends to no file of this one. */
const PARTIAL = '.resumable.incomplete';
const PIECE = 2 ** 20;

/**
 * Downloads the content of `entry` from `url` to the file `target`.
 * @param onBytes called with the bytes that are there whenever there are more, or fewer: after a false start
 * @throws HubError if the hub does not give it, or gives something else.
 * @throws FileError if it cannot be written, as on a full disk; the part that is there is kept and resumed.
 */
export async function fetchBlob(
  hub: Hub,
  url: URL,
  what: string,
  entry: Entry,
  target: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  makeFolder(dirname(target));
  const path = `${target}${PARTIAL}`;
  try {
    await fillPartial(hub, url, what, path, entry, onBytes);
    await rename(path, target);
    await syncFolder(dirname(target));
  } catch (error) {
    throw error instanceof PalmError || isAbort(hub, error) ? error : asFileError(error, path, 'a file to write to');
  }
}

/** Leaves all of the right bytes in the file `path`, and on the disk. */
async function fillPartial(
  hub: Hub,
  url: URL,
  what: string,
  path: string,
  entry: Entry,
  onBytes: (bytes: number) => void,
): Promise<void> {
  await using partial = await Partial.open(path, what, entry, onBytes);
  for (let fresh = partial.size === 0; ; fresh = true) {
    await complete(hub, url, what, partial);
    if (partial.isRight()) break;
    await partial.restart();
    if (fresh) throw damaged(what, 'bytes with another hash');
  }
  await partial.sync();
}

function isAbort({ signal }: Hub, error: unknown): boolean {
  return signal?.aborted === true && error === signal.reason;
}

/** Fetches until `partial` has all its bytes. */
async function complete(hub: Hub, url: URL, what: string, partial: Partial): Promise<void> {
  let before = partial.size;
  const gained = () => partial.size - before >= hub.patience.leastBytes;
  await retrying(
    hub,
    what,
    async () => {
      before = partial.size;
      if (partial.left > 0) await continued(hub, url, what, partial);
    },
    gained,
  );
}

/** One request for the rest of `partial`. @throws Passing if the connection ends or is too slow before the end. */
async function continued(hub: Hub, url: URL, what: string, partial: Partial): Promise<void> {
  using pace = new Pace(hub.patience);
  const headers: Record<string, string> = partial.size > 0 ? { range: `bytes=${partial.size}-` } : {};
  const response = await ask(hub, url, what, { headers, signal: pace.signal }, [416]);
  await placeAt(response, partial);
  const declared = response.headers.get('content-length');
  if (declared !== null && Number(declared) !== partial.left) {
    throw damaged(what, `${declared} bytes, where the listing has ${partial.left}`);
  }
  pace.start();
  for await (const piece of pieces(hub, response, pace)) await partial.append(piece);
  if (partial.left > 0) throw new Passing(`the connection ended after ${partial.size} bytes`);
}

/** Starts again where the hub does not continue: it may ignore the range, or have nothing there. */
async function placeAt(response: Response, partial: Partial): Promise<void> {
  const range = response.status === 206 ? /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '') : undefined;
  if (response.status === 206 && Number(range?.[1] ?? Number.NaN) === partial.size) return;
  await partial.restart();
  if (response.status !== 200) throw new Passing('another part of the file', { status: response.status });
}

/** The body of an answer, with its network errors as Passing. */
async function* pieces(hub: Hub, response: Response, pace: Pace): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of response.body ?? []) {
      pace.count(piece.length);
      yield piece;
    }
  } catch (error) {
    hub.signal?.throwIfAborted();
    throw pace.failure ?? passing(error);
  }
}

/** A file that grows from its beginning to all bytes of `entry`, with the hash of what is there. */
class Partial implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #what: string;
  readonly #entry: Entry;
  readonly #onBytes: (bytes: number) => void;
  #hash: Hash;
  #size = 0;

  private constructor(file: FileHandle, what: string, entry: Entry, onBytes: (bytes: number) => void) {
    this.#file = file;
    this.#what = what;
    this.#entry = entry;
    this.#onBytes = onBytes;
    this.#hash = hashOf(entry);
  }

  /** Opens or creates `path`, and reads what an earlier try left there. */
  static async open(path: string, what: string, entry: Entry, onBytes: (bytes: number) => void): Promise<Partial> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const partial = new Partial(await open(path, flags, 0o644), what, entry, onBytes);
    try {
      await partial.#readBack();
      return partial;
    } catch (error) {
      await partial.#file.close();
      throw error;
    }
  }

  /** Bytes that are there. */
  get size(): number {
    return this.#size;
  }

  /** Bytes that are not. */
  get left(): number {
    return this.#entry.size - this.#size;
  }

  /** Adds bytes. @throws HubError if there are more than the file has. */
  async append(piece: Uint8Array): Promise<void> {
    if (piece.length > this.left) {
      await this.restart();
      throw damaged(this.#what, `more than the ${this.#entry.size} bytes of the listing`);
    }
    for (let done = 0; done < piece.length; ) {
      done += (await this.#file.write(piece, done, piece.length - done, this.#size + done)).bytesWritten;
    }
    this.#count(piece);
  }

  /** Forgets all bytes. */
  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = hashOf(this.#entry);
    this.#size = 0;
    this.#onBytes(0);
  }

  /** Whether the bytes, all of which have to be there, are the right ones. Asked once. */
  isRight(): boolean {
    return this.#hash.digest('hex') === (this.#entry.sha256 ?? this.#entry.blobId);
  }

  async sync(): Promise<void> {
    await syncFile(this.#file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #readBack(): Promise<void> {
    const { size } = await this.#file.stat();
    if (size > this.#entry.size) await this.restart();
    const buffer = Buffer.allocUnsafe(PIECE);
    while (this.left > 0) {
      const read = await fill(this.#file, this.#size, buffer.subarray(0, Math.min(PIECE, this.left)));
      if (read === 0) return;
      this.#count(buffer.subarray(0, read));
    }
  }

  #count(piece: Uint8Array): void {
    this.#hash.update(piece);
    this.#size += piece.length;
    this.#onBytes(this.#size);
  }
}

/** The hash that names a content: SHA-256 of large files, git's own of others. */
function hashOf({ sha256, size }: Entry): Hash {
  return sha256 === undefined ? createHash('sha1').update(`blob ${size}\0`) : createHash('sha256');
}

function damaged(argument: string, received: string): HubError {
  const fix = 'Try again; if it happens again, something between here and the hub changes files.';
  return new HubError({ reason: 'damaged', argument, received, expected: 'the file that the hub lists', fix });
}
