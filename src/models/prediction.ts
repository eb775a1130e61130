/** How a language model predicts given tokens: what losses on texts are computed from. */
import { checkOptions } from '../checks/options.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { type Ids, Inputs } from '../tensor/arguments.ts';
import { type Tensor, type TensorGroup, tensorGroup } from '../tensor/tensor.ts';
import type { LanguageModel } from './language-model.ts';
import type { LogProb } from './policy.ts';

/** Of every token of sequences [B, T] as the model predicts it. Entry t belongs to token t, entry 0 is 0. */
export interface Prediction extends LogProb {
  /** Whether no token was likelier; bool. */
  right: Tensor;
}

/**
 * The prediction of `tokens` [B, T] by a causal `model`, through the adapters of `scope` if given. `segments` [B, T] packs several
 * sequences into a row, see `LanguageModel.loss`; the first token of each is not predicted, and its entries are 0. The results
 * are differentiable only with `grad`.
 * @throws ArgumentError for a model that is not causal.
 * @throws ShapeError for rows of one token.
 */
export async function predict(
  model: LanguageModel,
  tokens: Ids,
  options: { scope?: string | undefined; segments?: Ids | undefined; grad?: boolean } = {},
): Promise<TensorGroup<Prediction>> {
  const handle = handleOf(model, 'model');
  checkOptions(options, ['scope', 'segments', 'grad'], 'predict');
  const { scope, grad = true } = options;
  using inputs = new Inputs(model.decoder.device);
  const ids = inputs.ids(tokens, 'tokens');
  const segments = options.segments === undefined ? undefined : inputs.ids(options.segments, 'segments');
  const adapters = scope === undefined ? undefined : model.scopeHandle(scope);
  const read = () => addon().modelPredict(handle, ids, adapters, segments, model.gradients(grad, scope));
  return tensorGroup(await run([model, ...inputs.used], read));
}

/**
 * The prediction of `tokens` [B, T] by `logits` [B, T, V], each token by the logits at its own place, for losses on logits that were
 * computed elsewhere.
 */
export async function predictionOf(logits: Tensor, tokens: Ids): Promise<TensorGroup<Prediction>> {
  const handle = handleOf(logits, 'logits');
  using inputs = new Inputs(logits.device);
  const ids = inputs.ids(tokens, 'tokens');
  return tensorGroup(await run([logits, ...inputs.used], () => addon().predictionOf(handle, ids)));
}
