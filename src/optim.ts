/** Optimizers, which update parameters from their gradients. docs/optimizers.md cites the papers; native/optim has the formulas. */
import { setImmediate } from 'node:timers/promises';
import type { Contents, NamedTensor, Saveable } from './tensor/tensor-files.ts';
import {
  type AdamWConfigInput,
  type Atan2Config,
  type AdamAtan2ConfigInput,
  type AdoptAtan2ConfigInput,
  adamAtan2Config,
  adamWConfig,
  adoptAtan2Config,
} from './config/optim.ts';
import { parseConfig } from './config/schema.ts';
import { ArgumentError, HandleError, NumericsError, printable } from './errors.ts';
import { addon, type OptimizerHandle, type ParameterHandle } from './native/addon.ts';
import { checkKind, LIST } from './checks/kinds.ts';
import { checkInteger, checkOptions } from './checks/options.ts';
import { handleOf, queue, Resource, run } from './native/resource.ts';
import { Parameter, Tensor } from './tensor/tensor.ts';

/** The options of a step. */
export interface StepOptions {
  /** If the norm of all gradients together exceeds this, they are scaled down. */
  maxGradNorm?: number;
  /**
   * The loss that the gradients belong to: a number, a scalar tensor, or several scalars whose gradients were summed. If one is
   * not finite, the step is skipped.
   */
  loss?: number | Tensor | readonly Tensor[];
  /** Number of consecutive skipped steps that throws a NumericsError. Defaults to no limit. */
  maxSkipped?: number;
  /** Tensors to return as numbers, together with the result of the step, in one copy from the device. */
  read?: readonly Tensor[];
}

/** The result of a step. */
export interface StepResult {
  /** The norm of all gradients together, before clipping. */
  gradNorm: number;
  /** True if the norm or the loss was not finite: weights and optimizer state are unchanged. */
  skipped: boolean;
  /**
   * The first non-finite tensor of a skipped step: a weight, such as `layers.2.norm`; else a gradient, such as `gradient of
   * layers.0.input`; else `loss`.
   */
  nonFinite: string | undefined;
  /** Names of the parameters that no backward pass has reached since `zeroGrad`; they are unchanged. */
  unreached: string[];
  /** The values of `loss`, in order. */
  losses: number[];
  /** The values of each tensor of `read`, row by row. */
  read: number[][];
}

/** The base of all optimizers. */
export abstract class Optimizer extends Resource<OptimizerHandle> implements Saveable {
  readonly #parameters: readonly Parameter[];
  readonly #state: readonly NamedTensor[];
  readonly #kind: string;
  readonly #unregister: readonly (() => void)[];
  #learningRate: number;
  /** Steps skipped since the last successful one. */
  #skippedInARow = 0;

  protected constructor(
    kind: string,
    parameters: Iterable<Parameter>,
    learningRate: number,
    create: (handles: ParameterHandle[]) => OptimizerHandle,
  ) {
    checkIterable(parameters);
    const all = [...parameters];
    super(create(trainableHandles(all)), kind);
    this.#kind = kind;
    this.#parameters = all;
    this.#learningRate = learningRate;
    this.#unregister = all.map((parameter) => parameter.own());
    queue(this, addon().optimizerInitialise(handleOf(this)));
    const state = addon().optimizerState(handleOf(this));
    this.#state = state.map(({ name, tensor }) => ({ name, tensor: new Tensor(tensor) }));
  }

  /** The learning rate of the next step. */
  get learningRate(): number {
    return this.#learningRate;
  }

  set learningRate(value: number) {
    if (!(Number.isFinite(value) && value >= 0)) {
      throw new ArgumentError({ argument: 'learningRate', received: printable(value), expected: 'a number >= 0' });
    }
    this.#learningRate = value;
  }

  /**
   * Updates every parameter that has a gradient, or none if a number is not finite.
   * @throws ArgumentError if no parameter has a gradient.
   * @throws ArgumentError if a parameter has been frozen.
   * @throws SharedTrunkError if another model has started to read the trunk.
   * @throws NumericsError naming the first non-finite tensor, after `maxSkipped` consecutive skipped steps.
   */
  async step(options: StepOptions = {}): Promise<StepResult> {
    checkOptions(options, ['maxGradNorm', 'loss', 'maxSkipped', 'read'], 'step');
    const { maxGradNorm, loss = [], maxSkipped, read = [] } = options;
    if (maxGradNorm !== undefined && !(typeof maxGradNorm === 'number' && maxGradNorm > 0)) {
      throw new ArgumentError({ argument: 'maxGradNorm', received: printable(maxGradNorm), expected: 'a number > 0' });
    }
    if (maxSkipped !== undefined) checkInteger(maxSkipped, 1, 'maxSkipped');
    checkKind('read', read, LIST);
    const [number, losses] = typeof loss === 'number' ? [loss, []] : [undefined, [loss].flat()];
    const lossHandles = losses.map((each: Tensor) => handleOf(each, 'loss'));
    const readHandles = read.map((each) => handleOf(each, 'read'));
    const { nonFinite, unreached, ...done } = await run([this, ...this.#parameters, ...losses, ...read], () => {
      for (const parameter of this.#parameters) parameter.checkTrainable();
      const lr = this.#learningRate;
      return addon().optimizerStep(handleOf(this), lr, maxGradNorm, number, lossHandles, readHandles);
    });
    // Finalizers run only between macrotasks; they free the tensors that a training loop has dropped.
    await setImmediate();
    const result = {
      ...done,
      nonFinite: done.skipped ? this.#nameOf(nonFinite) : undefined,
      unreached: unreached.map((index) => (this.#parameters[index] as Parameter).name),
      losses: number === undefined ? done.losses : [number],
    };
    this.#count(result, maxSkipped);
    return result;
  }

  /** Clears all gradients, as if there had been no backward pass. */
  zeroGrad(): void {
    queue(this, addon().optimizerZeroGrad(handleOf(this)));
  }

  /** Its state by the names in a checkpoint, where a parameter is identified by its position in the constructor's list. */
  contents(): Contents {
    handleOf(this);
    return {
      tensors: this.#state,
      metadata: new Map([['palm-rlhf', JSON.stringify({ format: 1, optimizer: this.#kind })]]),
    };
  }

  #nameOf(found: { parameter: number; gradient: boolean } | undefined): string {
    if (found === undefined) return 'loss';
    const { name } = this.#parameters[found.parameter] as Parameter;
    return found.gradient ? `gradient of ${name}` : name;
  }

  #count({ skipped, nonFinite }: StepResult, maxSkipped = Number.POSITIVE_INFINITY): void {
    this.#skippedInARow = skipped ? this.#skippedInARow + 1 : 0;
    if (this.#skippedInARow < maxSkipped) return;
    throw new NumericsError({
      argument: nonFinite as string,
      received: `non-finite numbers in ${this.#skippedInARow} consecutive steps`,
      expected: 'finite numbers',
      fix: 'Lower lr and resume from an earlier checkpoint; anomalies/ in the run folder describes each of these steps.',
    });
  }

  protected override release(handle: OptimizerHandle): void {
    for (const unregister of this.#unregister) unregister();
    for (const { tensor } of this.#state) tensor.dispose();
    super.release(handle);
  }
}

/** AdamW (Loshchilov & Hutter 2019), one fused kernel per step. */
export class AdamW extends Optimizer {
  constructor(parameters: Iterable<Parameter>, options: AdamWConfigInput = {}) {
    const { lr, betas, eps, weightDecay } = parseConfig(adamWConfig, options, 'AdamW');
    const [beta1, beta2] = betas;
    super('AdamW', parameters, lr, (handles) => addon().adamWCreate(handles, { beta1, beta2, eps, weightDecay }));
  }
}

/** ADOPT (Taniguchi et al. 2024) with atan2 (Everett et al. 2024). Its first step only initialises its state. */
export class AdoptAtan2 extends Optimizer {
  constructor(parameters: Iterable<Parameter>, options: AdoptAtan2ConfigInput = {}) {
    const config = parseConfig(adoptAtan2Config, options, 'AdoptAtan2');
    super('AdoptAtan2', parameters, config.lr, (handles) => addon().adoptAtan2Create(handles, atan2Options(config)));
  }
}

/** Adam with atan2 in place of the division (Everett et al. 2024). */
export class AdamAtan2 extends Optimizer {
  constructor(parameters: Iterable<Parameter>, options: AdamAtan2ConfigInput = {}) {
    const config = parseConfig(adamAtan2Config, options, 'AdamAtan2');
    super('AdamAtan2', parameters, config.lr, (handles) => addon().adamAtan2Create(handles, atan2Options(config)));
  }
}

function atan2Options({ lr, betas: [beta1, beta2], weightDecay }: Atan2Config) {
  return { lr, beta1, beta2, weightDecay };
}

function checkIterable(parameters: Iterable<Parameter>): void {
  const iterable = typeof parameters === 'object' && parameters !== null && Symbol.iterator in parameters;
  if (iterable && !ArrayBuffer.isView(parameters)) return;
  throw new ArgumentError({
    argument: 'parameters',
    received: printable(parameters),
    expected: 'an array of parameters',
    fix: 'Pass model.parameters().',
  });
}

function trainableHandles(parameters: Parameter[]): ParameterHandle[] {
  const problem = (received: string, expected: string, fix: string) =>
    new ArgumentError({ argument: 'parameters', received, expected, fix });
  if (parameters.length === 0) throw problem('none', 'at least one', 'Pass model.parameters().');
  const seen = new Set<Parameter>();
  for (const [i, parameter] of parameters.entries()) {
    if (!(parameter instanceof Parameter)) {
      throw new HandleError({ argument: `parameters[${i}]`, received: printable(parameter), expected: 'a Parameter' });
    }
    if (seen.has(parameter)) throw problem(`${parameter.name} twice`, 'every parameter once', 'Leave one out.');
    seen.add(parameter);
    parameter.checkTrainable();
  }
  return parameters.map((parameter, i) => handleOf(parameter, `parameters[${i}]`));
}
