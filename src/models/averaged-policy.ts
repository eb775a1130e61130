/** A running average of a policy's weights, which is evaluated and kept in place of the last ones. */
import { checkKind, instanceOf, SHARE } from '../checks/kinds.ts';
import { addon } from '../native/addon.ts';
import { handleOf, queue, run } from '../native/resource.ts';
import type { Contents, Saveable } from '../tensor/tensor-files.ts';
import { Parameter } from '../tensor/tensor.ts';
import { writeMetadata } from './model-file.ts';
import { Policy } from './policy.ts';

/**
 * The exponential moving average of the weights that a policy trains: those of its adapters, or of the model. It starts as a
 * copy; bfloat16 weights are averaged in float32, because they would round small changes away. Files load as a policy.
 */
export class AveragedPolicy implements Saveable, Disposable {
  readonly #policy: Policy;
  readonly #weights: readonly Parameter[];
  readonly #average: readonly Parameter[];

  constructor(policy: Policy) {
    checkKind('policy', policy, instanceOf(Policy));
    this.#policy = policy;
    this.#weights = policy.ownParameters();
    this.#average = this.#weights.map((weight) => copyOf(weight, policy.model.decoder.device));
  }

  /** average ← decay · average + (1 − decay) · weights */
  async update(decay: number): Promise<void> {
    checkKind('decay', decay, SHARE);
    const handles = (parameters: readonly Parameter[]) => parameters.map((parameter) => handleOf(parameter));
    const move = () => addon().parametersMove(handles(this.#average), handles(this.#weights), 1 - decay);
    await run([this.#policy, this.#policy.model], move);
  }

  /** The averaged parameters, with the names that the policy has for them. */
  parameters(): Parameter[] {
    return [...this.#average];
  }

  /** The policy's model and scope with averaged weights; the file also loads as a language model. */
  contents(): Contents {
    const { model, scopes } = this.#policy;
    const own = scopes.slice(0, 1);
    const averaged = new Map(this.#average.map((parameter) => [parameter.name, parameter]));
    const tensors = model.contents(own).tensors.map(({ name, tensor }) => ({
      name,
      tensor: averaged.get(name) ?? tensor,
    }));
    return { tensors, metadata: writeMetadata('Policy', model.metadata(own)) };
  }

  /** Frees the average; the policy stays. */
  dispose(): void {
    for (const parameter of this.#average) parameter.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A parameter of the same name and shape, at least in float32, that gets the same values. */
function copyOf(weight: Parameter, device: string): Parameter {
  const dtype = weight.dtype === 'bfloat16' ? 'float32' : weight.dtype;
  const values = addon().tensorEmpty([...weight.shape], dtype, device);
  const copy = new Parameter({ ...addon().parameterCreate(values), name: weight.name }, { dtype });
  addon().dispose(values);
  queue(copy, addon().parametersCopy([handleOf(copy)], [handleOf(weight)]));
  return copy;
}
