/**
 * Proximal policy optimisation of a language model (Schulman et al. 2017; Ziegler et al. 2019; Ouyang et al. 2022).
 * docs/ppo.md has every formula with its source.
 */
import { ActorCritic, type Experience } from '../models/actor-critic.ts';
import { judge } from '../advantages.ts';
import { type PpoConfig, ppoConfig } from '../config/ppo.ts';
import { parseKnown } from '../config/schema.ts';
import { type PpoMetrics, ppoLoss } from '../losses.ts';
import { checkKinds, having, instanceOf, LISTS, optional, SIGNAL } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { Optimizer } from '../optim.ts';
import { rowsOf } from '../tensor/rows.ts';
import { useDeterministic } from '../tensor/tensor.ts';
import {
  answerAndScore,
  answerMetrics,
  checkOnPolicyParts,
  checkPrompts,
  learnInPasses,
  missing,
  type OnPolicyParts,
} from './on-policy.ts';
import { MicroBatch } from './out-of-memory.ts';
import { BATCHES, REWARD } from './parts.ts';
import { type AdaptiveKl, ppoLearningRate } from './schedule.ts';
import { RunningScores, scoreNorm } from './score-norm.ts';

/** What PPO works with. All that it changes is in here, so saving these and the step number saves the run. */
export interface PpoParts extends OnPolicyParts {
  /** `optimizer` is over its parameters. */
  actorCritic: ActorCritic;
  /** Steers the weight of the KL penalty in place of `config.klWeight`. */
  adaptiveKl?: AdaptiveKl | undefined;
}

const PARTS = {
  actorCritic: instanceOf(ActorCritic),
  reward: REWARD,
  prompts: LISTS,
  batches: BATCHES,
  optimizer: instanceOf(Optimizer),
  stop: optional(LISTS),
  signal: optional(SIGNAL),
  adaptiveKl: optional(having('an AdaptiveKl', 'update')),
  runningScores: optional(having('a RunningScores', 'update')),
};

/** Where the critic learns alone, its values are as free as the rest is still. */
const CRITIC_ALONE = { valueClip: 1e30 };

/** What an iteration tells. Losses and what follows are means over its updates. */
export interface PpoStep extends Omit<PpoMetrics, 'maxLogRatio'> {
  /** Iterations done, from 1. */
  step: number;
  /** Mean score of the reward, as it was given. */
  score: number;
  /** Mean per response of the normalised score less the KL penalty. */
  reward: number;
  /** Mean per response of log-probability less the reference's, in nats; undefined without a reference policy. */
  kl: number | undefined;
  klWeight: number;
  /** Share of the returns' variance that the critic foresaw. */
  explainedVariance: number;
  /** Mean tokens of a response. */
  responseLength: number;
  /** Share of responses that ended by themselves. */
  eosShare: number;
  gradNorm: number;
  learningRate: number;
  /** Updates whose loss or gradient was not finite: nothing moved then. */
  skipped: number;
  /** Responses that were learned from at once, where memory did not suffice for `minibatchSize` of them. */
  microBatch: number | undefined;
  /** Passes begun over the responses; fewer than configured where the policy moved too far. */
  epochs: number;
  /** Largest |log ratio| in the first minibatch, which no update has preceded: 0 but for rounding. */
  firstLogRatio: number;
  /** Largest difference between a log-probability that the sampler saw and the one that training computes. */
  samplerGap: number;
  timing: { seconds: number; rolloutSeconds: number; tokensPerSecond: number };
}

/**
 * Trains `actorCritic`, one iteration a step: answer prompts, judge the answers, learn from them. `start` is the number of
 * steps already done. Nothing of a step stays in native memory while the caller looks at it.
 * @throws ArgumentError before the first step for a token that the model does not have and for parts that are missing,
 * RewardError where the reward gives no score for an answer, NumericsError after `config.maxSkippedSteps` updates in a row
 * that were not finite, where no update of the last step was, and where the policy's logits are not.
 */
export async function* ppo(parts: PpoParts, options: PpoConfig, start = 0): AsyncGenerator<PpoStep> {
  checkKinds('ppo parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(ppoConfig, options, 'ppo');
  if (config.deterministic) await useDeterministic(true);
  checkPrompts(parts.actorCritic, parts);
  checkParts(parts, config, start);
  const own = {
    microBatch: new MicroBatch(config.minibatchSize),
    normalise: scoreNorm(parts.reward, config.score, parts.runningScores ?? new RunningScores()),
  };
  for (let step = start; step < config.steps; step++) yield await iterate(parts, config, step, own);
}

/** What the iterations of a run share besides its parts. */
interface Own {
  microBatch: MicroBatch;
  normalise: (scores: readonly number[]) => number[];
}

function checkParts(parts: PpoParts, config: PpoConfig, start: number): void {
  checkOnPolicyParts(parts.actorCritic, parts, config, start);
  if (config.adaptiveKl !== undefined && parts.adaptiveKl === undefined)
    throw missing('adaptiveKl', 'new AdaptiveKl(klWeight, adaptiveKl), for config.adaptiveKl');
}

async function iterate(parts: PpoParts, config: PpoConfig, step: number, own: Own): Promise<PpoStep> {
  const { actorCritic, optimizer, adaptiveKl } = parts;
  const klWeight = adaptiveKl?.weight ?? config.klWeight;
  const criticAlone = step < config.criticWarmup;
  optimizer.learningRate = ppoLearningRate(step, config, actorCritic);
  const began = performance.now();

  // Act: answer a batch of prompts with the current policy, and have the answers scored.
  using scored = await answerAndScore(actorCritic, parts, config, step, own.normalise);
  const { rollout, normalised, lengths, rolloutSeconds } = scored;

  // Judge: the score at the last token, a KL penalty at every token, then advantages.
  using judgement = await judge(rollout, normalised, { ...config, klWeight });
  const { kl, ...judged } = await judgement.metrics();
  if (actorCritic.hasReference && !criticAlone) adaptiveKl?.update(kl, lengths.length);

  // Learn: a few passes over shuffled minibatches of the same experience.
  const learned = await learn(parts, config, step, { ...rollout, ...judgement }, lengths, own.microBatch);

  const { score, eosShare } = answerMetrics(scored, parts);
  return {
    step: step + 1,
    ...judged,
    score,
    kl: actorCritic.hasReference ? kl : undefined,
    klWeight,
    eosShare,
    ...learned,
    microBatch: own.microBatch.reduced,
    learningRate: optimizer.learningRate,
    timing: {
      seconds: (performance.now() - began) / 1000,
      rolloutSeconds,
      tokensPerSecond: sum(lengths) / rolloutSeconds,
    },
  };
}

/** The updates of one iteration; `lengths` are the response tokens of every row. */
async function learn(
  { actorCritic, optimizer }: PpoParts,
  config: PpoConfig,
  step: number,
  experience: Experience,
  lengths: readonly number[],
  microBatch: MicroBatch,
) {
  const criticAlone = step < config.criticWarmup;
  const evaluation = { temperature: config.sampling.temperature, grad: criticAlone ? ('critic' as const) : true };
  const loss = { ...config.loss, ...(criticAlone && CRITIC_ALONE) };
  const countOf = (rows: readonly number[]) => sum(rows.map((row) => lengths[row] as number));
  const { means, ...passes } = await learnInPasses<keyof PpoMetrics>(
    { optimizer, microBatch },
    config,
    { step, rows: lengths.length, countOf },
    async (rows, denominator) => {
      using batch = await rowsOf(experience, rows);
      using now = await actorCritic.evaluate(batch.sequence, evaluation);
      return await ppoLoss(now, batch, { ...loss, denominator });
    },
  );
  return { ...means, ...passes };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
