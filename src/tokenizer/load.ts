import { statSync } from 'node:fs';
import { join } from 'node:path';
import { checkKind, PATH } from '../checks/kinds.ts';
import { ByteTokenizer } from './byte.ts';
import { HuggingFaceTokenizer } from './hugging-face.ts';
import type { Tokenizer } from './tokenizer.ts';

/**
 * Loads the tokenizer that a configuration names: `byte`, the path of a Hugging Face `tokenizer.json`, or its folder.
 * @throws FileError if the file is missing or not a tokenizer.
 */
export async function loadTokenizer(spec: string): Promise<Tokenizer> {
  checkKind('tokenizer', spec, PATH);
  if (spec === 'byte') return new ByteTokenizer();
  const isFolder = statSync(spec, { throwIfNoEntry: false })?.isDirectory() === true;
  return await HuggingFaceTokenizer.load(isFolder ? join(spec, 'tokenizer.json') : spec);
}
