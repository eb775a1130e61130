/** The files of a folder that are uploaded, and what the hub wants to know of them. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { fill } from '../files/open-file.ts';

/** A file to upload: on disk, or made just now. */
export interface LocalFile {
  /** Its name in the repository. */
  path: string;
  /** Bytes. */
  size: number;
  source: string | Buffer;
}

/**
 * The files of a model or an adapter, without those whose names, or whose folders' names, begin with a dot.
 * @throws ArgumentError for a folder that is neither. @throws FileError
 */
export function filesIn(folder: string): LocalFile[] {
  if (existsSync(join(folder, 'run.json')) || existsSync(join(folder, 'checkpoints'))) {
    const received = `${printable(folder)}, the folder of a run`;
    const fix = 'Export the model first: a run also holds samples and the state of its optimizer.';
    throw new ArgumentError({ argument: 'folder', received, expected: 'the folder of a model', fix });
  }
  const files = below(folder, '');
  if (files.some(({ path }) => /^(adapter_)?config\.json$|\.gguf$/.test(path))) return files;
  const received = 'no config.json, adapter_config.json or *.gguf';
  throw new FileError({ argument: folder, received, expected: 'the folder of a model or of an adapter' });
}

function below(folder: string, prefix: string): LocalFile[] {
  try {
    const names = readdirSync(join(folder, prefix)).filter((name) => !name.startsWith('.'));
    return names.sort().flatMap((name) => {
      const [path, source] = [`${prefix}${name}`, join(folder, prefix, name)];
      const stats = statSync(source);
      if (stats.isDirectory()) return below(folder, `${path}/`);
      return stats.isFile() ? [{ path, size: stats.size, source }] : [];
    });
  } catch (error) {
    throw asFileError(error, join(folder, prefix), 'a folder to read');
  }
}

/** The first bytes, by which the hub tells text from binary files. @throws FileError */
export async function sampleOf({ source, size }: LocalFile): Promise<Buffer> {
  return await bytesOf(source, Math.min(size, 512));
}

/** All bytes of a small file. @throws FileError */
export async function contentOf({ source, size }: LocalFile): Promise<Buffer> {
  return await bytesOf(source, size);
}

async function bytesOf(source: string | Buffer, count: number): Promise<Buffer> {
  if (typeof source !== 'string') return source.subarray(0, count);
  try {
    const file = await open(source, 'r');
    try {
      const bytes = Buffer.alloc(count);
      return bytes.subarray(0, await fill(file, 0, bytes));
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asFileError(error, source, 'a file to read');
  }
}

/** The bytes piece by piece: `size` of them, whatever is added meanwhile. @throws FileError */
export async function* streamOf({ source, size }: LocalFile): AsyncGenerator<Uint8Array> {
  if (size === 0) return;
  if (typeof source !== 'string') return yield source;
  try {
    for await (const piece of createReadStream(source, { end: size - 1 })) yield piece;
  } catch (error) {
    throw asFileError(error, source, 'a file to read');
  }
}

/** The SHA-256, in hexadecimal digits. @throws FileError */
export async function sha256Of(file: LocalFile): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of streamOf(file)) hash.update(piece);
  return hash.digest('hex');
}
