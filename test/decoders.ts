/** Decoders of any description, made through the addon as the classes make theirs: what no family here asks for yet. */
import {
  type AdapterDescription,
  addon,
  type DecoderDescription,
  type GenerateOptions,
  type LanguageModelHandle,
  type NormDescription,
  type RopeDescription,
  type ScopeHandle,
} from '../src/native/addon.ts';
import { handleOf } from '../src/native/resource.ts';
import { adaptersOf } from '../src/models/scope-size.ts';
import { Parameter, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';
import type { RecordedTensors } from './parity/numbers.ts';
import { drawn } from './parity/weights.ts';

/** A norm that multiplies by its weights. */
export const L2: NormDescription = { kind: 'l2', eps: 1e-12, offset: 0, weight: true, bias: false };
export const QK_NORM = { over: 'head', norm: L2 } as const;
export const ROPE: RopeDescription = {
  inverseFrequency: [1, 10000 ** (-1 / 3), 10000 ** (-2 / 3)],
  ...{ factor: 1, wide: true, xposScaleBase: 512, reach: undefined },
};
export const PLAIN_ROPE: RopeDescription = { ...ROPE, xposScaleBase: undefined };

export const DESCRIPTION: DecoderDescription = {
  ...{ numTokens: 19, usedTokens: 19, dim: 24, depth: 2, heads: 4, kvHeads: 1, dimHead: 6, ff: 40, causal: true },
  norm: { kind: 'layer', eps: 1e-5, offset: 1, weight: true, bias: false },
  ...{ form: 'pre', parallel: true, sharedNorm: true, residualFromNorm: false, finalNorm: true },
  ...{ qkvBias: false, outputBias: false, ffBias: false, gated: true, activation: 'silu' },
  ...{
    qkNorm: undefined,
    clipQkv: undefined,
    alibi: [],
    alibiRounded: false,
    softcap: undefined,
    positions: undefined,
  },
  ropes: [ROPE],
  layers: [{ window: 0, rope: 0, scale: 6 ** -0.5 }],
  ...{ embeddingNorm: false, embeddingScale: 1, residualScale: 1, embeddingDim: 24 },
  ...{ tied: true, headBias: false, logitScale: 1, finalSoftcap: undefined },
  ...{ ignoreIndex: -100, attnDropout: 0, ffDropout: 0, recompute: 'selective', dtype: 'float32', device },
};

/** Numbers for every parameter that such a decoder has. */
export function weightsOf(description: DecoderDescription, seed: number): RecordedTensors {
  const shapes = addon()
    .decoderParameters(description)
    .map(({ name, shape }) => [name, shape]);
  return drawn(Object.fromEntries(shapes), seed);
}

async function fill(parameter: Parameter, data: Float64Array): Promise<void> {
  using value = await parameter.value();
  using numbers = Tensor.from(data, { shape: parameter.shape, dtype: 'float64' });
  await addon().tensorCopy(handleOf(value), handleOf(numbers));
}

export async function numbersOf(parameter: Parameter | Tensor): Promise<number[]> {
  return Array.from(await parameter.data(), Number);
}

/** What is drawn in one call: tokens and log-probabilities, row by row, prompts included. */
export interface DrawnRows {
  tokens: number[];
  logProbs: number[];
}

export class Scope implements Disposable {
  readonly handle: ScopeHandle;
  readonly parameters: readonly Parameter[];

  constructor(model: LanguageModelHandle, adapters: AdapterDescription[], { dtype }: DecoderDescription) {
    this.handle = addon().scopeCreate(model, adapters, 0);
    this.parameters = addon()
      .scopeParameters(this.handle)
      .map((parameter) => new Parameter(parameter, { dtype }));
  }

  /** Numbers for A and B alike, so that it changes what is read. */
  async draw(seed: number): Promise<void> {
    const numbers = drawn(Object.fromEntries(this.parameters.map(({ name, shape }) => [name, [...shape]])), seed);
    for (const one of this.parameters) await fill(one, numbers.get(one.name)?.data as Float64Array);
  }

  async numbers(name: string): Promise<number[]> {
    return await numbersOf(this.parameters.find((parameter) => parameter.name === name) as Parameter);
  }

  [Symbol.dispose](): void {
    for (const parameter of this.parameters) parameter.dispose();
    addon().dispose(this.handle);
  }
}

export class Decoder implements Disposable {
  readonly handle: LanguageModelHandle;
  readonly parameters: readonly Parameter[];
  readonly #description: DecoderDescription;

  constructor(description: DecoderDescription) {
    this.#description = description;
    this.handle = addon().decoderCreate(description);
    this.parameters = addon()
      .modelParameters(this.handle)
      .map((parameter) => new Parameter(parameter, { dtype: description.dtype }));
  }

  static async of(description: DecoderDescription, weights: RecordedTensors): Promise<Decoder> {
    const decoder = new Decoder(description);
    for (const one of decoder.parameters) await fill(one, weights.get(one.name)?.data as Float64Array);
    return decoder;
  }

  scope(targets: string[], rank: number, alpha: number): Scope {
    const modules = Object.fromEntries(targets.map((site) => [site, site]));
    return this.adapted(adaptersOf({ rank, alpha }, { targets, modules }, this.#description.depth));
  }

  /** A scope of these adapters, whose ranks and scales may differ. */
  adapted(adapters: AdapterDescription[]): Scope {
    return new Scope(this.handle, adapters, this.#description);
  }

  async logits(rows: number[][], scope?: Scope, segments?: number[][]): Promise<number[]> {
    using tokens = Tensor.from(rows, { dtype: 'int64', device });
    using ids = segments && Tensor.from(segments, { dtype: 'int64', device });
    const handle = ids && handleOf(ids);
    const out = await addon().modelForward(this.handle, handleOf(tokens), scope?.handle, handle, 'none');
    using logits = new Tensor(out.logits);
    addon().dispose(out.embeddings);
    return await numbersOf(logits);
  }

  /** Gradients of the next-token loss, by name: of all weights and of a scope. */
  async gradients(rows: number[][], scope?: Scope, segments?: number[][]): Promise<Map<string, number[]>> {
    using tokens = Tensor.from(rows, { dtype: 'int64', device });
    using ids = segments && Tensor.from(segments, { dtype: 'int64', device });
    const given = [scope?.handle, undefined, ids && handleOf(ids), undefined] as const;
    using loss = new Tensor(await addon().modelLoss(this.handle, handleOf(tokens), ...given, 'all'));
    await loss.backward();
    const found = new Map<string, number[]>();
    for (const parameter of [...this.parameters, ...(scope?.parameters ?? [])]) {
      using grad = await parameter.grad();
      if (grad !== null) found.set(parameter.name, await numbersOf(grad));
    }
    return found;
  }

  /** Answers prompts. */
  async generate(
    rows: number[][],
    sampling: Partial<GenerateOptions> & { temperature: number },
    scope?: Scope,
  ): Promise<DrawnRows> {
    const longest = Math.max(...rows.map((row) => row.length));
    const padded = rows.map((row) => [...row, ...Array<number>(longest - row.length).fill(0)]);
    using prompts = Tensor.from(padded, { dtype: 'int64', device });
    using lengths = Tensor.from(
      rows.map((row) => row.length),
      { dtype: 'int64', device },
    );
    const filters = { topK: undefined, topP: undefined, minP: undefined, eosTokens: [], stop: [], suppress: [] };
    const options = {
      maxNewTokens: 12,
      padToken: 0,
      samplesPerPrompt: 1,
      int8: false,
      seed: 3,
      ...filters,
      ...sampling,
    };
    const given = [handleOf(prompts), handleOf(lengths), options, undefined, undefined] as const;
    const out = await addon().generate(this.handle, scope?.handle, ...given);
    using sequences = new Tensor(out.sequences);
    using logProbs = new Tensor(out.logProbs);
    addon().dispose(out.responseMask);
    return { tokens: await numbersOf(sequences), logProbs: await numbersOf(logProbs) };
  }

  [Symbol.dispose](): void {
    for (const parameter of this.parameters) parameter.dispose();
    addon().dispose(this.handle);
  }
}
