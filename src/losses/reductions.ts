/** Reductions over tensors, for tests of a loss of one's own. */
import { addon, type TensorHandle } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Inputs, type Mask } from '../tensor/arguments.ts';
import { Tensor } from '../tensor/tensor.ts';

/** The mean of each row of values [B, T] where `mask` [B, T] is true: [B], 0 for a row without a true entry. */
export function maskedMean(values: Tensor, mask?: Mask): Promise<Tensor> {
  return reduce(values, mask, (handle, maskHandle) => addon().maskedMean(handle, maskHandle));
}

/** Normalises values to mean 0 and variance 1 over the entries where `mask` is true; 0 elsewhere. */
export function whiten(values: Tensor, mask?: Mask): Promise<Tensor> {
  return reduce(values, mask, (handle, maskHandle) => addon().whiten(handle, maskHandle));
}

/** Entropy in nats of the distribution given by logits [..., V], at every position. */
export function entropy(logits: Tensor): Promise<Tensor> {
  return reduce(logits, undefined, (handle) => addon().entropy(handle));
}

async function reduce(
  values: Tensor,
  mask: Mask | undefined,
  call: (values: TensorHandle, mask: TensorHandle | undefined) => Promise<TensorHandle>,
): Promise<Tensor> {
  handleOf(values, 'values');
  using inputs = new Inputs(values.device);
  const maskHandle = mask === undefined ? undefined : inputs.mask(mask, 'mask');
  return new Tensor(await run([values, ...inputs.used], () => call(handleOf(values, 'values'), maskHandle)));
}
