/** A value as a distribution over bins; native/losses/histogram.h has the formulas. */
import type { Histogram } from '../models/actor-critic.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Tensor } from '../tensor/tensor.ts';

/** The expected value [N] of logits [N, bins]. @throws ShapeError for another number of bins. */
export async function histogramValue(logits: Tensor, histogram: Histogram): Promise<Tensor> {
  const handle = handleOf(logits, 'logits');
  return new Tensor(await run([logits], () => addon().histogramValue(handle, histogram)));
}
