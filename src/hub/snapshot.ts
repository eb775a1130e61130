/** A snapshot: the files that are wanted of a repository at one commit. It is whole if its listing says so, or it is not there. */
import { join } from 'node:path';
import { HubError, printable } from '../errors.ts';
import { readWholeText } from '../files/regular-file.ts';
import { fetchBlob } from './blob.ts';
import { type Present, type RepoCache, sizeOf } from './cache.ts';
import { addressOf, type Hub } from './client.ts';
import { type Entry, fetchListing } from './listing.ts';
import { besides, type Wanted, weights } from './wanted.ts';

/** How far a download is. */
export interface DownloadProgress {
  /** The file that has just grown. */
  file: string;
  /** Bytes of all files that are there, and that there will be. */
  bytes: number;
  total: number;
}

const AT_ONCE = 4;
/** As large as the index of any model. */
const MAX_INDEX = 64 * 2 ** 20;

/** Where a snapshot comes from, and what is wanted of it. */
export interface Snapshot {
  cache: RepoCache;
  commit: string;
  wanted: Wanted;
}

/** The names of the files that are wanted and not there; none if the snapshot is whole. @throws HubError */
export function missingFiles(snapshot: Snapshot, listing: readonly Entry[] | undefined): string[] {
  if (listing === undefined) return missingUnlisted(snapshot);
  const { cache, commit, wanted } = snapshot;
  const absent = (entries: readonly Present[]) => entries.filter((entry) => !cache.has(commit, entry));
  const first = absent(besides(listing, wanted));
  const missing = first.length > 0 ? first : absent(weights(listing, wanted, (path) => indexText(snapshot, path)));
  return missing.map(({ path }) => path);
}

/**
 * The same where no listing is kept, as an older huggingface_hub keeps none: a configuration and all weights that an index
 * names have to be there.
 */
function missingUnlisted(snapshot: Snapshot): string[] {
  const { cache, commit, wanted } = snapshot;
  const present = cache.present(commit);
  const has = (name: RegExp) => present.some(({ path }) => name.test(path));
  if (wanted.file !== undefined) return present.some(({ path }) => path === wanted.file) ? [] : [wanted.file];
  if (!has(/^(adapter_)?config\.json$/)) return ['config.json'];
  if (!has(/\.(safetensors|bin)$/)) return ['weights'];
  try {
    weights(present, wanted, (path) => indexText(snapshot, path));
    return [];
  } catch (error) {
    if (error instanceof HubError && error.reason === 'damaged') return ['all files of its weights'];
    throw error;
  }
}

/** Downloads what is missing. The weights come last, as an index may have to say which they are. */
export async function download(
  hub: Hub,
  snapshot: Snapshot,
  listing: readonly Entry[],
  onProgress: (progress: DownloadProgress) => void,
): Promise<void> {
  const { cache, commit, wanted } = snapshot;
  const first = besides(listing, wanted);
  const counted = counting(onProgress);
  counted.expect(first);
  await fetchAll(hub, snapshot, first, counted);
  const last = weights(listing, wanted, (path) => indexText(snapshot, path));
  counted.expect(last);
  await fetchAll(hub, snapshot, last, counted);
  const missing = missingFiles({ cache, commit, wanted }, listing);
  if (missing.length > 0) throw notWhole(snapshot, missing);
}

/** The listing of a commit: the cache's copy, or the hub's, which is then copied before any file is there. */
export async function listingOf(hub: Hub, { cache, commit }: Snapshot): Promise<Entry[]> {
  const kept = cache.listing(commit);
  if (kept !== undefined) return kept;
  const listing = await fetchListing(hub, cache.repo, commit);
  await cache.setListing(commit, listing);
  return listing;
}

function indexText({ cache, commit }: Snapshot, path: string): string {
  const expected = 'the index of the weights';
  return readWholeText(join(cache.snapshot(commit), path), { expected, most: MAX_INDEX });
}

/** Fetches several files at once; those with one content, which is kept once, in turn. The first failure ends the others. */
async function fetchAll(hub: Hub, snapshot: Snapshot, entries: readonly Entry[], counted: Counting): Promise<void> {
  const failure = new AbortController();
  const signal = hub.signal === undefined ? failure.signal : AbortSignal.any([hub.signal, failure.signal]);
  const waiting = byContent(snapshot.cache, entries);
  const worker = async () => {
    for (let same = waiting.shift(); same !== undefined; same = waiting.shift()) {
      for (const entry of same) {
        signal.throwIfAborted();
        await fetchOne({ ...hub, signal }, snapshot, entry, counted);
      }
    }
  };
  const workers = Array.from({ length: Math.min(AT_ONCE, waiting.length) }, () =>
    worker().catch((error: unknown) => {
      failure.abort(error);
      throw error;
    }),
  );
  await Promise.allSettled(workers);
  await Promise.all(workers).catch(() => signal.throwIfAborted());
}

function byContent(cache: RepoCache, entries: readonly Entry[]): Entry[][] {
  const groups = new Map<string, Entry[]>();
  for (const entry of entries) groups.set(cache.blob(entry), [...(groups.get(cache.blob(entry)) ?? []), entry]);
  return [...groups.values()];
}

async function fetchOne(hub: Hub, { cache, commit }: Snapshot, entry: Entry, counted: Counting): Promise<void> {
  if (cache.has(commit, entry)) return counted.set(entry, entry.size);
  const blob = cache.blob(entry);
  const isNew = sizeOf(blob) !== entry.size;
  if (isNew) {
    const path = entry.path.split('/').map(encodeURIComponent).join('/');
    const url = addressOf(hub, `${cache.repo}/resolve/${commit}/${path}`);
    await fetchBlob(hub, url, `${cache.repo}/${entry.path}`, entry, blob, (bytes) => counted.set(entry, bytes));
  }
  cache.link(commit, entry, isNew);
  counted.set(entry, entry.size);
}

interface Counting {
  expect(entries: readonly Entry[]): void;
  set(entry: Entry, bytes: number): void;
}

/** Adds up the bytes of files that grow side by side. */
function counting(onProgress: (progress: DownloadProgress) => void): Counting {
  const sizes = new Map<string, number>();
  let [bytes, total] = [0, 0];
  return {
    expect(entries) {
      for (const { size } of entries) total += size;
    },
    set({ path }, now) {
      const before = sizes.get(path) ?? 0;
      sizes.set(path, now);
      bytes += now - before;
      if (now !== before) onProgress({ file: path, bytes, total });
    },
  };
}

function notWhole({ cache, commit }: Snapshot, missing: readonly string[]): HubError {
  const received = `a snapshot without ${printable(missing[0])}, which has just been put there`;
  const fix = 'Something else removes files from the cache: stop it, and try again.';
  return new HubError({ reason: 'damaged', argument: cache.snapshot(commit), received, expected: 'all files', fix });
}
