/**
 * The folder of one repository in the cache, laid out as huggingface_hub lays it out: `blobs/` has contents by their hash,
 * `snapshots/<commit>/` the files of a commit as links to them, `refs/<branch>` a commit, and `trees/<commit>.json` its listing.
 */
import { copyFileSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { temporaryPath, writeAtomically } from '../files/atomic-write.ts';
import { asFileError } from '../files/file-error.ts';
import { makeFolder } from '../files/folder.ts';
import { withoutSymlinks } from './environment.ts';
import { type Entry, readListing, writeListing } from './listing.ts';
import { isCommit } from './names.ts';

/** A file that is there, with its size in bytes. */
export interface Present {
  path: string;
  size: number;
}

export class RepoCache {
  readonly repo: string;
  readonly #folder: string;
  /** The folder of this client's lock. */
  readonly locks: string;

  /** @param root the folder of all repositories, such as ~/.cache/huggingface/hub */
  constructor(root: string, repo: string) {
    const name = `models--${repo.replace('/', '--')}`;
    this.repo = repo;
    this.#folder = join(root, name);
    this.locks = join(root, '.locks', name);
  }

  snapshot(commit: string): string {
    return join(this.#folder, 'snapshots', commit);
  }

  /** Where the content of a file is kept, under the name that huggingface_hub gives it. */
  blob({ sha256, blobId }: Entry): string {
    return join(this.#folder, 'blobs', sha256 ?? blobId);
  }

  /** The commit that a branch or tag named when it was last looked up; undefined if it never was. */
  ref(revision: string): string | undefined {
    try {
      const commit = readFileSync(this.#ref(revision), 'utf8').trim();
      return isCommit(commit) ? commit : undefined;
    } catch {
      return undefined;
    }
  }

  /** @throws FileError */
  async setRef(revision: string, commit: string): Promise<void> {
    if (this.ref(revision) === commit) return;
    const path = this.#ref(revision);
    makeFolder(dirname(path));
    await writeAtomically(path, (aside) => writeFile(aside, commit));
  }

  listing(commit: string): Entry[] | undefined {
    return readListing(this.#tree(commit), this.repo);
  }

  /** @throws FileError */
  async setListing(commit: string, entries: readonly Entry[]): Promise<void> {
    await writeListing(this.#tree(commit), entries);
  }

  /** Whether a file is in the snapshot with all its bytes. */
  has(commit: string, { path, size }: Present): boolean {
    return sizeOf(join(this.snapshot(commit), path)) === size;
  }

  /** What is in a snapshot, whatever should be; nothing if there is none. */
  present(commit: string): Present[] {
    const folder = this.snapshot(commit);
    if (sizeOf(folder) === undefined) return [];
    const found = readdirSync(folder, { recursive: true, withFileTypes: true });
    const paths = found.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
    return paths.flatMap((path) => {
      const size = sizeOf(path);
      return size === undefined ? [] : [{ path: relative(folder, path), size }];
    });
  }

  /**
   * Puts a file whose content is in `blobs` into the snapshot: as a link or, where links cannot be made, as a file.
   * @param isNew whether the content was fetched just now, so that no other snapshot links to it and it may be moved
   * @throws FileError
   */
  link(commit: string, entry: Entry, isNew: boolean): void {
    const place = join(this.snapshot(commit), entry.path);
    const blob = this.blob(entry);
    const aside = temporaryPath(place);
    makeFolder(dirname(place));
    try {
      if (!linked(relative(dirname(place), blob), aside)) (isNew ? renameSync : copyFileSync)(blob, aside);
      renameSync(aside, place);
    } catch (error) {
      rmSync(aside, { force: true });
      throw asFileError(error, place, 'a file to write to');
    }
  }

  #ref(revision: string): string {
    return join(this.#folder, 'refs', revision);
  }

  #tree(commit: string): string {
    return join(this.#folder, 'trees', `${commit}.json`);
  }
}

/** Bytes of a file, also behind a link; undefined if there is none. */
export function sizeOf(path: string): number | undefined {
  try {
    return statSync(path).size;
  } catch {
    return undefined;
  }
}

/** False where symbolic links are not wanted or cannot be made, as on Windows and some file systems. */
function linked(target: string, path: string): boolean {
  if (withoutSymlinks()) return false;
  try {
    symlinkSync(target, path);
    return true;
  } catch (error) {
    if (['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return false;
    throw error;
  }
}
