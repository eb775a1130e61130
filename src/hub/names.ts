/** Names from users and from the hub: repositories, revisions and files. Each is checked before it is part of a path. */
import { ArgumentError, HubError, printable } from '../errors.ts';

/** What a user asks the hub for. */
export interface Reference {
  /** `org/name`, or `name` alone for the oldest repositories. */
  repo: string;
  /** A GGUF file in it, which is then all that is wanted. */
  file: string | undefined;
}

const EXPECTED = 'a folder that exists, or a model of the hub: org/name, or org/name/file.gguf';

/**
 * Reads `org/name`, `org/name/file.gguf` or `org/name:file.gguf`.
 * @throws ArgumentError
 */
export function parseReference(text: string): Reference {
  const [, repo = '', file] = /^([^/:]+(?:\/[^/:]+)?)(?:[/:](.+))?$/.exec(text) ?? [];
  if (isRepo(repo) && (file === undefined || (isFileName(file) && file.endsWith('.gguf')))) return { repo, file };
  throw new ArgumentError({ argument: 'model', received: printable(text), expected: EXPECTED });
}

/** @throws ArgumentError unless `text` names a repository with its owner. */
export function checkOwnedRepo(text: string): void {
  if (isRepo(text) && text.includes('/')) return;
  throw new ArgumentError({ argument: 'repository', received: printable(text), expected: 'owner/name' });
}

/** The rules of the hub: 1 to 96 letters, digits, `-`, `_` and `.` each; `--` separates the parts of the cache's folders. */
function isRepo(text: string): boolean {
  const parts = text.split('/');
  return parts.every((part) => /^\w(?:[\w.-]{0,94}\w)?$/.test(part)) && !/--|\.\.|\.git$/.test(text);
}

/** Whether a revision is a commit, whose content never changes. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** @throws ArgumentError unless `revision` can be a branch, a tag or a commit, and part of a path. */
export function checkRevision(revision: string): void {
  if (isFileName(revision)) return;
  const expected = 'a branch, a tag or a commit';
  throw new ArgumentError({ argument: 'revision', received: printable(revision), expected });
}

/**
 * Refuses names that would leave the folder they are relative to: `..`, absolute ones, backslashes, control characters.
 * @throws HubError
 */
export function checkFileName(name: unknown, repo: string): asserts name is string {
  if (typeof name === 'string' && isFileName(name)) return;
  throw new HubError({
    reason: 'bad-name',
    argument: repo,
    received: `a file called ${printable(name)}`,
    expected: 'names inside the repository',
    fix: 'Do not use this repository: names like this one overwrite files elsewhere.',
  });
}

function isFileName(name: string): boolean {
  return (
    name.length <= 1024 &&
    !/[\\\p{Cc}\p{Surrogate}]|^[A-Za-z]:/u.test(name) &&
    name.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && Buffer.byteLength(part) <= 255)
  );
}
