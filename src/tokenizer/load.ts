import { statSync } from 'node:fs';
import { join } from 'node:path';
import { checkKind, PATH } from '../checks/kinds.ts';
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
  if (spec.endsWith('.gguf')) return await ofGguf(spec);
  const isFolder = statSync(spec, { throwIfNoEntry: false })?.isDirectory() === true;
  return await HuggingFaceTokenizer.load(isFolder ? join(spec, 'tokenizer.json') : spec);
}

async function ofGguf(path: string): Promise<Tokenizer> {
  const { tokenizer, config, eosToken, padToken } = await readGgufTokenizer(path);
  const special = { ...(eosToken === undefined ? {} : { eosToken }), ...(padToken === undefined ? {} : { padToken }) };
  return HuggingFaceTokenizer.of(path, tokenizer, config, special);
}
