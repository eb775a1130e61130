/**
 * A checkpoint: the folder step-000123 with a file of tensors for each part of a run, state.json and a manifest. It is
 * written atomically: either complete and on disk, or absent.
 */
import { mkdir, readdir, rename, statfs, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as z from 'zod';
import { FileError } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { megabytes } from '../files/sizes.ts';
import { checkKind, PATH } from '../checks/kinds.ts';
import { temporaryPath, discard, removeFolder, syncFolder } from '../files/atomic-write.ts';
import {
  damaged,
  MANIFEST_FILE,
  type Manifest,
  manifestText,
  readJson,
  readManifest,
  writeSealed,
} from './manifest.ts';
import type { StagedFile } from './staging.ts';

const STATE_FILE = 'state.json';
/** Names the newest checkpoint, for people and scripts; we never read it. */
const LATEST_FILE = 'latest';
const STEP_FOLDER = /^step-(\d{6,})$/;

const runState = z.strictObject({
  step: z.int().min(0),
  parts: z.record(z.string(), z.unknown()),
  spikes: z.strictObject({ losses: z.array(z.number()) }).optional(),
});

/**
 * The progress of a run apart from its tensors: the steps completed, the states of its parts, and the losses used to
 * detect spikes.
 */
export type RunState = Readonly<z.output<typeof runState>>;

/** A snapshot of a run in memory. */
export interface StagedCheckpoint {
  run: string;
  environment: Manifest['environment'];
  files: readonly StagedFile[];
  state: RunState;
}

/**
 * Writes `directory/step-000123` atomically: temporary folder, fsync, rename. Only one process may write to a directory
 * at a time.
 * @throws FileError if the disk refuses or lacks the space; earlier checkpoints are unchanged.
 */
export async function writeCheckpoint(directory: string, checkpoint: StagedCheckpoint): Promise<void> {
  const path = join(directory, `step-${String(checkpoint.state.step).padStart(6, '0')}`);
  const aside = temporaryPath(path);
  try {
    await checkSpace(directory, bytesOf(checkpoint.files));
    await mkdir(aside);
    await fill(aside, checkpoint);
    if ((await readdir(directory)).includes(basename(path))) await removeFolder(path);
    await rename(aside, path);
    await syncFolder(directory);
    await pointTo(path);
  } catch (error) {
    await discard(aside);
    throw asFileError(error, path, 'a place to write a checkpoint to');
  }
}

/** @throws FileError if the disk of `directory` has less than `bytes` plus ten percent free. */
export async function checkSpace(directory: string, bytes: number): Promise<void> {
  const wanted = Math.ceil(1.1 * bytes);
  const { bavail, bsize } = await statfs(directory).catch((error: unknown) => {
    throw asFileError(error, directory, 'a folder to write to');
  });
  if (bavail * bsize >= wanted) return;
  throw new FileError({
    argument: directory,
    received: `a disk with ${megabytes(bavail * bsize)} free`,
    expected: `${megabytes(wanted)} for a checkpoint`,
    fix: 'Free some space, or choose another disk.',
  });
}

function bytesOf(files: readonly StagedFile[]): number {
  return files.flatMap(({ pieces }) => pieces).reduce((sum, { length }) => sum + length, 0);
}

async function fill(folder: string, { run, environment, files, state }: StagedCheckpoint): Promise<void> {
  const text = JSON.stringify(state, null, 2);
  const sealed: Manifest['files'] = {};
  for (const { name, pieces } of [...files, { name: STATE_FILE, pieces: [Buffer.from(`${text}\n`)] }]) {
    sealed[name] = await writeSealed(join(folder, name), pieces);
  }
  const manifest = manifestText({ format: 1, run, step: state.step, environment, files: sealed });
  await writeSealed(join(folder, MANIFEST_FILE), [Buffer.from(manifest)]);
  await syncFolder(folder);
}

async function pointTo(path: string): Promise<void> {
  const pointer = join(dirname(path), LATEST_FILE);
  const aside = temporaryPath(pointer);
  await writeFile(aside, `${basename(path)}\n`);
  await rename(aside, pointer);
}

/** Deletes all checkpoints older than the `keep` newest complete ones; completeness is judged by file sizes. */
export async function removeOld(directory: string, keep: number): Promise<void> {
  let whole = 0;
  for (const path of await checkpointsIn(directory)) {
    if (whole === keep) await removeFolder(path);
    else if (await isWhole(path)) whole++;
  }
}

async function isWhole(path: string): Promise<boolean> {
  return await readManifest(path, { hashes: false }).then(
    () => true,
    () => false,
  );
}

/** The paths of the checkpoints in `directory`, newest first; they may be incomplete. */
export async function checkpointsIn(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw asFileError(error, directory, 'a folder of checkpoints');
  });
  const step = (name: string) => Number(STEP_FOLDER.exec(name)?.[1]);
  const found = names.filter((name) => STEP_FOLDER.test(name)).sort((a, b) => step(b) - step(a));
  return found.map((name) => join(directory, name));
}

/** The path of the newest checkpoint in `directory` whose files have their full size; undefined if there is none. */
export async function latestCheckpoint(directory: string): Promise<string | undefined> {
  checkKind('directory', directory, PATH);
  for (const path of await checkpointsIn(directory)) {
    if (await isWhole(path)) return path;
  }
  return undefined;
}

/** The content of a checkpoint whose checksums have been verified. */
export interface Verified {
  manifest: Manifest;
  state: RunState;
}

/**
 * Verifies the checksums of the checkpoint at `path` and returns its manifest and state.
 * @throws CheckpointError naming the file that is missing or damaged.
 */
export async function verifyCheckpoint(path: string): Promise<Verified> {
  checkKind('path', path, PATH);
  const manifest = await readManifest(path, { hashes: true });
  const file = join(path, STATE_FILE);
  const { data } = runState.safeParse(readJson(file));
  if (data === undefined || data.step !== manifest.step) throw damaged(file, 'other content', 'the state of a run');
  return { manifest, state: data };
}
