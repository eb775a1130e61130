/** Models in GGUF files as Hugging Face has them: what config.json would say, and tensors by their names there. */
import { printable } from '../../errors.ts';
import { type GgufEntry, type GgufFile, openGguf } from '../../files/gguf/gguf.ts';
import { unsupported } from '../../files/gguf/metadata.ts';
import { type Architecture, ArchitectureKeys, type HfConfig, KEYS_IN_TENSORS } from './architecture.ts';
import { ARCHITECTURES } from './architectures.ts';
import { type Changes, type GgufTensor, storedTensor } from './stored.ts';

/** A model in an open GGUF file. Close it, or use `await using`. */
export interface GgufModel extends AsyncDisposable {
  readonly path: string;
  /** The contents of a config.json. */
  readonly config: HfConfig;
  /** The tensors as Hugging Face names and orders them. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/**
 * Opens the model in the file `path`. Its tokenizer is read by `ggufTokenizer`.
 * @throws FileError if the file is missing or unreadable.
 * @throws GgufError if it is damaged, of another architecture, or says what palm-rlhf does not know.
 */
export async function openGgufModel(path: string): Promise<GgufModel> {
  const file = await openGguf(path);
  try {
    checkWhole(file);
    const architecture = architectureOf(file);
    const keys = await ArchitectureKeys.of(file);
    const config = configOf(architecture, keys);
    const tensors = translate(file, architecture, keys);
    return { path, config, tensors, [Symbol.asyncDispose]: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function checkWhole({ metadata, path }: GgufFile): void {
  const parts = metadata.findCount('split.count') ?? 1;
  if (parts <= 1) return;
  const fix = 'Join them with llama-gguf-split --merge.';
  throw unsupported(path, `one of ${parts} parts of a model`, 'a model in one file', fix);
}

function architectureOf({ metadata, path }: GgufFile): Architecture {
  const name = metadata.text('general.architecture');
  const architecture = ARCHITECTURES.get(name);
  if (architecture !== undefined) return architecture;
  const expected = `one of ${[...ARCHITECTURES.keys()].join(', ')}`;
  const fix = 'Load the model from the folder that it was converted from.';
  throw unsupported(path, `the architecture ${printable(name)}`, expected, fix);
}

function configOf({ modelType, className, config }: Architecture, keys: ArchitectureKeys): HfConfig {
  const own = config(keys);
  keys.checkAllRead();
  const { metadata } = keys.file;
  const [tokens] = keys.embedding();
  const token = (name: string) => metadata.findCount(`tokenizer.ggml.${name}_token_id`);
  const ends = new Set([token('eos'), token('eot'), token('eom')].filter((id) => id !== undefined));
  const special = { bos_token_id: token('bos'), pad_token_id: token('padding') };
  return {
    architectures: [className],
    model_type: modelType,
    ...own,
    vocab_size: tokens,
    tie_word_embeddings: !keys.has('output.weight'),
    ...Object.fromEntries(Object.entries(special).filter(([, id]) => id !== undefined)),
    ...(ends.size === 0 ? {} : { eos_token_id: ends.size === 1 ? [...ends][0] : [...ends] }),
  };
}

const NAME = /^(?:blk\.(\d+)\.)?(.+)\.(weight|bias)$/;

function translate(file: GgufFile, architecture: Architecture, keys: ArchitectureKeys): Map<string, GgufTensor> {
  const translated = new Map<string, GgufTensor>();
  for (const [name, entry] of file.entries) {
    if (KEYS_IN_TENSORS.includes(name)) continue;
    const [, layer, stem = '', suffix] = NAME.exec(name) ?? [];
    const names = layer === undefined ? architecture.outer : architecture.layer;
    const found = Object.hasOwn(names, stem) ? (names[stem] as string) : undefined;
    if (found === undefined) throw unknownTensor(file, name, architecture);
    const named = `${layer === undefined ? '' : `${architecture.layers}${layer}.`}${found}.${suffix}`;
    translated.set(named, storedTensor(file, named, entry, changesOf(stem, entry, architecture, keys)));
  }
  return translated;
}

function changesOf(
  stem: string,
  { shape }: GgufEntry,
  { paired = {}, normsPlusOne = false, transposed = [] }: Architecture,
  keys: ArchitectureKeys,
): Changes {
  const heads = Object.hasOwn(paired, stem) ? paired[stem] : undefined;
  const count = heads === 'heads' ? 'attention.head_count' : 'attention.head_count_kv';
  return {
    pairedHeads: heads === undefined ? undefined : (keys.findCount(count) ?? keys.count('attention.head_count')),
    minusOne: normsPlusOne && stem.endsWith('norm'),
    transposed: transposed.includes(stem) && shape.length === 2,
  };
}

function unknownTensor({ path }: GgufFile, name: string, { modelType }: Architecture) {
  const argument = `${path}, tensor ${printable(name)}`;
  const fix = 'Load the model from the folder that it was converted from.';
  return unsupported(argument, 'a tensor that palm-rlhf does not know', `only tensors of ${modelType}`, fix);
}
