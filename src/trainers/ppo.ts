/**
 * Proximal policy optimisation of a language model (Schulman et al. 2017; Ziegler et al. 2019; Ouyang et al. 2022).
 * docs/ppo.md has every formula with its source.
 */
import { ActorCritic, type Experience } from '../models/actor-critic.ts';
import { AveragedPolicy } from '../models/averaged-policy.ts';
import { judge } from '../advantages.ts';
import { type PpoConfig, ppoConfig } from '../config/ppo.ts';
import { parseKnown } from '../config/schema.ts';
import { type PpoMetrics, ppoLoss } from '../losses/policy.ts';
import { checkKinds, having, instanceOf, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { rowsOf } from '../tensor/rows.ts';
import { useDeterministic } from '../tensor/tensor.ts';
import {
  answerAndScore,
  answerMetrics,
  checkOnPolicyParts,
  checkPrompts,
  learnInPasses,
  missing,
  ON_POLICY_PARTS,
  type OnPolicyParts,
  type OnPolicyStep,
  type RunState,
  runStateOf,
  sum,
  timingOf,
} from './on-policy.ts';
import { checkCriticStart, startFromReward } from './critic-start.ts';
import type { MicroBatch } from './out-of-memory.ts';
import { checkPretraining, nextText, PRETRAINING_TEXT, type PretrainingText } from './pretraining-mix.ts';
import { rolloutSamples } from './samples.ts';
import { type AdaptiveKl, ppoLearningRate } from './schedule.ts';

/** The parts of a PPO run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface PpoParts extends OnPolicyParts {
  /** Trained by `optimizer`. */
  actorCritic: ActorCritic;
  /** Controls the weight of the KL penalty, instead of `config.klWeight`. */
  adaptiveKl?: AdaptiveKl | undefined;
  /** Text to mix in, for `config.loss.pretraining`. */
  pretraining?: PretrainingText | undefined;
  /** The average of the policy's weights, for `config.optimisation.ema`. */
  average?: AveragedPolicy | undefined;
}

const PARTS = {
  actorCritic: instanceOf(ActorCritic),
  ...ON_POLICY_PARTS,
  adaptiveKl: optional(having('an AdaptiveKl', 'update')),
  pretraining: PRETRAINING_TEXT,
  average: optional(instanceOf(AveragedPolicy)),
};

/** During critic warm-up nothing else trains, so value clipping is effectively off. */
const NO_VALUE_CLIP = { valueClip: 1e30 };

/** The metrics of an iteration. Fields computed during updates (losses, gradNorm, …) are averaged over updates. */
export interface PpoStep extends OnPolicyStep, Omit<PpoMetrics, 'maxLogRatio'> {
  klWeight: number;
  /** Share of the variance of the returns that the critic predicted. */
  explainedVariance: number;
  /** Number of answers without a score, from which nothing is learned; absent if all have one. */
  unscored?: number;
  /** The loss of `parts.pretraining` in nats per token, averaged over updates; absent where none is mixed in. */
  pretrainingLoss?: number;
}

/**
 * Trains `actorCritic`, one iteration per step: answer prompts, judge the answers, learn from them. `start` is the number of
 * steps already done. All native memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a token that the model does not have.
 * @throws ArgumentError before the first step, for a missing part.
 * @throws RewardError if the reward returns no score for an answer.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive updates are not finite.
 * @throws NumericsError if no update of the last step is finite.
 * @throws NumericsError if the policy's logits are not finite.
 */
export async function* ppo(parts: PpoParts, options: PpoConfig, start = 0): AsyncGenerator<PpoStep> {
  checkKinds('ppo parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(ppoConfig, options, 'ppo');
  if (config.deterministic) await useDeterministic(true);
  checkPrompts(parts.actorCritic, parts);
  checkParts(parts, config, start);
  const state = runStateOf(parts, config);
  if (start === 0 && config.critic.start === 'reward')
    await startFromReward(parts.actorCritic, parts.reward, config.score);
  for (let step = start; step < config.steps; step++) yield await iterate(parts, config, step, state);
}

function checkParts(parts: PpoParts, config: PpoConfig, start: number): void {
  checkOnPolicyParts(parts.actorCritic, parts, config, start);
  if (config.adaptiveKl !== undefined && parts.adaptiveKl === undefined)
    throw missing('adaptiveKl', 'new AdaptiveKl(klWeight, adaptiveKl), for config.adaptiveKl');
  if ((config.optimisation.ema !== undefined) !== (parts.average !== undefined))
    throw missing('average', 'new AveragedPolicy(actorCritic), together with config.optimisation.ema');
  checkPretraining(parts.pretraining, config);
  if (config.critic.start === 'reward') checkCriticStart(parts.actorCritic, parts.reward, config);
}

async function iterate(parts: PpoParts, config: PpoConfig, step: number, state: RunState): Promise<PpoStep> {
  const { actorCritic, optimizer, adaptiveKl } = parts;
  const klWeight = adaptiveKl?.weight ?? config.klWeight;
  const criticAlone = step < config.critic.warmup;
  optimizer.learningRate = ppoLearningRate(step, config, actorCritic);
  const began = performance.now();

  // Act: answer a batch of prompts with the current policy, and score the answers.
  using scored = await answerAndScore(actorCritic, parts, config, step, state.normalise, { anyScore: true });
  const { rollout, normalised, dense, lengths, rolloutSeconds } = scored;
  const unscored = scored.scores.filter(Number.isNaN).length;

  // Judge: the score at the last token, a KL penalty at every token, then advantages.
  using judgement = await judge(rollout, normalised, { ...config.critic, klWeight, dense });
  const { kl, ...judged } = await judgement.metrics();
  if (actorCritic.hasReference && !criticAlone) adaptiveKl?.update(kl, lengths.length - unscored);

  // Learn: a few passes over shuffled minibatches of the same experience.
  const learned = await learn(parts, config, step, { ...rollout, ...judgement }, lengths, state.microBatch);

  const { parts: byReward, ...answered } = answerMetrics(scored, parts);
  return {
    step: step + 1,
    ...judged,
    ...answered,
    ...byReward,
    kl: actorCritic.hasReference ? kl : undefined,
    klWeight,
    ...(unscored > 0 && { unscored }),
    ...learned,
    microBatch: state.microBatch.reduced,
    learningRate: optimizer.learningRate,
    samples: await rolloutSamples(scored, {
      count: parts.samples,
      samplesPerPrompt: config.sampling.samplesPerPrompt,
      reference: actorCritic.hasReference,
      tokenizer: parts.tokenizer,
      learned: judgement,
    }),
    timing: timingOf(began, rolloutSeconds, lengths),
  };
}

/** The updates of one iteration; `lengths` has the number of response tokens of every row. */
async function learn(
  { actorCritic, optimizer, pretraining, average }: PpoParts,
  config: PpoConfig,
  step: number,
  experience: Experience,
  lengths: readonly number[],
  microBatch: MicroBatch,
) {
  const criticAlone = step < config.critic.warmup;
  const options = { temperature: config.sampling.temperature, grad: criticAlone ? ('critic' as const) : true };
  const { pretraining: mix, ...weights } = config.loss;
  const loss = { ...weights, ...(criticAlone && NO_VALUE_CLIP), histogram: config.critic.histogram };
  const weight = criticAlone ? 0 : (mix?.weight ?? 0);
  const ema = criticAlone ? undefined : config.optimisation.ema;
  const countOf = (rows: readonly number[]) => sum(rows.map((row) => lengths[row] as number));
  const { means, besideLoss, ...passes } = await learnInPasses<keyof PpoMetrics>(
    {
      optimizer,
      microBatch,
      beside: weight === 0 ? undefined : () => nextText(pretraining as PretrainingText, actorCritic, weight),
      learned: ema === undefined ? undefined : async () => await average?.update(ema),
    },
    config,
    { step, rows: lengths.length, countOf },
    async (rows, denominator) => {
      using batch = await rowsOf(experience, rows);
      using evaluation = await actorCritic.evaluate(batch.sequence, options);
      return await ppoLoss(evaluation, batch, { ...loss, denominator });
    },
  );
  return { ...means, ...passes, ...(weight > 0 && { pretrainingLoss: besideLoss / weight }) };
}
