/** A folder to a repository of the hub, in one commit. */
import {
  BOOLEAN,
  checkKind,
  checkKinds,
  FUNCTION,
  instanceOf,
  type Kind,
  optional,
  PATH,
  TEXT,
} from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { HubError, printable } from '../errors.ts';
import { addressOf, askJson, askJsonOnce, badAnswer, type Hub, Passing, posting, unreachable } from './client.ts';
import { offlineByEnvironment } from './environment.ts';
import { type LargeFile, uploadLarge } from './lfs.ts';
import { fetchListing } from './listing.ts';
import { contentOf, filesIn, type LocalFile, sampleOf } from './local-files.ts';
import { modelCard } from './model-card.ts';
import { checkOwnedRepo, checkRevision } from './names.ts';
import { hubOf } from './resolve-model.ts';
import type { DownloadProgress } from './snapshot.ts';

/** How a folder is uploaded. */
export interface UploadOptions {
  /** One that may write. Default: HF_TOKEN, or the token that `hf auth login` saved. */
  token?: string | undefined;
  /** The branch, which is made if it does not exist. Default `main`. */
  revision?: string | undefined;
  /** The title of the commit. Default: that the files were uploaded with palm-rlhf. */
  message?: string | undefined;
  /** Makes a new repository private; one that is public already is refused. Default false. */
  private?: boolean | undefined;
  /** Called as bytes leave. */
  onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Ends the upload. The commit comes last, so nothing changes before. */
  signal?: AbortSignal | undefined;
}

/** What an upload came to. */
export interface Uploaded {
  /** The page of the repository. */
  url: string;
  /** The commit that was made. */
  commit: string;
}

const OPTIONS: Record<keyof UploadOptions, Kind> = {
  token: optional(TEXT),
  revision: optional(TEXT),
  message: optional({ is: (value) => typeof value === 'string' && value !== '', words: 'a title' }),
  private: optional(BOOLEAN),
  onProgress: optional(FUNCTION),
  signal: optional(instanceOf(AbortSignal)),
};
/** Milliseconds that the hub may take for a commit. */
const COMMIT = 600_000;
/** What the hub takes in the commit itself is smaller. */
const MAX_REGULAR = 16 * 2 ** 20;
const AT_A_TIME = 256;

/**
 * Uploads a model or an adapter to the Hugging Face hub, in one commit, and makes the repository if there is none. Without a
 * README.md, here and there, one is written with its base model and tags. Hidden files are left out. Files may have up to 5 GB.
 * @param folder one with a config.json, an adapter_config.json or a GGUF file
 * @param repo `owner/name`
 * @throws ArgumentError for wrong arguments, or the folder of a run.
 * @throws FileError if the folder cannot be read.
 * @throws HubError if the hub refuses. Nothing has changed then, but that a new repository may be there, empty.
 */
export async function uploadFolder(folder: string, repo: string, options: UploadOptions = {}): Promise<Uploaded> {
  checkKind('folder', folder, PATH);
  checkKind('repository', repo, TEXT);
  checkOwnedRepo(repo);
  checkOptions(options, Object.keys(OPTIONS), 'uploadFolder');
  const given = { ...options };
  checkKinds('uploadFolder', given, OPTIONS);
  const { revision = 'main', message = 'Upload with palm-rlhf', onProgress = () => {} } = given;
  checkRevision(revision);
  given.signal?.throwIfAborted();
  const files = filesIn(folder);
  const hub = hubOf(given);
  checkMayWrite(hub);
  const isNew = await makeRepo(hub, repo, given.private ?? false);
  if (revision !== 'main') await makeBranch(hub, repo, revision);
  const known = [...files, ...(isNew ? [] : await fetchListing(hub, repo, revision))];
  if (!known.some(({ path }) => path === 'README.md')) files.push(inMemory('README.md', modelCard(folder, repo)));
  return await commit(hub, { repo, revision, message }, files, onProgress);
}

function inMemory(path: string, text: string): LocalFile {
  const source = Buffer.from(text);
  return { path, size: source.length, source };
}

/** @throws HubError */
function checkMayWrite({ token, endpoint }: Hub): void {
  const expected = 'a token that may write';
  if (token === undefined) {
    const fix = 'Set HF_TOKEN to one of your account, or run `hf auth login`.';
    throw new HubError({ reason: 'no-access', argument: 'token', received: 'none', expected, fix });
  }
  if (!offlineByEnvironment()) return;
  const received = 'HF_HUB_OFFLINE, which forbids the network';
  throw new HubError({ reason: 'unreachable', argument: endpoint.host, received, expected: 'a connection' });
}

/** Makes the repository unless it exists; returns whether it did not. @throws HubError if it is public and should not be. */
async function makeRepo(hub: Hub, repo: string, isPrivate: boolean): Promise<boolean> {
  const info = addressOf(hub, `api/models/${repo}`);
  const before = await askJson(hub, info, {}, [404]);
  const isNew = before.response.status === 404;
  if (isNew) {
    const [organization, name] = repo.split('/');
    const asked = { name, organization, visibility: isPrivate ? 'private' : 'public' };
    await askJson(hub, addressOf(hub, 'api/repos/create'), posting(asked), [409]);
  }
  if (!isPrivate) return isNew;
  const { value } = isNew ? await askJson(hub, info) : before;
  if (Object(value).private === true) return isNew;
  const fix = 'Make it private in its settings on the hub, or leave out private.';
  throw new HubError({ reason: 'refused', argument: repo, received: 'a public one', expected: 'a private one', fix });
}

async function makeBranch(hub: Hub, repo: string, revision: string): Promise<void> {
  const url = addressOf(hub, `api/models/${repo}/branch/${encodeURIComponent(revision)}`);
  await askJson(hub, url, posting({}), [409]);
}

/** Where a commit goes, and its title. */
interface Target {
  repo: string;
  revision: string;
  message: string;
}

async function commit(
  hub: Hub,
  target: Target,
  all: readonly LocalFile[],
  onProgress: (progress: DownloadProgress) => void,
): Promise<Uploaded> {
  const { repo, revision } = target;
  const { large, regular } = await sorted(hub, target, all);
  const total = [...large, ...regular].reduce((sum, { size }) => sum + size, 0);
  const sent = new Map<string, number>();
  const onBytes = ({ path }: LocalFile, bytes: number) => {
    sent.set(path, bytes);
    onProgress({ file: path, bytes: [...sent.values()].reduce((sum, each) => sum + each, 0), total });
  };
  const there = await uploadLarge(hub, repo, revision, large, onBytes);
  const lines = await commitLines(target, there, regular);
  const url = addressOf(hub, `api/models/${repo}/commit/${encodeURIComponent(revision)}`);
  const headers = { 'content-type': 'application/x-ndjson' };
  const asked = { method: 'POST', headers, body: () => lines, deadline: COMMIT } as const;
  const { commitOid } = Object(await once(hub, url, asked)) as { commitOid?: unknown };
  if (typeof commitOid !== 'string') throw badAnswer(url.href, printable(commitOid), 'the hash of the commit');
  for (const file of regular) onBytes(file, file.size);
  return { url: addressOf(hub, repo).href, commit: commitOid };
}

/** Asks which files go into the commit and which are stored apart. Files that the repository ignores are left out. */
async function sorted(hub: Hub, { repo, revision }: Target, all: readonly LocalFile[]) {
  const url = addressOf(hub, `api/models/${repo}/preupload/${encodeURIComponent(revision)}`);
  const [large, regular]: [LocalFile[], LocalFile[]] = [[], []];
  for (let begin = 0; begin < all.length; begin += AT_A_TIME) {
    const some = all.slice(begin, begin + AT_A_TIME);
    const asked: object[] = [];
    for (const file of some) {
      asked.push({ path: file.path, sample: (await sampleOf(file)).toString('base64'), size: file.size });
    }
    const { files } = Object((await askJson(hub, url, posting({ files: asked }))).value) as { files?: unknown };
    const modes = new Map(Array.isArray(files) ? files.map(Object).map((file) => [file.path, file]) : []);
    for (const file of some) {
      const { uploadMode, shouldIgnore } = modes.get(file.path) ?? {};
      const isLarge = uploadMode === 'lfs' && file.size > 0;
      if (!isLarge && file.size > MAX_REGULAR) {
        throw badAnswer(url.href, `${file.path} of ${file.size} bytes as a small file`, 'lfs');
      }
      if (shouldIgnore !== true) (isLarge ? large : regular).push(file);
    }
  }
  return { large, regular };
}

/** The body of a commit: a line of JSON for its title and for each file. */
async function commitLines({ message }: Target, large: readonly LargeFile[], regular: readonly LocalFile[]) {
  const lines: object[] = [{ key: 'header', value: { summary: message, description: '' } }];
  for (const file of regular) {
    const content = (await contentOf(file)).toString('base64');
    lines.push({ key: 'file', value: { content, path: file.path, encoding: 'base64' } });
  }
  for (const { path, oid, size } of large) lines.push({ key: 'lfsFile', value: { path, algo: 'sha256', oid, size } });
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

/** Sends a commit once: if its answer is lost, a second one could be a second commit. @throws HubError */
async function once(hub: Hub, url: URL, asked: Parameters<typeof askJsonOnce>[2]): Promise<unknown> {
  try {
    return (await askJsonOnce(hub, url, asked)).value;
  } catch (error) {
    const fix = 'Look at the page of the repository before trying again: the commit may be there.';
    throw error instanceof Passing ? unreachable(hub, url.href, error, fix) : error;
  }
}
