/** The TypeScript side of the native border: loads the addon once per thread. exports.ts has the types of its exports. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type ErrorDetail, errorFromNative, LibtorchError } from '../errors.ts';
import type { Native } from './exports.ts';
import { packagePath } from '../package.ts';
import { findLibtorch } from './libtorch.ts';

export type { Native } from './exports.ts';
export type * from './types.ts';

/** The small loader that node-gyp-build finds; it opens libtorch, then the rest of the addon next to it. */
interface Loader {
  /** The libtorch version that it was compiled against, such as `2.13.0`. */
  readonly libtorch: string;
  load(libtorch: string, createError: (kind: string, detail: ErrorDetail) => Error): Native;
}

/** The package that finds the addon's file: in build/Release of a folder, else the matching one in prebuilds/. */
interface NodeGypBuild {
  resolve(folder: string): string;
}

const require = createRequire(import.meta.url);
let native: Native | undefined;

/** The addon; the first call finds libtorch and loads both. @throws LibtorchError if one of them is missing or unusable. */
export function addon(): Native {
  native ??= load();
  return native;
}

/** CPU time of the calling thread in milliseconds; undefined before the addon is loaded. Does not load it. */
export function threadTime(): number | undefined {
  return native === undefined ? undefined : native.threadCpuTime() / 1000;
}

function load(): Native {
  const loader = findLoader();
  const loaded = loader.load(findLibtorch(loader.libtorch).path, errorFromNative);
  // process.exit() runs no cleanup hooks of addons: without this, a running job would outlive the memory it uses.
  process.once('exit', () => loaded.close());
  return loaded;
}

function findLoader(): Loader {
  const file = addonFile();
  try {
    return require(file) as Loader;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LibtorchError({
      argument: file,
      received: reason.startsWith(`${file}: `) ? reason.slice(file.length + 2) : reason,
      expected: 'an addon that this system can load',
      fix: loadingFix(reason),
      cause,
    });
  }
}

/** The addon's file: in build/ in a clone, in prebuilds/ in a package. @throws LibtorchError if there is none. */
function addonFile(): string {
  const root = packagePath();
  try {
    return (require('node-gyp-build') as NodeGypBuild).resolve(root);
  } catch (cause) {
    throw new LibtorchError({
      argument: 'palm.node',
      received: `none for ${process.platform}-${process.arch} in ${root}`,
      expected: 'the native addon, built or shipped',
      fix: 'In a clone, run `npm run build:native`; packages include it for linux-x64 only.',
      cause,
    });
  }
}

/** What to do about the reason given by the system's loader. */
function loadingFix(reason: string): string {
  if (isMusl())
    return 'It needs glibc, but this system uses musl: use a system with glibc, such as Debian or its Node images.';
  if (reason.includes('failed to map segment')) return 'Install it on a disk that is mounted without noexec.';
  if (/GLIBC(XX)?_[\d.]+' not found/.test(reason)) return 'Use a newer system, or compile it on this one, in a clone.';
  return 'Install the package again, or in a clone, run `npm run build:native`.';
}

function isMusl(): boolean {
  try {
    return /\/(ld-musl|libc\.musl)-/.test(readFileSync('/proc/self/maps', 'utf8'));
  } catch {
    return false;
  }
}
