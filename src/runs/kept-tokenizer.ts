/** Tokenizers beside the models that are saved: the note in a model's file, and copies of the tokenizer's own files. */
import { cpSync, existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { asFileError } from '../files/file-error.ts';
import { isGguf } from '../models/hf-folder.ts';
import { TOKENIZER_KEY, withTokenizerNote } from '../models/model-file.ts';
import type { Saveable } from '../tensor/tensor-files.ts';
import { readGgufTokenizer } from '../tokenizer/gguf/gguf-tokenizer.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** The files of a Hugging Face tokenizer that we read, its chat templates included. */
const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
  'additional_chat_templates',
] as const;
const [, TOKENIZER_CONFIG] = TOKENIZER_FILES;
/** The file that a tokenizer is found by. */
export const [TOKENIZER_FILE] = TOKENIZER_FILES;

/** Wraps `model` so that its files also record the tokenizer: bytes, or the tokenizer file next to the model. */
export function withTokenizer(model: Saveable, tokenizer: Tokenizer): Saveable {
  const described = tokenizer.describe();
  const note = described.type === 'byte' ? described : { ...described, path: TOKENIZER_FILE };
  return { contents: () => withTokenizerNote(model.contents(), { describe: () => note }) };
}

/**
 * Copies the files of `tokenizer`, if it has any, into `folder`; those of a GGUF file are written.
 * @throws FileError if they cannot be written.
 */
export async function keepTokenizer(tokenizer: Tokenizer, folder: string): Promise<void> {
  const described = tokenizer.describe();
  if (described.type === 'byte' || dirname(described.path) === resolve(folder)) return;
  if (isGguf(described.path)) return await writeTokenizer(described.path, folder);
  for (const name of TOKENIZER_FILES) {
    const source = name === TOKENIZER_FILE ? described.path : join(dirname(described.path), name);
    if (existsSync(source)) putAtomically(join(folder, name), (aside) => cpSync(source, aside, { recursive: true }));
  }
}

/** Writes the tokenizer in a GGUF file as Hugging Face's files; its hash stays the same. */
async function writeTokenizer(path: string, folder: string): Promise<void> {
  const { tokenizer, config } = await readGgufTokenizer(path);
  const write = (name: string, json: object) =>
    putAtomically(join(folder, name), (aside) => writeFileSync(aside, JSON.stringify(json)));
  write(TOKENIZER_CONFIG, config);
  write(TOKENIZER_FILE, tokenizer);
}

function putAtomically(target: string, put: (aside: string) => void): void {
  try {
    put(`${target}.tmp`);
    rmSync(target, { recursive: true, force: true });
    renameSync(`${target}.tmp`, target);
  } catch (error) {
    throw asFileError(error, target, 'a file to write to');
  }
}

/**
 * Metadata that records `tokenizer` in a model file at `out`. The tokenizer's files are copied next to it; if such
 * files exist there already, the metadata keeps the original path.
 * @throws FileError if the folder cannot be written.
 */
export async function noteBeside(tokenizer: Tokenizer, out: string): Promise<ReadonlyMap<string, string>> {
  const folder = dirname(resolve(out));
  const taken = TOKENIZER_FILES.some((name) => existsSync(join(folder, name)));
  const described = tokenizer.describe();
  if (described.type !== 'byte' && !taken) {
    await keepTokenizer(tokenizer, folder);
    described.path = TOKENIZER_FILE;
  }
  return new Map([[TOKENIZER_KEY, JSON.stringify(described)]]);
}
