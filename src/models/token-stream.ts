/** Answers of a model to one prompt, token by token. */
import {
  addon,
  type GenerateOptions,
  type LanguageModelHandle,
  type ReadoutHandle,
  type ScopeHandle,
} from '../native/addon.ts';
import { handleOf, type Resource, run } from '../native/resource.ts';
import { cancellable, inChunks, promptTensors, type StreamInput, withWeightNamed } from '../sampling.ts';
import { Inputs } from '../tensor/arguments.ts';
import type { Parameter } from '../tensor/tensor.ts';

/** What an answer is read through, as it is when the stream begins. */
export interface Reading {
  scope: ScopeHandle | undefined;
  readout: ReadoutHandle | undefined;
  /** The weights to name if their logits are not finite. */
  weights: readonly Parameter[];
}

/** A token, and the log-probability it was sampled with. */
export interface StreamedToken {
  token: number;
  logProb: number;
}

/** Tokens are computed up to 16 at a time, and only while the consumer asks for more. */
export async function* tokenStream(
  model: Resource<LanguageModelHandle>,
  reading: () => Reading,
  { prompt, signal }: Pick<StreamInput, 'prompt' | 'signal'>,
  { device, ...options }: GenerateOptions & { device: string },
): AsyncGenerator<StreamedToken> {
  using inputs = new Inputs(device);
  const { prompts } = promptTensors(inputs, { prompts: [prompt] }, options.padToken);
  const { scope, readout, weights } = reading();
  const stream = addon().tokenStreamCreate(handleOf(model), scope, prompts, options, readout);
  const advance = (count: number) =>
    cancellable(signal, (cancel) =>
      withWeightNamed(weights, () =>
        run([model, ...inputs.used], () => addon().tokenStreamAdvance(stream, count, cancel)),
      ),
    );
  try {
    yield* inChunks(advance);
  } finally {
    addon().dispose(stream);
  }
}
