/** Numbers that are not finite, put into models as any user could: through gradients and optimizers. */
import { AdamW, type StepOptions, type StepResult } from '../src/optim.ts';
import { type Parameter, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

/** Makes the first number of a gradient `value`; the others are as they were, or 1. */
export async function poisonGradient(parameter: Parameter, value: number): Promise<void> {
  using now = await parameter.grad();
  const size = parameter.shape.reduce((product, length) => product * length, 1);
  const numbers = now === null ? new Float32Array(size).fill(1) : Float32Array.from(await now.data(), Number);
  numbers[0] = value;
  using poisoned = Tensor.from(numbers, { shape: parameter.shape, device });
  await parameter.setGrad(poisoned);
}

/** Makes every number of a weight infinite, or NaN where it was 0: the decay of this step is beyond float32. */
export async function poisonWeight(parameter: Parameter): Promise<void> {
  using optimizer = new AdamW([parameter], { lr: 1e30, weightDecay: 1e30 });
  using zeros = Tensor.from(new Float32Array(parameter.shape.reduce((a, b) => a * b, 1)), {
    shape: parameter.shape,
    device,
  });
  await parameter.setGrad(zeros);
  await optimizer.step();
  optimizer.zeroGrad();
}

/** An AdamW before whose n-th step, from 1, something happens, which may change what the step is told. */
export class Disturbed extends AdamW {
  /** Of every step so far. */
  readonly results: StepResult[] = [];
  disturb: (step: number) => Promise<unknown> = async () => {};

  override async step(options: StepOptions): Promise<StepResult> {
    const changed = (await this.disturb(this.results.length + 1)) as StepOptions | undefined;
    const result = await super.step({ ...options, ...changed });
    this.results.push(result);
    return result;
  }
}
