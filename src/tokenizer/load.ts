import { ByteTokenizer } from './byte.ts';
import { HuggingFaceTokenizer } from './hugging-face.ts';
import type { Tokenizer } from './tokenizer.ts';

/**
 * The tokenizer that a configuration names: `byte`, or the path of a Hugging Face `tokenizer.json`.
 * @throws FileError when the file is missing or not a tokenizer.
 */
export async function loadTokenizer(spec: string): Promise<Tokenizer> {
  return spec === 'byte' ? new ByteTokenizer() : HuggingFaceTokenizer.load(spec);
}
