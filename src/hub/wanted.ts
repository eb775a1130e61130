/** Which files of a repository make up a model: an allow-list, and the weights in the one format that is read. */
import { HubError, printable } from '../errors.ts';
import { JsonError, parseJson } from '../files/json.ts';
import type { Present } from './cache.ts';
import { checkFileName, type Reference } from './names.ts';

/** What is wanted of a repository. */
export interface Wanted extends Reference {
  /** Whether weights may be in files of `torch.save` if there are no others. */
  allowPickle: boolean;
}

/** Everything but weights. */
const BESIDES =
  /^(config\.json|generation_config\.json|tokenizer[^/]*|special_tokens_map\.json|vocab\.json|merges\.txt|chat_template\.jinja|additional_chat_templates\/[^/]+\.jinja|adapter_config\.json|[^/]+\.safetensors\.index\.json|pytorch_model\.bin\.index\.json)$/;

/** The files of `listing` that are wanted and have no weights in them, and those that say where the weights are. */
export function besides<E extends Present>(listing: readonly E[], { file, allowPickle }: Wanted): E[] {
  if (file !== undefined) return [];
  return listing.filter(({ path }) => BESIDES.test(path) && (allowPickle || !path.includes('.bin')));
}

/** Where a format keeps the weights of a model, in the order in which they are looked for, and those of an adapter. */
interface Format {
  index: string;
  whole: string;
  adapter: string;
  any: RegExp;
}

const SAFETENSORS: Format = {
  index: 'model.safetensors.index.json',
  whole: 'model.safetensors',
  adapter: 'adapter_model.safetensors',
  any: /^[^/]+\.safetensors$/,
};
const PICKLE: Format = {
  index: 'pytorch_model.bin.index.json',
  whole: 'pytorch_model.bin',
  adapter: 'adapter_model.bin',
  any: /^(pytorch_model|adapter_model)[^/]*\.bin$/,
};

/**
 * The files of `listing` with the weights.
 * @param read the text of an index, which `besides` names and which is there by now
 * @throws HubError if there are none that may be read, or an index names other files.
 */
export function weights<E extends Present>(listing: readonly E[], wanted: Wanted, read: (path: string) => string): E[] {
  const { file, repo, allowPickle } = wanted;
  if (file !== undefined) return [namedFile(listing, file, repo)];
  for (const format of allowPickle ? [SAFETENSORS, PICKLE] : [SAFETENSORS]) {
    const found = weightsIn(listing, format, repo, read);
    if (found.length > 0) return found;
  }
  throw noWeights(listing, repo);
}

function weightsIn<E extends Present>(
  listing: readonly E[],
  { index, whole, adapter, any }: Format,
  repo: string,
  read: (path: string) => string,
): E[] {
  const named = (path: string) => listing.filter((entry) => entry.path === path);
  const model = named(index).length > 0 ? shards(listing, index, repo, read(index)) : named(whole);
  const found = [...model, ...named(adapter)];
  return found.length > 0 ? found : listing.filter(({ path }) => any.test(path));
}

/** The files that an index maps the weights to. @throws HubError for an index that is damaged or leads elsewhere. */
function shards<E extends Present>(listing: readonly E[], index: string, repo: string, text: string): E[] {
  const argument = `${repo}/${index}`;
  const names = new Set(Object.values(weightMap(text, argument)));
  return [...names].map((name) => {
    checkFileName(name, argument);
    const found = listing.find(({ path }) => path === name);
    if (found !== undefined && /\.(safetensors|bin)$/.test(name)) return found;
    const fix = 'Its owner has to upload the rest; choose another revision until then.';
    const expected = 'only files of weights that are in the repository';
    throw new HubError({ reason: 'damaged', argument, received: printable(name), expected, fix });
  });
}

function weightMap(text: string, argument: string): object {
  try {
    const { weight_map: map } = Object(parseJson(text, 2_000_000)) as { weight_map?: unknown };
    if (typeof map === 'object' && map !== null && Object.keys(map).length > 0) return map;
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
  }
  throw new HubError({ reason: 'damaged', argument, received: 'no weight_map', expected: 'the file of each weight' });
}

function namedFile<E extends Present>(listing: readonly E[], file: string, repo: string): E {
  const found = listing.find(({ path }) => path === file);
  if (found !== undefined) return found;
  const others = listing.filter(({ path }) => path.endsWith('.gguf')).map(({ path }) => path);
  const expected = others.length === 0 ? 'another repository: this one has no GGUF file' : `one of ${some(others)}`;
  throw new HubError({ reason: 'not-found', argument: repo, received: printable(file), expected });
}

function noWeights(listing: readonly Present[], repo: string): HubError {
  const ending = (end: string) => listing.filter(({ path }) => path.endsWith(end)).map(({ path }) => path);
  const [pickles, gguf] = [listing.map(({ path }) => path).filter((path) => PICKLE.any.test(path)), ending('.gguf')];
  const [received, fix] =
    pickles.length > 0
      ? [`weights in ${some(pickles)} alone`, 'Pass allowPickle: true (--allow-pickle) if you trust its owner.']
      : gguf.length > 0
        ? [`weights in ${some(gguf)} alone`, `Name the file: ${repo}/${printable(gguf[0]).slice(1, -1)}`]
        : ['no weights', 'Choose a repository of a model in the format of transformers.'];
  return new HubError({ reason: 'no-weights', argument: repo, received, expected: '*.safetensors', fix });
}

/** The first few names, for an error. */
function some(names: readonly string[]): string {
  const shown = names.slice(0, 5).map((name) => printable(name).slice(1, -1));
  return `${shown.join(', ')}${names.length > 5 ? ', …' : ''}`;
}
