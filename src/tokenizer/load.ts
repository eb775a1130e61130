import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { checkKind, PATH } from '../checks/kinds.ts';
import { FileError } from '../errors.ts';
import { ByteTokenizer } from './byte.ts';
import { readGgufTokenizer } from './gguf/gguf-tokenizer.ts';
import { HuggingFaceTokenizer } from './hugging-face.ts';
import type { Tokenizer } from './tokenizer.ts';

/**
 * Loads the tokenizer that a configuration names: `byte`, the path of a Hugging Face `tokenizer.json`, or its folder, or
 * a GGUF file.
 * @throws FileError if the file is missing or not a tokenizer.
 */
export async function loadTokenizer(spec: string): Promise<Tokenizer> {
  checkKind('tokenizer', spec, PATH);
  if (spec === 'byte') return new ByteTokenizer();
  if (spec.endsWith('.gguf')) return (await openGgufTokenizer(spec)).tokenizer;
  const isFolder = statSync(spec, { throwIfNoEntry: false })?.isDirectory() === true;
  if (isFolder) checkTokenizerJson(spec);
  return await HuggingFaceTokenizer.load(isFolder ? join(spec, 'tokenizer.json') : spec);
}

/** The tokenizer in a GGUF file, and all tokens that end an answer. @throws FileError, GgufError */
export async function openGgufTokenizer(path: string) {
  const { tokenizer, config, eosToken, padToken, stopTokens } = await readGgufTokenizer(path);
  const special = { ...(eosToken === undefined ? {} : { eosToken }), ...(padToken === undefined ? {} : { padToken }) };
  return { tokenizer: HuggingFaceTokenizer.of({ name: resolve(path), tokenizer, config }, special), stopTokens };
}

/** What older models have in place of a tokenizer.json. */
const OLDER = ['tokenizer.model', 'spiece.model', 'vocab.json', 'vocab.txt'];

/** @throws FileError for a folder with a tokenizer of another format */
export function checkTokenizerJson(folder: string): void {
  const older = OLDER.filter((name) => existsSync(join(folder, name)));
  if (older.length === 0 || existsSync(join(folder, 'tokenizer.json'))) return;
  const code = `from transformers import AutoTokenizer as T; T.from_pretrained(${JSON.stringify(folder)}).save_pretrained(${JSON.stringify(folder)})`;
  const fix = `Write one with Python: python -c '${code}'`;
  throw new FileError({
    argument: folder,
    received: `${older.join(', ')} without tokenizer.json`,
    expected: 'a tokenizer.json',
    fix,
  });
}
