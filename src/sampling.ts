/** What language-model.ts and policy.ts share for generation: options, prompts as tensors, and cancellation. */
import { parseConfig } from './config/schema.ts';
import { eosTokensOf, type SamplingConfigInput, samplingConfig } from './config/sampling.ts';
import { ArgumentError, NumericsError, printable, ShapeError } from './errors.ts';
import type { Ids, Inputs } from './tensor/arguments.ts';
import { checkKind, SIGNAL } from './checks/kinds.ts';
import {
  addon,
  type CancelHandle,
  type GenerateOptions,
  type ReadoutHandle,
  type TensorHandle,
} from './native/addon.ts';
import { handleOf, Resource } from './native/resource.ts';
import { randomSeed } from './seed.ts';
import { type Parameter, Tensor, type TensorGroup } from './tensor/tensor.ts';

/** The keys of the options that control sampling and cancellation. */
export const DRAWING = ['scope', 'signal', 'readout', ...Object.keys(samplingConfig.shape)];

/** Prompts to answer in one batch: arrays of token ids of any length, or a right-padded Tensor [B, P]. */
export interface PromptInput {
  prompts: readonly (readonly number[])[] | Tensor;
  /** Number of tokens in each row of a Tensor [B]. Defaults to the full width. */
  lengths?: Ids;
}

/** With which adapters to answer, from which logits (by default the model's own), and a signal that cancels. */
interface Drawing {
  scope?: string | undefined;
  readout?: Readout | undefined;
  signal?: AbortSignal | undefined;
}

/** Prompts and how to answer them. */
export type GenerateInput = PromptInput & SamplingConfigInput & Drawing;
/** The result of `generate`: sequences [B, T] int64, responseMask [B, T] bool, logProbs [B, T]. */
export type Generation = TensorGroup<{ sequences: Tensor; responseMask: Tensor; logProbs: Tensor }>;
/** One prompt and how to answer it. */
export type StreamInput = Omit<SamplingConfigInput, 'samplesPerPrompt' | 'padToken'> & {
  prompt: readonly number[];
} & Drawing;

/** What tokens are sampled from in place of a model's own logits; a policy makes it for its model. Dispose of it. */
export class Readout extends Resource<ReadoutHandle> {
  readonly #model: Resource;

  constructor(handle: ReadoutHandle, model: Resource) {
    super(handle, 'Readout');
    this.#model = model;
  }

  /** Whether it was made for `model`. @internal */
  reads(model: Resource): boolean {
    return this.#model === model;
  }
}

/** The native part of a readout. @throws ArgumentError if it was not made for `model`. */
export function readoutHandle(readout: Readout | undefined, model: Resource): ReadoutHandle | undefined {
  if (readout === undefined) return undefined;
  const kind = { is: (value: unknown) => value instanceof Readout, words: 'a readout made by a policy' };
  checkKind('readout', readout, kind);
  if (readout.reads(model)) return handleOf(readout, 'readout');
  const expected = 'a readout made by a policy of this model';
  throw new ArgumentError({ argument: 'readout', received: 'a readout of another model', expected });
}

/** Checks the sampling options and fills in the defaults. @throws ConfigError */
export function nativeSampling(input: SamplingConfigInput, argument: string): GenerateOptions {
  const config = parseConfig(samplingConfig, input, argument);
  const eosTokens = [...eosTokensOf(config.eosToken)];
  return {
    maxNewTokens: config.maxNewTokens,
    temperature: config.temperature,
    topK: config.topK,
    topP: config.topP,
    minP: config.minP,
    eosTokens,
    stop: config.stop ?? [],
    suppress: config.suppress ?? [],
    padToken: config.padToken ?? eosTokens[0] ?? 0,
    samplesPerPrompt: config.samplesPerPrompt,
    int8: config.weights === 'int8',
    seed: config.seed ?? randomSeed(),
  };
}

/** Prompts as a right-padded tensor [B, P], and lengths [B]. @throws ShapeError if there is no prompt, or one is empty. */
export function promptTensors(
  inputs: Inputs,
  { prompts, lengths }: PromptInput,
  padToken: number,
): { prompts: TensorHandle; lengths: TensorHandle } {
  if (prompts instanceof Tensor) {
    const [rows = 0, width = 0] = prompts.shape;
    const all = lengths ?? Array<number>(rows).fill(width);
    return { prompts: inputs.ids(prompts, 'prompts'), lengths: inputs.ids(all, 'lengths') };
  }
  if (lengths !== undefined) {
    throw new ArgumentError({
      argument: 'lengths',
      received: 'a value',
      expected: 'none unless prompts is a Tensor: arrays have their own lengths',
    });
  }
  const longest = checkPrompts(prompts);
  const padded = prompts.map((prompt) => [...prompt, ...Array<number>(longest - prompt.length).fill(padToken)]);
  const ends = prompts.map((prompt) => prompt.length);
  return { prompts: inputs.ids(padded, 'prompts'), lengths: inputs.ids(ends, 'lengths') };
}

/**
 * Runs `call`, which samples with these `weights`.
 * @throws NumericsError naming the first non-finite weight, if the logits were not finite.
 */
export async function withWeightNamed<T>(weights: readonly Parameter[], call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof NumericsError)) throw error;
    const place = await addon().parametersFirstNonFinite(weights.map((weight) => handleOf(weight)));
    if (place === undefined) throw error;
    throw new NumericsError({
      argument: (weights[place] as Parameter).name,
      received: 'non-finite numbers',
      expected: 'finite weights',
      fix: 'Load an earlier checkpoint, or train again with a lower lr.',
      cause: error,
    });
  }
}

function checkPrompts(prompts: readonly (readonly number[])[]): number {
  if (!Array.isArray(prompts) || prompts.length === 0) {
    throw new ShapeError({
      argument: 'prompts',
      received: printable(prompts),
      expected: 'at least one array of token ids',
    });
  }
  for (const [i, prompt] of prompts.entries()) {
    if (Array.isArray(prompt) && prompt.length > 0) continue;
    throw new ShapeError({
      argument: `prompts[${i}]`,
      received: printable(prompt),
      expected: 'an array of at least one token id',
      fix: 'Replace an empty prompt with one token, such as a newline.',
    });
  }
  return Math.max(...prompts.map((prompt) => prompt.length));
}

/**
 * Starts `call` at once and cancels it when `signal` is aborted.
 * @throws the signal's reason once it is aborted; if `call` still returns a result, it is disposed of.
 */
export async function cancellable<T extends object>(
  signal: AbortSignal | undefined,
  call: (cancel: CancelHandle | undefined) => Promise<T>,
): Promise<T> {
  if (signal === undefined) return await call(undefined);
  checkKind('signal', signal, SIGNAL);
  signal.throwIfAborted();
  const cancel = addon().cancelCreate();
  const abort = () => addon().cancel(cancel);
  signal.addEventListener('abort', abort, { once: true });
  try {
    const result = await call(cancel);
    if (signal.aborted) (result as Partial<Disposable>)[Symbol.dispose]?.();
    signal.throwIfAborted();
    return result;
  } finally {
    signal.removeEventListener('abort', abort);
    addon().dispose(cancel);
  }
}

/** How many tokens of a stream are computed together: few at first, so that it starts quickly. */
const STREAM_CHUNKS = [1, 2, 4, 8, 16] as const;

/** Yields the tokens of a stream one by one; `advance` computes up to `count` at once and reports when it is done. */
export async function* inChunks(
  advance: (count: number) => Promise<{ tokens: number[]; logProbs: number[]; done: boolean }>,
): AsyncGenerator<{ token: number; logProb: number }> {
  for (let turn = 0, done = false; !done; turn++) {
    const chunk = await advance(STREAM_CHUNKS[Math.min(turn, STREAM_CHUNKS.length - 1)] as number);
    for (const [i, token] of chunk.tokens.entries()) yield { token, logProb: chunk.logProbs[i] as number };
    done = chunk.done;
  }
}
