/** Fetches libtorch with pip, into the cache where libtorch.ts looks for it. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { LibtorchError } from '../errors.ts';
import { makeFolder } from '../files/folder.ts';
import {
  ask,
  cacheFolder,
  homeless,
  INSTALL,
  inspect,
  LIBTORCH_VERSION,
  NEUTRAL_FOLDER,
  type Release,
  unwritable,
  USE,
} from './libtorch.ts';

const CUDA_VARIANT = 'cu130';

/**
 * Fetches libtorch with pip into the user's cache, where `findLibtorch` looks; returns at once if it is already there.
 * @param options.cuda fetch the CUDA build with the nvidia libraries it needs (gigabytes) instead of the CPU build
 * @param options.note called before a long download with a line that announces it
 * @throws LibtorchError if there is no pip, or pip cannot get the release.
 */
export async function installLibtorch(options: { cuda: boolean; note: (line: string) => void }): Promise<Release> {
  const variant = options.cuda ? CUDA_VARIANT : 'cpu';
  const folder = cacheFolder() ?? homeless('XDG_CACHE_HOME');
  const target = join(folder, `${LIBTORCH_VERSION}+${variant}`);
  const present = complete(target, options.cuda);
  if (present !== undefined) return present;

  const python = findPip();
  const partial = partialFolder(folder);
  try {
    options.note(
      `Fetching libtorch ${LIBTORCH_VERSION}+${variant} with pip (${options.cuda ? '3 GB' : '200 MB'}, once).`,
    );
    await fetchWithPip(python, options.cuda, partial);
    if (complete(partial, options.cuda) === undefined) throw unfetched('a package with missing files', variant);
    keepOnly(partial, ['torch', 'nvidia']);
    replace(target, partial);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return { path: join(target, 'torch'), version: LIBTORCH_VERSION, variant };
}

/** Creates a new folder in `folder`, which is created if it does not exist. */
function partialFolder(folder: string): string {
  try {
    makeFolder(folder);
    return mkdtempSync(join(folder, '.partial-'));
  } catch (error) {
    throw unwritable(folder, error, 'XDG_CACHE_HOME');
  }
}

function replace(target: string, partial: string): void {
  try {
    rmSync(target, { recursive: true, force: true });
    renameSync(partial, target);
  } catch (error) {
    throw unwritable(target, error, 'XDG_CACHE_HOME');
  }
}

function complete(folder: string, cuda: boolean): Release | undefined {
  const path = join(folder, 'torch');
  const needed = ['include/ATen/core/Tensor.h', ...(cuda ? ['lib/libtorch_cuda.so'] : [])];
  if (!needed.every((file) => existsSync(join(path, file)))) return undefined;
  const release = inspect(path, (version) => (version === LIBTORCH_VERSION ? undefined : LIBTORCH_VERSION));
  return typeof release === 'string' ? undefined : release;
}

function keepOnly(folder: string, names: string[]): void {
  for (const name of readdirSync(folder)) {
    if (!names.includes(name)) rmSync(join(folder, name), { recursive: true });
  }
}

function findPip(): string {
  const python = ['python3', 'python'].find((command) => ask(command, ['-m', 'pip', '--version']).status === 0);
  if (python !== undefined) return python;
  throw new LibtorchError({
    argument: 'pip',
    received: 'no python3 or python with pip on the PATH',
    expected: `pip, to fetch libtorch ${LIBTORCH_VERSION} once`,
    fix: `Install it (Debian, Ubuntu: apt-get install python3-pip), or unpack a libtorch ${LIBTORCH_VERSION} and run ${USE}.`,
  });
}

/** Tries the indexes that may have the release, starting with the machine's own configuration, until one succeeds. */
async function fetchWithPip(python: string, cuda: boolean, folder: string): Promise<void> {
  const variant = cuda ? CUDA_VARIANT : 'cpu';
  const local = `torch==${LIBTORCH_VERSION}+${variant}`;
  const attempts = [[local], [local, '--index-url', `https://download.pytorch.org/whl/${variant}`]];
  // The default Linux wheel is a CUDA build whose version has no suffix (=== prevents `+cpu` from matching).
  if (cuda) attempts.push([`torch===${LIBTORCH_VERSION}`]);
  let reason = '';
  for (const attempt of attempts) {
    const outcome = await pip(python, [...(cuda ? [] : ['--no-deps']), '--target', folder, ...attempt]);
    if (outcome === undefined) return;
    reason ||= outcome;
  }
  throw unfetched(reason, variant);
}

/** Runs pip install. Returns undefined on success, else the reason that pip gives. */
function pip(python: string, what: string[]): Promise<string | undefined> {
  const options = ['--quiet', '--disable-pip-version-check', '--no-input', '--retries', '1', '--timeout', '15'];
  const child = spawn(python, ['-m', 'pip', 'install', ...options, ...what], {
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: NEUTRAL_FOLDER,
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((settle, reject) => {
    child.once('error', reject);
    child.once('close', (code) => settle(code === 0 ? undefined : reasonIn(stderr)));
  });
}

function reasonIn(stderr: string): string {
  const lines = stderr.trim().split('\n');
  return lines.findLast((line) => line.startsWith('ERROR')) ?? lines.at(-1) ?? 'no reason given';
}

function unfetched(reason: string, variant: string): LibtorchError {
  return new LibtorchError({
    argument: 'pip',
    received: reason,
    expected: `torch ${LIBTORCH_VERSION}+${variant}`,
    fix: `Run ${INSTALL} again with access to download.pytorch.org, or unpack a libtorch ${LIBTORCH_VERSION} and run ${USE}.`,
  });
}
