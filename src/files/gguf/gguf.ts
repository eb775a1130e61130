/** GGUF files: metadata, names, shapes and bytes of tensors, read by position and never as a whole. */
import { type FileHandle, open } from 'node:fs/promises';
import { GgufError, nearest, printable } from '../../errors.ts';
import { checkKind, PATH } from '../../checks/kinds.ts';
import { asFileError } from '../file-error.ts';
import { fill, OpenFile } from '../open-file.ts';
import { READ_FLAGS } from '../regular-file.ts';
import { badFile, Cursor } from './cursor.ts';
import { type GgufEntry, type GgufHeader, readHeader } from './header.ts';
import { GgufMetadata } from './metadata.ts';

export type { GgufEntry } from './header.ts';

const EXPECTED = 'a readable GGUF file';

/** An open GGUF file whose header has been checked. Close it, or use `await using`. */
export class GgufFile extends OpenFile {
  /** All tensors by name, in the order of the header. */
  readonly entries: ReadonlyMap<string, GgufEntry>;
  readonly metadata: GgufMetadata;

  constructor(path: string, file: FileHandle, { entries, metadata }: GgufHeader) {
    super(path, file);
    this.entries = entries;
    this.metadata = new GgufMetadata(path, metadata);
  }

  /** Returns the position of the tensor `name`. @throws GgufError if there is none of that name. */
  entry(name: string): GgufEntry {
    const entry = this.entries.get(name);
    if (entry !== undefined) return entry;
    const near = nearest(
      name,
      [...this.entries.keys()].filter(({ length }) => length < 256),
    );
    const fix = near === undefined ? {} : { fix: `Did you mean ${printable(near)}?` };
    const problem = `no tensor named ${printable(name)}`;
    throw new GgufError({ argument: this.path, problem, ...fix, reason: 'no-such-tensor' });
  }

  /** Fills `target` with the bytes of the file starting at `position`. @throws GgufError if the file ends early. */
  async read(position: number, target: Uint8Array): Promise<void> {
    const done = await fill(this.file, position, target).catch((error: unknown) => {
      throw asFileError(error, this.path, EXPECTED);
    });
    if (done === target.length) return;
    const received = `end of file at byte ${position + done}`;
    const expected = `${target.length} bytes starting at byte ${position}`;
    throw badFile('truncated', this.path, received, expected, { position: position + done });
  }
}

/**
 * Opens `path` and reads its header, which takes at most five times the header's size in memory: at most 64 MiB and
 * 4,000,000 texts.
 * @throws FileError if the file is missing or unreadable.
 * @throws GgufError if it breaks a rule of the format.
 */
export async function openGguf(path: string): Promise<GgufFile> {
  checkKind('path', path, PATH);
  let file: FileHandle | undefined;
  try {
    file = await open(path, READ_FLAGS);
    const stats = await file.stat();
    if (!stats.isFile()) {
      const received = stats.isDirectory() ? 'a folder' : 'a pipe, socket or device';
      throw badFile('not-a-file', path, received, EXPECTED, { fix: 'Name a file.' });
    }
    return new GgufFile(path, file, readHeader(new Cursor(path, file.fd, stats.size), stats.size));
  } catch (error) {
    await file?.close();
    throw asFileError(error, path, EXPECTED);
  }
}
