/** The list of a checkpoint's files with their hashes. A folder whose manifest does not verify is not a checkpoint. */
import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { CheckpointError, type PalmError } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { checkRegular, readWholeText } from '../files/regular-file.ts';
import { syncFile } from '../files/open-file.ts';
import { sha256OfFile } from '../files/sha256.ts';

export const MANIFEST_FILE = 'manifest.json';

const sealed = z.strictObject({ bytes: z.int().min(0), sha256: z.string() });
const manifest = z.strictObject({
  format: z.literal(1),
  run: z.string(),
  step: z.int().min(0),
  environment: z.record(z.string(), z.union([z.string(), z.number()])),
  files: z.record(z.string().regex(/^[\w-]+\.\w+$/), sealed),
});

/** The description of a checkpoint; `run` is the same for all checkpoints of a run. */
export type Manifest = z.output<typeof manifest>;
/**
 * What affects the results besides the configuration: a run resumed in another environment may differ in the last
 * digits.
 */
export type Environment = Manifest['environment'];
/** A file with its size and SHA-256. */
export type Sealed = z.output<typeof sealed>;

/** Maximum size of a manifest or a state in bytes. */
const MAX_JSON_BYTES = 16 * 1024 * 1024;
const MAX_JSON_VALUES = 1e6;
/** Files are written and read in slices of this size, so that hashing blocks the event loop for only a millisecond. */
const SLICE_BYTES = 1024 * 1024;

/** The text of a manifest, including a hash of itself. */
export function manifestText(checkpoint: Manifest): string {
  return `${JSON.stringify({ ...checkpoint, sha256: hashOf(checkpoint) }, null, 2)}\n`;
}

/** Creates the file `path` with `pieces`; it is on disk once the promise resolves. */
export async function writeSealed(path: string, pieces: readonly Uint8Array[]): Promise<Sealed> {
  const hash = createHash('sha256');
  let bytes = 0;
  const file = await open(path, 'wx');
  try {
    for (const slice of slicesOf(pieces)) {
      hash.update(slice);
      for (let done = 0; done < slice.length; ) {
        const { bytesWritten } = await file.write(slice, done, slice.length - done, bytes + done);
        if (bytesWritten === 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
        done += bytesWritten;
      }
      bytes += slice.length;
    }
    await syncFile(file);
  } finally {
    await file.close();
  }
  return { bytes, sha256: hash.digest('hex') };
}

/**
 * Reads the manifest of the checkpoint at `path` and checks that all its files have their full size; with `hashes`,
 * also their checksums.
 * @throws CheckpointError naming the file that is damaged or missing.
 */
export async function readManifest(path: string, { hashes }: { hashes: boolean }): Promise<Manifest> {
  const file = join(path, MANIFEST_FILE);
  const found = parseManifest(readJson(file), file);
  for (const [name, written] of Object.entries(found.files)) {
    await checkSize(join(path, name), written);
    if (hashes) await checkHash(join(path, name), written);
  }
  return found;
}

/** Reads a JSON file of a checkpoint. @throws CheckpointError if it is missing or not JSON. */
export function readJson(path: string): unknown {
  try {
    return parseJson(readWholeText(path, { expected: 'part of a checkpoint', most: MAX_JSON_BYTES }), MAX_JSON_VALUES);
  } catch (error) {
    if (error instanceof JsonError) throw damaged(path, `${error.problem} at character ${error.at}`, 'JSON');
    throw asDamage(error, path);
  }
}

/** The error for a file of a checkpoint that is missing or was changed. */
export function damaged(path: string, received: string, expected: string, problem?: string): CheckpointError {
  const fix = 'Resume from another checkpoint, or copy this one again.';
  return new CheckpointError({ argument: path, received, expected, problem, fix });
}

function parseManifest(value: unknown, path: string): Manifest {
  const { sha256, ...rest } = Object(value) as Record<string, unknown>;
  const { data } = manifest.safeParse(rest);
  if (data !== undefined && sha256 === hashOf(data)) return data;
  throw damaged(path, 'a manifest that was changed or truncated', 'the one that was written');
}

function hashOf(checkpoint: Manifest): string {
  const { format, run, step, environment, files } = checkpoint;
  return createHash('sha256').update(JSON.stringify({ format, run, step, environment, files })).digest('hex');
}

async function checkSize(path: string, { bytes }: Sealed): Promise<void> {
  try {
    const stats = await stat(path);
    checkRegular(stats, path, 'part of a checkpoint');
    if (stats.size !== bytes) throw damaged(path, `${stats.size} bytes`, `the ${bytes} that were written`);
  } catch (error) {
    throw asDamage(error, path);
  }
}

async function checkHash(path: string, { sha256 }: Sealed): Promise<void> {
  const found = await sha256OfFile(path).catch((error: unknown) => {
    throw asDamage(error, path);
  });
  if (found !== sha256) throw damaged(path, 'changed content', 'the content that was written');
}

/** Permission and I/O errors pass through; anything else at the path counts as damage. */
function asDamage(error: unknown, path: string): PalmError {
  const problem = asFileError(error, path, 'part of a checkpoint');
  if (problem instanceof CheckpointError || REFUSALS.has((problem.cause as NodeJS.ErrnoException)?.code ?? ''))
    return problem;
  const reason =
    (problem.cause as NodeJS.ErrnoException | undefined)?.code === undefined ? undefined : problem.received;
  return damaged(path, problem.received ?? 'nothing', 'the file that was written', reason);
}

const REFUSALS = new Set(['EACCES', 'EPERM', 'EIO', 'EMFILE', 'ENFILE']);

function* slicesOf(pieces: readonly Uint8Array[]): Generator<Uint8Array> {
  for (const piece of pieces) {
    for (let begin = 0; begin < piece.length; begin += SLICE_BYTES) yield piece.subarray(begin, begin + SLICE_BYTES);
  }
}
