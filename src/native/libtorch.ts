/**
 * Finds libtorch, which is not bundled. A trace records every place that was searched; the error shows it if nothing was
 * found.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { LibtorchError, printable } from '../errors.ts';
import { reasonOf } from '../files/file-error.ts';
import { makeFolder } from '../files/folder.ts';

/** The release that is fetched, and that the shipped addon is compiled against. */
export const LIBTORCH_VERSION = '2.13.0';
/** The minor releases of libtorch 2 that the sources compile against. */
const OLDEST_MINOR = 11;
const NEWEST_MINOR = 14;

export const INSTALL = '`npx palm-rlhf libtorch install`';
export const USE = '`npx palm-rlhf libtorch use PATH`';
/** The working folder of commands: some, Python above all, load files from the folder they are started in. */
export const NEUTRAL_FOLDER = '/';

/** One place that was searched, and what was there. */
export interface LookedAt {
  /** Which step of the search: `PALM_LIBTORCH`, `saved choice`, `cache`, `python3` or `python`. */
  source: string;
  /** The folder or file, or the command that was run. */
  place: string;
  outcome: string;
}

/** A usable libtorch. */
export interface Libtorch {
  /** A folder with lib/libtorch_cpu.so and lib/libc10.so. */
  path: string;
  /** Such as `2.13.0`. */
  version: string;
  /** `cpu`, `cu130`, ...; `cuda` if the folder does not say which. */
  variant: string;
  /** The step that found it, as in the trace. */
  source: string;
  trace: LookedAt[];
}

/** The libtorch in a folder. */
export type Release = Pick<Libtorch, 'path' | 'version' | 'variant'>;
/** Returns undefined if a version is acceptable, else what would be. */
type Demand = (version: string) => string | undefined;

/**
 * The libtorch to load: PALM_LIBTORCH, else the saved choice, else the cache, else the `torch` package of a Python.
 * @param compiledAgainst the version the addon was compiled against; major and minor must be equal, because C++ interfaces
 *   change between minor releases
 * @throws LibtorchError if an explicit choice is unusable, or nothing was found.
 */
export function findLibtorch(compiledAgainst: string): Libtorch {
  const series = seriesOf(compiledAgainst);
  const fix =
    series === seriesOf(LIBTORCH_VERSION)
      ? `Run ${INSTALL} to fetch one, or ${USE} to point at one.`
      : `Run ${USE} to point at one, or ${INSTALL} and then \`npm run build:native\`.`;
  return search((version) => (seriesOf(version) === series ? undefined : `libtorch ${series}`), fix);
}

/**
 * Finds a libtorch to compile against, in the same places as `findLibtorch`; any release from 2.11 to 2.14 will do.
 * @throws LibtorchError if an explicit choice is unusable, or nothing was found.
 */
export function findLibtorchToBuild(): Libtorch {
  return search(supported, `Run ${INSTALL} to fetch one, or ${USE} to point at one.`);
}

/** Makes `path` the libtorch to load from now on, for this user. @throws LibtorchError if it holds no usable libtorch. */
export function saveLibtorchChoice(path: string): Release {
  const release = explicit(
    'PATH',
    resolve(path),
    supported,
    'Give the folder of a libtorch, or of a Python `torch` package.',
  );
  const file = choiceFile() ?? homeless('XDG_CONFIG_HOME');
  try {
    makeFolder(dirname(file));
    writeFileSync(file, `${JSON.stringify({ path: release.path }, null, 2)}\n`);
  } catch (error) {
    throw unwritable(file, error, 'XDG_CONFIG_HOME');
  }
  return release;
}

function search(demand: Demand, fix: string): Libtorch {
  const trace: LookedAt[] = [];
  const found = (source: string, release: Release): Libtorch => ({ ...release, source, trace });
  const look = (source: string, place: string, path: string): Release | undefined => {
    const release = inspect(path, demand);
    trace.push({ source, place, outcome: typeof release === 'string' ? release : describe(release) });
    return typeof release === 'string' ? undefined : release;
  };

  const fromEnvironment = process.env.PALM_LIBTORCH;
  if (fromEnvironment) {
    const release = explicit(
      'PALM_LIBTORCH',
      resolve(fromEnvironment),
      demand,
      'Point it at a libtorch that fits, or unset it.',
    );
    trace.push({ source: 'PALM_LIBTORCH', place: release.path, outcome: describe(release) });
    return found('PALM_LIBTORCH', release);
  }
  trace.push({ source: 'PALM_LIBTORCH', place: 'environment', outcome: 'not set' });

  const file = choiceFile();
  const choice = file && savedChoice(file);
  if (file && choice) {
    const release = explicit(file, choice, demand, `Choose another with ${USE}, or delete that file.`);
    trace.push({ source: 'saved choice', place: release.path, outcome: describe(release) });
    return found('saved choice', release);
  }
  trace.push({ source: 'saved choice', place: file ?? HOME, outcome: file ? 'none saved' : HOMELESS });

  const folder = cacheFolder();
  const cached = folder === undefined ? HOMELESS : cachedFolders(folder);
  if (typeof cached === 'string') trace.push({ source: 'cache', place: folder ?? HOME, outcome: cached });
  for (const path of typeof cached === 'string' ? [] : cached) {
    const release = look('cache', path, path);
    if (release !== undefined) return found('cache', release);
  }

  for (const python of ['python3', 'python']) {
    const answer = askPython(python);
    if ('outcome' in answer) trace.push({ source: python, place: 'on the PATH', outcome: answer.outcome });
    else {
      const release = look(python, answer.path, answer.path);
      if (release !== undefined) return found(python, release);
    }
  }

  const wanted = demand('none') ?? 'libtorch';
  throw new LibtorchError({
    argument: 'libtorch',
    received: 'none',
    expected: `${wanted} in one of the places searched:\n${formatTrace(trace)}\n`,
    fix,
  });
}

/** The trace as indented lines: step, place, outcome. */
export function formatTrace(trace: readonly LookedAt[]): string {
  const width = Math.max(...trace.map(({ source }) => source.length));
  return trace.map(({ source, place, outcome }) => `  ${source.padEnd(width)}  ${place}: ${outcome}`).join('\n');
}

/** A libtorch that the user named: if it is unusable, that is an error, and the search does not go on. */
function explicit(argument: string, path: string, demand: Demand, fix: string): Release {
  const release = inspect(path, demand);
  if (typeof release !== 'string') return release;
  throw new LibtorchError({ argument, received: `${path}: ${release}`, expected: demand('none') ?? 'libtorch', fix });
}

/** The release at a path, or the reason why it is unusable. */
export function inspect(path: string, demand: Demand): Release | string {
  const needed = ['', 'lib/libtorch_cpu.so', 'lib/libc10.so'];
  const problem = needed.map((file) => problemAt(path, file)).find((problem) => problem !== undefined);
  if (problem !== undefined) return problem;
  const release = releaseAt(path);
  if (release === undefined) return 'no version found in it';
  const wanted = demand(release.version);
  return wanted === undefined ? release : `${describe(release)}, not ${wanted}`;
}

/** Why `file` in `folder` cannot be found; undefined if it exists. */
function problemAt(folder: string, file: string): string | undefined {
  try {
    statSync(join(folder, file));
    return undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return reasonOf(error);
    return file === '' ? 'no such folder' : `no ${file} in it`;
  }
}

function supported(version: string): string | undefined {
  const [major, minor] = version.split('.').map(Number);
  const fits = major === 2 && minor !== undefined && minor >= OLDEST_MINOR && minor <= NEWEST_MINOR;
  return fits ? undefined : `libtorch 2.${OLDEST_MINOR} to 2.${NEWEST_MINOR}`;
}

function seriesOf(version: string): string {
  return version.split('.').slice(0, 2).join('.');
}

function describe({ version, variant }: Release): string {
  return `libtorch ${version}+${variant}`;
}

/** Reads the version from a Python package (version.py), a plain libtorch (build-version) or the headers. */
function releaseAt(path: string): Release | undefined {
  const stated =
    read(path, 'version.py')?.match(/__version__ = '([^']+)'/)?.[1] ??
    read(path, 'build-version')?.trim() ??
    versionInHeader(read(path, 'include/torch/headeronly/version.h'));
  const match = stated?.match(/^(\d+\.\d+\.\d+)[^+]*(?:\+(.*))?$/);
  if (!match?.[1]) return undefined;
  const variant =
    match[2]?.match(/^(cpu|cu\d+)$/)?.[1] ?? (existsSync(join(path, 'lib/libtorch_cuda.so')) ? 'cuda' : 'cpu');
  return { path, version: match[1], variant };
}

function versionInHeader(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  return ['MAJOR', 'MINOR', 'PATCH']
    .map((part) => header.match(new RegExp(`TORCH_VERSION_${part} (\\d+)`))?.[1])
    .join('.');
}

function read(folder: string, file: string): string | undefined {
  try {
    return readFileSync(join(folder, file), 'utf8');
  } catch {
    return undefined;
  }
}

const HOME = 'home folder';
const HOMELESS = 'none for this user, and HOME is not set';

/** The user's home folder; undefined for a user without one, which is common in containers. */
function home(): string | undefined {
  try {
    return homedir() || undefined;
  } catch {
    return undefined;
  }
}

/** The path `name` in our folder: below the folder in `variable`, else below `fallback` at home; undefined without a home. */
function ownPath(variable: string, fallback: string, name: string): string | undefined {
  const named = process.env[variable];
  // A relative path is ignored, as the XDG specification demands: its meaning would depend on the working folder.
  if (named && isAbsolute(named)) return join(named, 'palm-rlhf', name);
  const at = home();
  return at === undefined ? undefined : join(at, fallback, 'palm-rlhf', name);
}

function choiceFile(): string | undefined {
  return ownPath('XDG_CONFIG_HOME', '.config', 'libtorch.json');
}

export function cacheFolder(): string | undefined {
  return ownPath('XDG_CACHE_HOME', '.cache', 'libtorch');
}

export function homeless(variable: string): never {
  throw new LibtorchError({
    argument: HOME,
    received: HOMELESS,
    expected: 'a writable folder',
    fix: `Set ${variable} to one, or PALM_LIBTORCH to the folder of a libtorch.`,
  });
}

export function unwritable(path: string, cause: unknown, variable: string): LibtorchError {
  return new LibtorchError({
    argument: path,
    received: reasonOf(cause),
    expected: 'a writable folder',
    fix: `Set ${variable} to a writable folder, or PALM_LIBTORCH to the folder of a libtorch.`,
    cause,
  });
}

/** The choice saved in `file`; undefined if there is none. @throws LibtorchError if it is unreadable or malformed. */
function savedChoice(file: string): string | undefined {
  let received = 'something else';
  try {
    const { path } = JSON.parse(readFileSync(file, 'utf8')) as { path?: unknown };
    if (typeof path === 'string' && isAbsolute(path)) return path;
    received = printable(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code !== undefined) received = reasonOf(error);
  }
  const fix = `Delete that file, or run ${USE}.`;
  throw new LibtorchError({ argument: file, received, expected: '{ "path": ABSOLUTE FOLDER }', fix });
}

/**
 * The libtorch releases fetched into `folder`, in order of preference: CUDA builds first, because they also run on CPUs and were
 * requested explicitly; then the newest. If there are none, a text says why.
 */
function cachedFolders(folder: string): string[] | string {
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => /^\d.*\+/.test(name));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'empty' : reasonOf(error);
  }
  if (names.length === 0) return 'empty';
  return names
    .sort(
      (a, b) => Number(a.endsWith('+cpu')) - Number(b.endsWith('+cpu')) || b.localeCompare(a, 'en', { numeric: true }),
    )
    .map((name) => join(folder, name, 'torch'));
}

/** Where a Python would import `torch` from, without importing it. */
function askPython(python: string): { path: string } | { outcome: string } {
  const program = [
    'import sys',
    'sys.path[:] = [p for p in sys.path if p]', // not from the folder it is started in
    'import importlib.util',
    'spec = importlib.util.find_spec("torch")',
    'print(spec.origin if spec and spec.origin else "")',
  ].join('\n');
  const { error, status, stdout } = ask(python, ['-c', program]);
  if (error) return { outcome: 'code' in error && error.code === 'ENOENT' ? 'no such command' : error.message };
  if (status !== 0) return { outcome: `exited with ${status}` };
  const origin = stdout.trim();
  return origin === '' ? { outcome: 'has no torch' } : { path: dirname(origin) };
}

export function ask(command: string, args: string[]) {
  return spawnSync(command, args, { encoding: 'utf8', timeout: 30_000, cwd: NEUTRAL_FOLDER });
}
