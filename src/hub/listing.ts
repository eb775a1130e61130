/** What a repository holds at a commit: asked of the hub once, then kept in the cache as huggingface_hub keeps it. */
import { writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FileError, HubError, printable } from '../errors.ts';
import { writeAtomically } from '../files/atomic-write.ts';
import { makeFolder } from '../files/folder.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { readWholeText } from '../files/regular-file.ts';
import { addressOf, askJson, badAnswer, type Hub, type Json } from './client.ts';
import { checkFileName, isCommit } from './names.ts';

/** A file of a repository. */
export interface Entry {
  path: string;
  /** Bytes. */
  size: number;
  /** Git's name of the content: the SHA-1 of `blob <size>\0` and the bytes, or of the pointer to a large file. */
  blobId: string;
  /** The SHA-256 of a large file. */
  sha256: string | undefined;
  /** What the hub's other protocol calls a large file. Kept for huggingface_hub. */
  xetHash: string | undefined;
}

/** More files than any repository of a model has. */
const MAX_ENTRIES = 100_000;
const MAX_BYTES = 64 * 2 ** 20;
const FORMAT = 1;

/** The commit that a branch or tag names now. @throws HubError */
export async function commitOf(hub: Hub, repo: string, revision: string): Promise<string> {
  const url = addressOf(hub, `api/models/${repo}/revision/${encodeURIComponent(revision)}`);
  const { sha } = Object((await askJson(hub, url)).value) as { sha?: unknown };
  if (typeof sha === 'string' && isCommit(sha)) return sha;
  throw badAnswer(url.href, `the commit ${printable(sha)}`, '40 hexadecimal digits');
}

/** All files of `repo` at a revision, page by page. @throws HubError, also for names that no repository may have. */
export async function fetchListing(hub: Hub, repo: string, revision: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  const first = addressOf(hub, `api/models/${repo}/tree/${encodeURIComponent(revision)}?recursive=true`);
  for (let url: URL | undefined = first; url !== undefined; ) {
    const page: Json = await askJson(hub, url);
    if (!Array.isArray(page.value)) throw badAnswer(url.href, printable(page.value), 'a list of files');
    entries.push(...page.value.filter(isFile).map((item) => remoteEntry(item, repo)));
    if (entries.length > MAX_ENTRIES) throw badAnswer(url.href, `more than ${MAX_ENTRIES} files`, 'a model');
    url = nextPage(page.response, url);
  }
  return entries;
}

function isFile(item: unknown): boolean {
  return Object(item).type === 'file';
}

function remoteEntry(
  item: { path?: unknown; size?: unknown; oid?: unknown; lfs?: unknown; xetHash?: unknown },
  repo: string,
) {
  const { oid, size } = Object(item.lfs ?? {}) as { oid?: unknown; size?: unknown };
  const large = item.lfs !== undefined && item.lfs !== null;
  return checkedEntry(
    { path: item.path, size: large ? size : item.size, blobId: item.oid, sha256: large ? oid : undefined },
    item.xetHash,
    repo,
  );
}

/** @throws HubError unless every field is what it should be. */
function checkedEntry(
  given: Record<'path' | 'size' | 'blobId' | 'sha256', unknown>,
  xet: unknown,
  repo: string,
): Entry {
  const { path, size, blobId, sha256 } = given;
  checkFileName(path, repo);
  const known = sha256 === undefined || isHex(sha256, 64);
  if (!Number.isSafeInteger(size) || (size as number) < 0 || !isHex(blobId, 40) || !known) {
    throw badAnswer(`${repo}/${path}`, `a size of ${printable(size)} and hashes of another form`, 'a size and a hash');
  }
  return {
    path,
    size: size as number,
    blobId: blobId as string,
    sha256: sha256 as string | undefined,
    xetHash: isHex(xet, 64) ? (xet as string) : undefined,
  };
}

function isHex(value: unknown, digits: number): boolean {
  return typeof value === 'string' && value.length === digits && /^[0-9a-f]+$/.test(value);
}

/** The address of the page after this one. @throws HubError if it is on another host, which would get the token. */
function nextPage(response: Response, url: URL): URL | undefined {
  const [, link] = /<([^>]+)>\s*;\s*rel="next"/.exec(response.headers.get('link') ?? '') ?? [];
  if (link === undefined) return undefined;
  const next = URL.canParse(link, url.href) ? new URL(link, url) : undefined;
  if (next?.origin === url.origin) return next;
  throw badAnswer(url.href, `a further page at ${printable(link)}`, 'one on the same host');
}

/** The listing that huggingface_hub or this client has kept in the file `path`; undefined if there is none that can be read. */
export function readListing(path: string, repo: string): Entry[] | undefined {
  try {
    const text = readWholeText(path, { expected: 'a listing of files', most: MAX_BYTES });
    const { format_version: format, files } = Object(parseJson(text, 10 * MAX_ENTRIES)) as Record<string, unknown>;
    if (format !== FORMAT) return undefined;
    return Object.entries(Object(files) as Record<string, unknown>).map(([path, kept]) => {
      const { size, blob_id, lfs_sha256, lfs_size, xet_hash } = Object(kept) as Record<string, unknown>;
      return checkedEntry({ path, size: lfs_size ?? size, blobId: blob_id, sha256: lfs_sha256 }, xet_hash, repo);
    });
  } catch (error) {
    // It is only a copy: the hub is asked again.
    if ([FileError, JsonError, HubError].some((kind) => error instanceof kind)) return undefined;
    throw error;
  }
}

/** Keeps a listing in the file `path`. @throws FileError */
export async function writeListing(path: string, entries: readonly Entry[]): Promise<void> {
  const files = entries.map(({ path, size, blobId, sha256, xetHash }): [string, object] => [
    path,
    {
      size,
      blob_id: blobId,
      ...(sha256 === undefined ? {} : { lfs_sha256: sha256, lfs_size: size }),
      ...(xetHash === undefined ? {} : { xet_hash: xetHash }),
    },
  ]);
  const text = JSON.stringify({ format_version: FORMAT, files: Object.fromEntries(files) }, undefined, 1);
  makeFolder(dirname(path));
  await writeAtomically(path, (aside) => writeFile(aside, text));
}
