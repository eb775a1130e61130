/** What changes from step to step by a rule: the learning rate, and the weight of the KL penalty. */
import type { ActorCritic } from '../models/actor-critic.ts';
import type { Policy } from '../models/policy.ts';
import type { PpoConfig } from '../config/ppo.ts';
import type { RewardConfig } from '../config/reward.ts';
import { ArgumentError } from '../errors.ts';
import { COUNT, checkKind, checkKinds, NUMBER, POSITIVE } from '../checks/kinds.ts';
import type { RewardModel } from '../models/reward-model.ts';

/** A rise over `warmupSteps`, then a fall from `lr` to `minLr` at step `steps`. */
export interface Schedule {
  lr: number;
  /** Defaults to a tenth of `lr`. */
  minLr?: number | undefined;
  /** Defaults to a tenth of the steps, rounded up, and at most 100, so that a short run also reaches `lr`. */
  warmupSteps?: number | undefined;
  steps: number;
  decay: 'cosine' | 'linear' | 'constant';
}

/** The max default warm-up. */
const MAX_WARMUP = 100;

/**
 * The learning rate of a step, counted from 0. The warm-up is linear and never 0: step s has (s + 1) / warmupSteps of
 * `lr`. The step after the warm-up has `lr`, the last one almost `minLr`, and steps beyond `steps` have `minLr`.
 * @throws ArgumentError if `minLr` is above `lr`, because the decay would rise.
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

/** About how much one Adam update of the value head changes a value. */
const CRITIC_REACH = 0.2;

/** Learning rates that suit a policy of any width; test/learning/widths.test.ts measures them. */
export function defaultPolicyRate({ lora, model }: Policy): number {
  const { dim } = model.decoder;
  return lora === false ? 0.04 / dim ** 1.5 : 0.1 / dim;
}

/** Learning rates that suit fine-tuning on texts, for a model of any width. */
export function defaultSftRate({ lora, model }: Policy): number {
  return (lora === false ? 0.02 : 0.2) / model.decoder.dim;
}

/**
 * The learning rate of a PPO iteration, counted from 0. During critic warm-up it suits the value head; then it rises over
 * `warmupSteps` and falls from `lr` to 0 at the last step.
 */
export function ppoLearningRate(
  step: number,
  { critic, lr, steps, ...config }: Pick<PpoConfig, 'critic' | 'lr' | 'steps' | 'warmupSteps' | 'decay'>,
  actorCritic: ActorCritic,
): number {
  if (step < critic.warmup) return CRITIC_REACH / actorCritic.model.decoder.dim;
  const schedule = { ...config, lr: lr ?? defaultPolicyRate(actorCritic), minLr: 0, steps: steps - critic.warmup };
  return learningRate(step - critic.warmup, schedule);
}

/** The learning-rate schedule of a reward model; the defaults depend on its width and on `steps`. */
export function rewardSchedule(
  { adapts, model }: RewardModel,
  steps: number,
  { lr, minLr, warmupSteps }: Pick<RewardConfig, 'lr' | 'minLr' | 'warmupSteps'>,
): Schedule {
  return {
    lr: lr ?? (adapts ? 0.4 : 0.04) / model.decoder.dim,
    minLr,
    warmupSteps,
    steps,
    decay: 'cosine',
  };
}

/**
 * The number of consecutive non-finite steps that is an error. For the last step it is 1: no later step can recover, and the run
 * would look successful.
 */
export function skipsAllowed(step: number, steps: number, { maxSkippedSteps }: { maxSkippedSteps: number }): number {
  return step + 1 === steps ? 1 : maxSkippedSteps;
}

/**
 * The adaptive weight of the KL penalty of Ziegler et al. 2019, section 2.2: after n responses whose mean KL to the
 * reference policy was kl nats,
 *
 *   weight ← weight · (1 + clip(kl / target − 1, −0.2, 0.2) · min(1, n / horizon))
 *
 * n is capped at the horizon, so that the weight never becomes negative.
 */
export class AdaptiveKl {
  #weight: number;
  readonly #target: number;
  readonly #horizon: number;

  /** @throws ArgumentError unless all are > 0, because a weight of 0 would stay 0. */
  constructor(weight: number, options: { target: number; horizon: number }) {
    const given = { klWeight: weight, ...options };
    checkKinds('AdaptiveKl', given, { klWeight: POSITIVE, target: POSITIVE, horizon: POSITIVE });
    const { target, horizon } = options;
    this.#weight = weight;
    this.#target = target;
    this.#horizon = horizon;
  }

  get weight(): number {
    return this.#weight;
  }

  /** Updates the weight from the mean KL of `responses` responses, in nats per response. */
  update(kl: number, responses: number): void {
    checkKind('kl', kl, NUMBER);
    checkKind('responses', responses, COUNT);
    const error = Math.min(0.2, Math.max(-0.2, kl / this.#target - 1));
    this.#weight *= 1 + error * Math.min(1, responses / this.#horizon);
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
