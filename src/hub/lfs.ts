/** Large files on their way to the hub, by the batch protocol of git-lfs with its basic transfer: one PUT each, up to 5 GB. */
import { Readable } from 'node:stream';
import { HubError, printable } from '../errors.ts';
import { addressOf, ask, askJson, badAnswer, type Hub, posting, retrying } from './client.ts';
import { type LocalFile, sha256Of, streamOf } from './local-files.ts';
import { Pace } from './pace.ts';

const TYPE = 'application/vnd.git-lfs+json';
const AT_A_TIME = 100;

/** A large file that the hub has. */
export interface LargeFile {
  path: string;
  /** Its SHA-256. */
  oid: string;
  size: number;
}

interface Action {
  href: URL;
  header: Record<string, string>;
}

/**
 * Uploads the files that the hub does not have yet.
 * @param onBytes called with the bytes that have left, for each file
 * @throws HubError @throws FileError
 */
export async function uploadLarge(
  hub: Hub,
  repo: string,
  revision: string,
  files: readonly LocalFile[],
  onBytes: (file: LocalFile, bytes: number) => void,
): Promise<LargeFile[]> {
  const large: LargeFile[] = [];
  for (const file of files) large.push({ path: file.path, oid: await sha256Of(file), size: file.size });
  for (let begin = 0; begin < files.length; begin += AT_A_TIME) {
    const some = large.slice(begin, begin + AT_A_TIME);
    const actions = await batch(hub, repo, revision, some);
    for (const [i, { oid, size }] of some.entries()) {
      const file = files[begin + i] as LocalFile;
      const { upload, verify } = actions.get(oid) ?? {};
      if (upload !== undefined) await put(hub, upload, file, onBytes);
      if (upload !== undefined && verify !== undefined) await confirm(hub, verify, { oid, size });
      onBytes(file, size);
    }
  }
  return large;
}

/** Asks where each file goes; files that the hub has go nowhere. */
async function batch(hub: Hub, repo: string, revision: string, files: readonly LargeFile[]) {
  const url = addressOf(hub, `${repo}.git/info/lfs/objects/batch`);
  const asked = {
    operation: 'upload',
    transfers: ['basic'],
    objects: files.map(({ oid, size }) => ({ oid, size })),
    hash_algo: 'sha256',
    ref: { name: revision },
  };
  const { objects } = Object((await askJson(hub, url, posting(asked, TYPE))).value) as { objects?: unknown };
  if (!Array.isArray(objects)) throw badAnswer(url.href, printable(objects), 'a list of objects');
  const found = new Map<unknown, { upload: Action | undefined; verify: Action | undefined }>();
  for (const { oid, actions, error } of objects.map(Object)) {
    if (error !== undefined) throw refused(repo, printable(Object(error).message));
    const { upload, verify } = Object(actions) as { upload?: unknown; verify?: unknown };
    found.set(oid, { upload: actionOf(hub, upload), verify: actionOf(hub, verify) });
  }
  const missing = files.find(({ oid }) => !found.has(oid));
  if (missing !== undefined) throw badAnswer(url.href, `no place for ${missing.path}`, 'one for every file');
  return found;
}

/** @throws HubError for a place that is not on the web, or that would take the file in the clear. */
function actionOf({ endpoint }: Hub, given: unknown): Action | undefined {
  if (given === undefined) return undefined;
  const { href, header } = Object(given) as { href?: unknown; header?: unknown };
  const url = typeof href === 'string' && URL.canParse(href) ? new URL(href) : undefined;
  if (url === undefined || !['https:', endpoint.protocol].includes(url.protocol)) {
    throw badAnswer(endpoint.href, `an upload to ${printable(href)}`, 'https://…');
  }
  const headers = Object.entries(Object(header ?? {}) as Record<string, unknown>);
  return { href: url, header: Object.fromEntries(headers.map(([name, value]) => [name, String(value)])) };
}

async function put(
  hub: Hub,
  { href, header }: Action,
  file: LocalFile,
  onBytes: (file: LocalFile, bytes: number) => void,
): Promise<void> {
  await retrying(hub, file.path, async () => {
    using pace = new Pace(hub.patience);
    pace.start();
    // Places that take uploads want the length in advance.
    const headers = { 'content-length': String(file.size), ...header };
    const body = () => Readable.from(counted(file, pace, onBytes)) as unknown as NonNullable<RequestInit['body']>;
    const asked = { method: 'PUT', headers, body, withToken: false, signal: pace.signal, deadline: false } as const;
    try {
      await (await ask(hub, href, file.path, asked)).body?.cancel();
    } catch (error) {
      throw pace.failure ?? error;
    }
  });
}

async function* counted(
  file: LocalFile,
  pace: Pace,
  onBytes: (file: LocalFile, bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let sent = 0;
  for await (const piece of streamOf(file)) {
    pace.count(piece.length);
    sent += piece.length;
    yield piece;
    onBytes(file, sent);
  }
  pace.awaitAnswer();
}

/** Tells the hub that a file has been sent; it answers whether it has arrived. */
async function confirm(hub: Hub, { href, header }: Action, object: { oid: string; size: number }): Promise<void> {
  const { headers, ...asked } = posting(object, TYPE);
  await retrying(hub, href.href, async () => {
    await (await ask(hub, href, href.href, { ...asked, headers: { ...headers, ...header } })).body?.cancel();
  });
}

function refused(argument: string, received: string): HubError {
  const fix = 'Check the sizes of the files: one may have 5 GB at most. Export the model in more shards.';
  return new HubError({ reason: 'refused', argument, received, expected: 'places for the files', fix });
}
