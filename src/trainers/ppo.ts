/**
 * Proximal policy optimisation of a language model (Schulman et al. 2017; Ziegler et al. 2019; Ouyang et al. 2022).
 * docs/ppo.md has every formula with its source.
 */
import { ActorCritic, type Experience } from '../models/actor-critic.ts';
import { type PpoConfig, ppoConfig } from '../config/ppo.ts';
import { parseKnown } from '../config/schema.ts';
import type { Batches } from '../data/batches.ts';
import { experienceRows, judge, type PpoMetrics, ppoLoss } from '../losses.ts';
import { Mean } from '../metrics/mean.ts';
import { checkKinds, having, instanceOf, LISTS, optional, SIGNAL } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { Optimizer } from '../optim.ts';
import { useDeterministic } from '../tensor/tensor.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { ArgumentError, NumericsError, ShapeError } from '../errors.ts';
import { answersOf, chunks, collect, ended, minibatches, applyMissingEosPenalty, type Reward } from './rollouts.ts';
import { MicroBatch } from './out-of-memory.ts';
import { BATCHES, itemsAt, REWARD } from './parts.ts';
import { type AdaptiveKl, ppoLearningRate } from './schedule.ts';
import { RunningScores, scoreNorm, scoreNormOf } from './score-norm.ts';
import { scoresOf } from './rewards.ts';
import { checkSpecialTokens, checkTokens } from './check-tokens.ts';

/** What PPO works with. All that it changes is in here, so saving these and the step number saves the run. */
export interface PpoParts {
  actorCritic: ActorCritic;
  /** A reward model, or any function of answers. */
  reward: Reward;
  /** Token ids of every prompt. */
  prompts: readonly (readonly number[])[];
  /** Which prompts come next: indices into `prompts`, `config.rolloutBatch` at a time. */
  batches: Batches;
  /** Over `actorCritic.parameters()`. */
  optimizer: Optimizer;
  /** Ends a response; without one all have `maxNewTokens`. */
  eosToken?: number | undefined;
  /** Token sequences any of which ends a response, as the eos does. */
  stop?: number[][] | undefined;
  padToken?: number | undefined;
  /** Gives reward functions the texts. */
  tokenizer?: Pick<Tokenizer, 'decode'> | undefined;
  /** Steers the weight of the KL penalty in place of `config.klWeight`. */
  adaptiveKl?: AdaptiveKl | undefined;
  /** What the scores of earlier iterations were, where `config.score.norm` is or comes to be `running`. */
  runningScores?: RunningScores | undefined;
  /**
   * Ends a rollout, or the waiting for a reward function; the iteration has changed nothing then but the place in `batches`, and
   * its reason is thrown.
   */
  signal?: AbortSignal | undefined;
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
  checkPrompts(parts);
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

/** @throws ArgumentError for what would otherwise be left out without a word. */
function checkParts(parts: PpoParts, { klWeight, adaptiveKl, score }: PpoConfig, start: number): void {
  const missing = (argument: string, expected: string) => {
    throw new ArgumentError({ argument: `parts.${argument}`, received: 'nothing', expected });
  };
  if (klWeight > 0 && !parts.actorCritic.hasReference)
    missing('actorCritic.reference', 'a reference policy for klWeight: one made with { reference: true }');
  if (adaptiveKl !== undefined && parts.adaptiveKl === undefined)
    missing('adaptiveKl', 'new AdaptiveKl(klWeight, adaptiveKl), for config.adaptiveKl');
  if (start > 0 && parts.runningScores === undefined && scoreNormOf(parts.reward, score) === 'running')
    missing('runningScores', 'the RunningScores of the steps before, or a score.norm of none or reference');
}

function checkPrompts({ actorCritic, prompts, eosToken, padToken }: PpoParts): void {
  const { numTokens } = actorCritic.model.decoder;
  checkSpecialTokens({ eosToken, padToken }, numTokens);
  for (const [row, prompt] of prompts.entries()) {
    if (prompt.length === 0)
      throw new ShapeError({ argument: `prompts[${row}]`, received: 'no token', expected: 'at least one' });
    checkTokens(prompt, numTokens, (t) => `prompts[${row}][${t}]`);
  }
}

async function iterate(parts: PpoParts, config: PpoConfig, step: number, own: Own): Promise<PpoStep> {
  const { actorCritic, optimizer, adaptiveKl } = parts;
  const klWeight = adaptiveKl?.weight ?? config.klWeight;
  const criticAlone = step < config.criticWarmup;
  optimizer.learningRate = ppoLearningRate(step, config, actorCritic);
  const began = performance.now();

  // Act: answer a batch of prompts with the current policy.
  const prompts = itemsAt(parts.prompts, parts.batches.next(), 'prompts');
  using rollout = await collect(actorCritic, prompts, parts, config, step);
  const answers = await answersOf(rollout, prompts, config.sampling.samplesPerPrompt, parts.tokenizer);
  const lengths = answers.map(({ response }) => response.length);
  const rolloutSeconds = (performance.now() - began) / 1000;

  // Judge: the score at the last token, a KL penalty at every token, then advantages.
  const { sequence } = rollout;
  const asking = { size: config.minibatchSize, timeout: config.rewardTimeout, signal: parts.signal, sequence };
  const scores = await scoresOf(parts.reward, answers, asking);
  using penalised = applyMissingEosPenalty(own.normalise(scores), answers, parts, config.missingEosPenalty);
  using judgement = await judge(rollout, penalised, { ...config, klWeight });
  const { kl, ...judged } = await judgement.metrics();
  if (actorCritic.hasReference && !criticAlone) adaptiveKl?.update(kl, answers.length);

  // Learn: a few passes over shuffled pieces of the same experience.
  const learned = await learn(parts, config, step, { ...rollout, ...judgement }, lengths, own.microBatch);

  return {
    step: step + 1,
    ...judged,
    score: sum(scores) / scores.length, // as given: before norm and penalty
    kl: actorCritic.hasReference ? kl : undefined,
    klWeight,
    eosShare: answers.filter((answer) => ended(answer, parts)).length / answers.length,
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
  const { maxGradNorm, maxSkippedSteps: maxSkipped } = config;
  const approxKlStop = config.approxKlStop || Number.POSITIVE_INFINITY;
  const criticAlone = step < config.criticWarmup;
  const evaluation = { temperature: config.sampling.temperature, grad: criticAlone ? ('critic' as const) : true };
  const loss = { ...config.loss, ...(criticAlone && CRITIC_ALONE) };
  const updates = new Mean<keyof PpoMetrics | 'gradNorm'>();
  let firstLogRatio: number | undefined;
  let nonFinite: string | undefined;
  let skipped = 0;
  let count = 0;
  let epochs = 0;
  // `moved` is what the last update found before it: how far the policy was then from the one that answered.
  for (let moved = 0; epochs < config.epochs && !(moved > approxKlStop); epochs++) {
    const pieces = minibatches(lengths.length, config.minibatchSize, config, step, epochs);
    for (const group of chunks(pieces, config.accumulate)) {
      // Every piece is divided by the tokens of the whole group: their sum is its mean, so 2 × 4 ≡ 8 × 1.
      const denominator = sum(group.flat().map((row) => lengths[row] as number));
      const update = await microBatch.fit(optimizer, async (size) => {
        const all: PpoMetrics[] = [];
        for (const rows of group.flatMap((piece) => chunks(piece, size))) {
          using batch = await experienceRows(experience, rows);
          using now = await actorCritic.evaluate(batch.sequence, evaluation);
          using share = await ppoLoss(now, batch, { ...loss, denominator });
          await share.backward();
          all.push(await share.metrics());
        }
        return all;
      });
      firstLogRatio ??= update[0]?.maxLogRatio;
      const sums = sumOf(update);
      const result = await optimizer.step({ maxGradNorm, loss: lossOf(sums, config), maxSkipped });
      optimizer.zeroGrad();
      skipped += Number(result.skipped);
      nonFinite ??= result.nonFinite;
      count++;
      updates.add({ ...sums, gradNorm: result.gradNorm });
      moved = sums.approxKl;
      if (moved > approxKlStop) break;
    }
  }
  if (nonFinite !== undefined && skipped === count && step + 1 === config.steps) throw learnedNothing(nonFinite, count);
  const { maxLogRatio: _, ...means } = updates.result();
  return { ...means, skipped, epochs, firstLogRatio: firstLogRatio ?? 0 };
}

function learnedNothing(nonFinite: string, updates: number): NumericsError {
  return new NumericsError({
    argument: nonFinite,
    received: `numbers that are not finite in all ${updates} updates of the last step`,
    expected: 'finite ones',
    fix: 'Lower lr and go on from a checkpoint before them; check the model and the reward that you began with.',
  });
}

function sumOf(metrics: readonly PpoMetrics[]): PpoMetrics {
  const total = new Mean<keyof PpoMetrics>();
  for (const one of metrics) total.add(one);
  return total.sum();
}

function lossOf({ policyLoss, valueLoss, entropy }: PpoMetrics, { loss }: PpoConfig): number {
  return policyLoss + loss.valueWeight * valueLoss - loss.entropyWeight * entropy;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
