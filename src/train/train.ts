/** Training in one call: the method follows from what is given. docs/train.md has examples. */
import { type ConfigSchema, parseConfig } from '../config/schema.ts';
import { ArgumentError } from '../errors.ts';
import { methods } from '../methods.ts';
import type { Method, Training } from '../methods/method.ts';
import { type Numbers, splitStep, type StepMetrics } from '../metrics/metrics.ts';
import type { Policy } from '../models/policy.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import { RewardModel } from '../models/reward-model.ts';
import type { Optimizer } from '../optim.ts';
import { endingsOf } from '../methods/endings.ts';
import type { BestStep } from '../models/best-note.ts';
import { type Stopped, stoppedAt, untilEnding } from '../trainers/ending.ts';
import { adapterNotices, findModel } from '../runs/model-file.ts';
import type { Given, Labels, MethodName, Preferences, Ratings, Steps } from './given.ts';
import { checkGiven, type Plan } from './plan.ts';
import { TrainedJudge, TrainedPolicy } from './results.ts';
import { withFiles } from './rows.ts';

/** A finished step. */
export interface TrainStep {
  /** Steps done, from 1. */
  step: number;
  /** The metrics that the step has; the page of the method explains them. */
  metrics: Readonly<Record<string, number>>;
  timing: Numbers;
}

/** A training that has not begun: await it for the result, or look at its steps one by one and await it then. */
export interface Run<T> extends PromiseLike<T>, AsyncIterable<TrainStep> {
  readonly method: string;
  /** What is told about data and model, such as skipped rows; complete once the first step is done. */
  readonly notices: readonly string[];
  /** The best step so far; undefined unless `config.evaluation.keepBest` is set. */
  readonly best: BestStep | undefined;
  /** Why the run ended before its last step; undefined if it did not. */
  readonly stopped: Stopped | undefined;
}

/**
 * Trains the model by what is given: `reward` and `prompts` (PPO), `comparisons` (DPO), `samples` (supervised fine-tuning), with
 * `rewards` for them (ILQL), `labels` (KTO), `ratings` (a reward model) or `steps` (a process reward model). `config.method` names
 * another method. Nothing happens before the run is awaited or iterated. A loop that is left early ends the training, and awaiting the
 * run then gives the model as it is. With `config: { evaluation: { keepBest } }` a run that ends by itself gives the model of its best
 * step.
 * @throws ArgumentError for feedback that is missing or does not go together.
 * @throws ConfigError for an option that the method does not have, or a wrong value.
 */
export function train(
  given: (Preferences & { config: { method: 'reward' } }) | Ratings | Steps,
): Run<TrainedJudge<RewardModel>>;
export function train(given: Labels & { config: { method: 'implicit-prm' } }): Run<TrainedJudge<ImplicitPRM>>;
export function train(given: Given): Run<TrainedPolicy>;
export function train(given: Given): Run<TrainedPolicy | TrainedJudge> {
  return new TrainingRun(checkGiven(given));
}

class TrainingRun implements Run<TrainedPolicy | TrainedJudge> {
  readonly method: MethodName;
  readonly notices: string[] = [];
  best: BestStep | undefined;
  stopped: Stopped | undefined;
  readonly #plan: Plan;
  readonly #steps: AsyncGenerator<TrainStep>;
  #result: TrainedPolicy | TrainedJudge | undefined;
  #awaited: Promise<TrainedPolicy | TrainedJudge> | undefined;

  constructor(plan: Plan) {
    this.method = plan.name;
    this.#plan = plan;
    this.#steps = this.#run();
  }

  // biome-ignore lint/suspicious/noThenProperty: a run is awaited for its result
  then<A = TrainedPolicy | TrainedJudge, B = never>(
    done?: ((result: TrainedPolicy | TrainedJudge) => A | PromiseLike<A>) | null,
    failed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#awaited ??= this.#finish();
    return this.#awaited.then(done, failed);
  }

  [Symbol.asyncIterator](): AsyncGenerator<TrainStep> {
    return this.#steps;
  }

  async #finish(): Promise<TrainedPolicy | TrainedJudge> {
    for await (const _ of this.#steps);
    if (this.#result !== undefined) return this.#result;
    throw new ArgumentError({
      argument: 'train',
      received: 'a run whose steps failed',
      expected: 'a new call of train',
    });
  }

  async *#run(): AsyncGenerator<TrainStep> {
    const { signal } = this.#plan.given;
    const training = await this.#open();
    const result = this.#resultOf(training);
    const { optimizer } = training.parts as { optimizer?: Optimizer };
    let failed = false;
    try {
      const endings = endingsOf(training, training.parts.weights);
      using best = endings.best;
      for await (const row of untilEnding(training.train(0, signal), endings)) {
        const { step, metrics, timing } = splitStep({ ...row } as StepMetrics);
        this.best = best?.found;
        this.stopped = stoppedAt(step, training.steps, endings);
        yield { step, metrics: present(metrics), timing };
        signal?.throwIfAborted();
      }
      if (best?.found !== undefined) {
        await best.putBack();
        for await (const _ of training.train(training.steps, signal)); // the work at the end of training
      }
    } catch (error) {
      failed = true;
      result.dispose();
      throw error;
    } finally {
      optimizer?.dispose();
      if (!failed) this.#result = result;
    }
  }

  async #open(): Promise<Training> {
    const { name, given, rows, reward, heldOut, config } = this.#plan;
    const { schema, open }: Method = methods[name];
    const { start, notices } = await withFiles(rows, async ({ data, validation }) => {
      const { model, tokenizer, device, stop } = given;
      // A run folder is required of commands; nothing is written to it here.
      const settings = { ...config, model, data, validation, tokenizer, device, stop, out: '.' };
      // A function is no setting: it takes the place of one that is.
      const parsed = parseTraining(schema, name, withWords(settings, this.#plan));
      return await open(reward === undefined ? parsed : { ...parsed, reward, heldOut });
    });
    this.notices.push(...adapterNotices(await findModel(given.model)), ...notices);
    return await start();
  }

  #resultOf({ parts, tokenizer }: Training): TrainedPolicy | TrainedJudge {
    const { weights } = parts;
    if (weights instanceof RewardModel || weights instanceof ImplicitPRM)
      return new TrainedJudge(this.method, weights, tokenizer);
    return new TrainedPolicy(this.method, weights as Policy, tokenizer);
  }
}

/** Settings in which a word stands for each reward, as it may be a function. */
function withWords(settings: Record<string, unknown>, { reward, heldOut }: Pick<Plan, 'reward' | 'heldOut'>) {
  if (reward === undefined) return settings;
  if (heldOut === undefined) return { ...settings, reward: 'function' };
  const { evaluation } = settings as { evaluation?: { guard?: object } };
  return {
    ...settings,
    reward: 'function',
    evaluation: { ...evaluation, guard: { ...evaluation?.guard, reward: 'function' } },
  };
}

function parseTraining(schema: ConfigSchema, name: string, settings: Record<string, unknown>) {
  const set = Object.entries(settings).filter(([, value]) => value !== undefined);
  return parseConfig(schema, Object.fromEntries(set), name) as Parameters<Method['open']>[0];
}

/** The metrics that have a value. */
function present(metrics: Numbers): Record<string, number> {
  return Object.fromEntries(
    Object.entries(metrics).filter((entry): entry is [string, number] => entry[1] !== undefined),
  );
}
