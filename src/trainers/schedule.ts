/** What changes from step to step by rule: the learning rate, and the weight of the KL penalty. */
import { ArgumentError } from '../errors.ts';
import { COUNT, checkKind, checkKinds, NUMBER, POSITIVE } from '../kinds.ts';

/** A rise over `warmupSteps`, then a fall from `lr` to `minLr` (a tenth of it unless given) at step `steps`. */
export interface Schedule {
  lr: number;
  minLr?: number | undefined;
  /** A tenth of the steps, rounded up, and at most 100, unless given: a short run reaches `lr` too. */
  warmupSteps?: number | undefined;
  steps: number;
  decay: 'cosine' | 'linear' | 'constant';
}

/** The longest warm-up that nobody asked for. */
const MAX_WARMUP = 100;

/**
 * The learning rate of a step, counted from 0. The warm-up is linear and never 0: step s has (s + 1) / warmupSteps of
 * `lr`. The step after the warm-up has `lr`, the last one almost `minLr`, and steps beyond `steps` have `minLr`.
 * @throws ArgumentError when `minLr` is above `lr`, where a decay would rise.
 */
export function learningRate(step: number, schedule: Schedule): number {
  const { lr, minLr = lr / 10, steps, warmupSteps = Math.min(MAX_WARMUP, Math.ceil(steps / 10)), decay } = schedule;
  if (minLr > lr)
    throw new ArgumentError({ argument: 'minLr', received: String(minLr), expected: `at most lr, ${lr}` });
  if (step < warmupSteps) return (lr * (step + 1)) / warmupSteps;
  if (decay === 'constant') return lr;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, steps - warmupSteps));
  const share = decay === 'cosine' ? (1 + Math.cos(Math.PI * progress)) / 2 : 1 - progress;
  return minLr + (lr - minLr) * share;
}

/**
 * How many steps in a row may be skipped for numbers that are not finite before that is an error. The last step may not be: no
 * other comes after it, and a run that ends so would pass for one that went well.
 */
export function skipsAllowed(step: number, steps: number, { maxSkippedSteps }: { maxSkippedSteps: number }): number {
  return step + 1 === steps ? 1 : maxSkippedSteps;
}

/**
 * The adaptive weight of the KL penalty of Ziegler et al. 2019, section 2.2: after n responses whose mean KL to the
 * reference policy was kl nats,
 *
 *   weight ← weight · (1 + clip(kl / target − 1, −0.2, 0.2) · n / horizon)
 */
export class AdaptiveKl {
  #weight: number;
  readonly #target: number;
  readonly #horizon: number;

  /** @throws ArgumentError for a weight that is no number, and a target or horizon that is not above 0. */
  constructor(weight: number, options: { target: number; horizon: number }) {
    checkKind('weight', weight, NUMBER);
    checkKinds('AdaptiveKl', options, { target: POSITIVE, horizon: POSITIVE });
    const { target, horizon } = options;
    this.#weight = weight;
    this.#target = target;
    this.#horizon = horizon;
  }

  get weight(): number {
    return this.#weight;
  }

  /** Takes in the mean KL, in nats per response, of `responses` responses. */
  update(kl: number, responses: number): void {
    checkKind('kl', kl, NUMBER);
    checkKind('responses', responses, COUNT);
    const error = Math.min(0.2, Math.max(-0.2, kl / this.#target - 1));
    this.#weight *= 1 + (error * responses) / this.#horizon;
  }

  /** What a checkpoint must keep. */
  state(): { weight: number } {
    return { weight: this.#weight };
  }

  restore(state: { weight: number }): void {
    checkKinds('AdaptiveKl.restore', state, { weight: NUMBER });
    this.#weight = state.weight;
  }
}
