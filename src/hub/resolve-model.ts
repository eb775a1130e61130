/** From what a user calls a model to a folder on this machine. */
import { existsSync, statSync } from 'node:fs';
import {
  checkKind,
  checkKinds,
  BOOLEAN,
  either,
  FUNCTION,
  instanceOf,
  type Kind,
  optional,
  PATH,
  TEXT,
} from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { ArgumentError, FileError, HubError, printable } from '../errors.ts';
import { RepoCache } from './cache.ts';
import { type Hub, openHub } from './client.ts';
import { cacheFolder, checkToken, endpoint, offlineByEnvironment, savedToken } from './environment.ts';
import { commitOf } from './listing.ts';
import { checkRevision, isCommit, parseReference } from './names.ts';
import { download, type DownloadProgress, listingOf, missingFiles, type Snapshot } from './snapshot.ts';
import { inTurn } from './turn.ts';

/** Which model, and how it is fetched. */
export interface ResolveOptions {
  /** A branch, a tag or a commit. Default `main`. */
  revision?: string | undefined;
  /** Sent to the hub alone. Default: HF_TOKEN, or the token that `hf auth login` saved. `false` sends none. */
  token?: string | false | undefined;
  /** Uses the cache only. Default: whether HF_HUB_OFFLINE is set, which also forbids the network if this is false. */
  offline?: boolean | undefined;
  /** The folder of all cached repositories. Default: HF_HUB_CACHE, or ~/.cache/huggingface/hub. */
  cacheDir?: string | undefined;
  /** Accepts weights in `.bin` files where there are no others. They are read without executing anything. Default false. */
  allowPickle?: boolean | undefined;
  /** Called as bytes arrive. */
  onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Ends the download; what has arrived is kept. */
  signal?: AbortSignal | undefined;
}

const NO_TOKEN: Kind = { is: (value) => value === false, words: 'false' };
const OPTIONS: Record<keyof ResolveOptions, Kind> = {
  revision: optional(TEXT),
  token: optional(either(TEXT, NO_TOKEN)),
  offline: optional(BOOLEAN),
  cacheDir: optional(PATH),
  allowPickle: optional(BOOLEAN),
  onProgress: optional(FUNCTION),
  signal: optional(instanceOf(AbortSignal)),
};

/**
 * The folder of a model: of the same name on this machine, or a snapshot of the Hugging Face hub, which is downloaded into the
 * cache of huggingface_hub unless it is there already. For `org/name/file.gguf` it is the path of that file.
 * @param model a folder or file, `org/name`, `org/name/file.gguf` or `org/name:file.gguf`
 * @throws ArgumentError for a name that is none of these, or options that have no effect.
 * @throws HubError if the hub does not give it, or offline if the cache has not all of it. `reason` says why.
 * @throws FileError if the cache cannot be written.
 */
export async function resolveModel(model: string, options: ResolveOptions = {}): Promise<string> {
  checkKind('model', model, PATH);
  checkOptions(options, Object.keys(OPTIONS), 'resolveModel');
  const given = { ...options };
  checkKinds('resolveModel', given, OPTIONS);
  given.signal?.throwIfAborted();
  if (isLocal(model, given)) return model;

  const { revision = 'main', allowPickle = false, cacheDir = cacheFolder() } = given;
  checkRevision(revision);
  const wanted = { ...parseReference(model), allowPickle };
  const cache = new RepoCache(cacheDir, wanted.repo);
  const hub = given.offline || offlineByEnvironment() ? undefined : hubOf(given);
  const commit = await commitIn(cache, revision, hub);
  const snapshot = { cache, commit, wanted };
  await makeWhole(snapshot, hub, given.onProgress);
  if (hub !== undefined && !isCommit(revision)) await cache.setRef(revision, commit);
  const folder = cache.snapshot(commit);
  return wanted.file === undefined ? folder : `${folder}/${wanted.file}`;
}

/** Whether `model` is on this machine. @throws FileError if it can be nothing else and is not there. */
function isLocal(model: string, { revision }: ResolveOptions): boolean {
  if (existsSync(model)) {
    if (revision === undefined) return true;
    const received = `${printable(revision)} with the ${statSync(model).isDirectory() ? 'folder' : 'file'} ${printable(model)}`;
    throw new ArgumentError({ argument: 'revision', received, expected: 'no revision for a model on this machine' });
  }
  if (!/^(\/|\.{1,2}(\/|$)|~)|\.(safetensors|pt|bin)$/.test(model)) return false;
  throw new FileError({ argument: model, problem: 'no such file or folder' });
}

/** The hub of the environment, asked with the token of the options or of the user. @throws ArgumentError */
export function hubOf({ token, signal }: Pick<ResolveOptions, 'token' | 'signal'>): Hub {
  if (typeof token === 'string') checkToken(token);
  return openHub(endpoint(), token === false ? undefined : (token ?? savedToken()), signal);
}

async function commitIn(cache: RepoCache, revision: string, hub: Hub | undefined): Promise<string> {
  if (isCommit(revision)) return revision;
  const kept = cache.ref(revision);
  if (hub === undefined) {
    if (kept !== undefined) return kept;
    throw notCached(cache.repo, `nothing of the revision ${printable(revision)}`);
  }
  return await commitOf(hub, cache.repo, revision);
}

/** Downloads what is not there yet; in turn, so that of two processes one finds what the other has fetched. */
async function makeWhole(
  snapshot: Snapshot,
  hub: Hub | undefined,
  onProgress: (progress: DownloadProgress) => void = () => {},
): Promise<void> {
  const { cache, commit } = snapshot;
  const kept = cache.listing(commit);
  if (hub === undefined) {
    const missing = missingFiles(snapshot, kept);
    if (missing.length > 0) throw notCached(cache.repo, `no ${missing.slice(0, 5).map(shown).join(', ')}`);
    return;
  }
  if (kept !== undefined && missingFiles(snapshot, kept).length === 0) return;
  await inTurn(cache.locks, hub.signal, async () => {
    const listing = await listingOf(hub, snapshot);
    if (missingFiles(snapshot, listing).length > 0) await download(hub, snapshot, listing, onProgress);
  });
}

function shown(name: string): string {
  return printable(name).slice(1, -1);
}

function notCached(argument: string, received: string): HubError {
  const expected = 'a whole snapshot in the cache, as the network is not used';
  const fix = 'Download it once without offline and HF_HUB_OFFLINE.';
  return new HubError({ reason: 'not-cached', argument, received, expected, fix });
}
