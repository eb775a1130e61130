/**
 * A checkpoint: the folder step-000123 with a file of tensors for each part of a run, state.json and a manifest. It is there
 * whole and on the disk, or it is not there.
 */
import { mkdir, readdir, rename, statfs, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { FileError } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
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
/** Names the newest checkpoint, for people and scripts; nothing here reads it. */
const LATEST_FILE = 'latest';
const STEP_FOLDER = /^step-(\d{6,})$/;

const runState = z.strictObject({
  step: z.int().min(0),
  parts: z.record(z.string(), z.unknown()),
  spikes: z.strictObject({ losses: z.array(z.number()) }).optional(),
});

/** Where a run is, besides its tensors: the steps done, the states of its parts, the losses that spikes are told by. */
export type RunState = Readonly<z.output<typeof runState>>;

/** A run after a step, in memory. */
export interface StagedCheckpoint {
  run: string;
  environment: Manifest['environment'];
  files: readonly StagedFile[];
  state: RunState;
}

/**
 * Writes `directory/step-000123`: aside, synced, renamed. One process writes to a directory at a time.
 * @throws FileError when the disk refuses or has not the room; earlier checkpoints are as they were.
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
    throw asFileError(error, path, 'a checkpoint to write');
  }
}

/** @throws FileError when the disk of `directory` cannot take `bytes` and a tenth more. */
export async function checkSpace(directory: string, bytes: number): Promise<void> {
  const wanted = Math.ceil(1.1 * bytes);
  const { bavail, bsize } = await statfs(directory).catch((error: unknown) => {
    throw asFileError(error, directory, 'a folder to write to');
  });
  if (bavail * bsize >= wanted) return;
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
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

/** Deletes what is older than the `keep` newest checkpoints whose files are there in full length. */
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

/** The paths of the checkpoints in `directory`, the newest first; whether they are whole has not been looked at. */
export async function checkpointsIn(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw asFileError(error, directory, 'a folder of checkpoints');
  });
  const step = (name: string) => Number(STEP_FOLDER.exec(name)?.[1]);
  const found = names.filter((name) => STEP_FOLDER.test(name)).sort((a, b) => step(b) - step(a));
  return found.map((name) => join(directory, name));
}

/** The path of the newest checkpoint in `directory` whose files are there in full length; undefined without one. */
export async function latestCheckpoint(directory: string): Promise<string | undefined> {
  checkKind('directory', directory, PATH);
  for (const path of await checkpointsIn(directory)) {
    if (await isWhole(path)) return path;
  }
  return undefined;
}

/** A checkpoint whose every byte is as it was written. */
export interface Verified {
  manifest: Manifest;
  state: RunState;
}

/**
 * Checks every byte of the checkpoint at `path` against what was written, and gives its manifest and state.
 * @throws CheckpointError naming the file that is missing or damaged.
 */
export async function verifyCheckpoint(path: string): Promise<Verified> {
  checkKind('path', path, PATH);
  const manifest = await readManifest(path, { hashes: true });
  const file = join(path, STATE_FILE);
  const { data } = runState.safeParse(readJson(file));
  if (data === undefined || data.step !== manifest.step) throw damaged(file, 'something else', 'the state of a run');
  return { manifest, state: data };
}
