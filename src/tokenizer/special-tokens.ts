/** The special tokens that the files of a model name. */
import { FileError, printable } from '../errors.ts';
import { isObject, type Json } from './pipeline/step.ts';
import type { Around } from './pipeline/post-processors.ts';

/** The usual names of special tokens, for files that do not name theirs. */
const USUAL = {
  bos_token: ['<s>', '<bos>', '<|begin_of_text|>', '<|startoftext|>', '[BOS]'],
  eos_token: ['<|endoftext|>', '</s>', '<eos>', '<|eos|>', '[EOS]', '<|end_of_text|>', '<|eot_id|>', '<|im_end|>'],
  pad_token: ['<pad>', '[PAD]', '<|pad|>', '<|padding|>', '<|finetune_right_pad_id|>'],
};

/** The token named in tokenizer_config.json, else the first added token of `json`, a tokenizer.json, with a usual name. */
export function specialToken(json: Json, config: Json, key: keyof typeof USUAL): number | undefined {
  const added = new Map((json.added_tokens as Json[] | undefined)?.map(({ content, id }) => [content, id]));
  const name = [textOf(config[key]), ...USUAL[key]].find((candidate) => added.has(candidate));
  return added.get(name) as number | undefined;
}

/** The text of a token, which files have as a string or as an object. */
function textOf(token: unknown): string | undefined {
  const text = isObject(token) ? token.content : token;
  return typeof text === 'string' ? text : undefined;
}

/** The texts of special tokens under the names that chat templates have for them. */
export function templateTokens(config: Json): Record<string, string> {
  const named = { ...config, ...(isObject(config.extra_special_tokens) ? config.extra_special_tokens : {}) };
  const texts = Object.entries(named).map(([name, token]) => [name, textOf(token)]);
  return Object.fromEntries(texts.filter(([name, text]) => name?.endsWith('_token') && text !== undefined));
}

/** Their class overrides the post-processor in transformers 4, by the keys add_bos_token and add_eos_token. */
const OVERRIDING = /^(CodeLlama|Llama|Gemma|Cohere)Tokenizer(Fast)?$/;

/** The special tokens around a text: those of the post-processor, but where the configuration says which to add. */
export function specialTokensAround(found: Around, config: Json, bos?: number, eos?: number): Around {
  if (typeof config.tokenizer_class !== 'string' || !OVERRIDING.test(config.tokenizer_class)) return found;
  const only = (key: string, token: number | undefined, otherwise: readonly number[]) => {
    if (typeof config[key] !== 'boolean') return otherwise;
    return config[key] && token !== undefined ? [token] : [];
  };
  return { before: only('add_bos_token', bos, found.before), after: only('add_eos_token', eos, found.after) };
}

/** Files that name tokens at which a model stops. */
export interface StopFiles {
  /** The contents of generation_config.json and config.json. */
  generation?: Json | undefined;
  config?: Json | undefined;
  /** The eos of the tokenizer. */
  eosToken?: number | undefined;
}

/**
 * All tokens that end an answer of a model: every file may name one or several, and none has to name all.
 * @throws FileError for one that is not a token
 */
export function stopTokensOf({ generation, config, eosToken }: StopFiles): number[] {
  const text = isObject(config?.text_config) ? config.text_config : undefined;
  const named = [
    ['generation_config.json', generation?.eos_token_id],
    ['config.json', config?.eos_token_id],
    ['config.json', text?.eos_token_id],
    ['the tokenizer', eosToken],
  ] as const;
  return [...new Set(named.flatMap(([file, ids]) => tokensIn(file, ids)))];
}

function tokensIn(file: string, ids: unknown): number[] {
  const list = ids === undefined || ids === null ? [] : Array.isArray(ids) ? ids : [ids];
  const wrong = list.find((id) => !(Number.isSafeInteger(id) && id >= 0));
  if (wrong === undefined) return list;
  const received = `${printable(wrong)} in eos_token_id`;
  throw new FileError({ argument: file, received, expected: 'the id of a token, or several' });
}
