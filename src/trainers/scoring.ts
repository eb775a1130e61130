/** From what a reward makes of answers to what is learned from: scores that are clipped, normalised and penalised. */
import type { PpoConfig } from '../config/ppo.ts';
import type { ScoreStatistics } from '../models/reward-model.ts';
import type { Rollout } from '../models/policy.ts';
import { Tensor } from '../tensor/tensor.ts';
import { responseMaskOf } from './response-rows.ts';
import type { Scores } from './rewards.ts';
import { type Answer, type Ending, penalisedScores } from './rollouts.ts';
import { normalised } from './score-norm.ts';

/** Says what the scores of an iteration are normalised by. */
export type Normalise = (scores: readonly number[]) => ScoreStatistics;

/** What is learned from answers. */
export interface Learned {
  /** One score per answer, that of the last token, after everything; 0 for answers without a score. */
  learned: number[];
  /** The same of other answers, whose scores are normalised along with these. */
  others: number[];
  /** The rewards of tokens [answers][tokens], scaled like the scores; undefined where an answer has none. */
  dense: readonly (readonly number[] | undefined)[];
}

interface Given {
  answers: readonly Answer[];
  scores: Scores;
}

/** The scores that `given` and `others` are learned from; the mean of a score counts at the last token. */
export function learnedScores(
  given: Given,
  others: Given | undefined,
  normalise: Normalise,
  ending: Ending,
  { score, sampling: { maxNewTokens } }: Pick<PpoConfig, 'score' | 'sampling'>,
): Learned {
  const { clip = Number.POSITIVE_INFINITY } = score;
  const limit = (value: number) => Math.min(clip, Math.max(-clip, value));
  const tokens = given.answers.map((_, row) => given.scores.tokens?.[row]?.map(limit));
  const own = given.scores.scores.map((value, row) => (tokens[row] ? total(tokens[row]) : limit(value)));
  const compared = (others?.scores.scores ?? []).map(limit);
  const statistics = normalise([...own, ...compared].filter((value) => !Number.isNaN(value)));
  const penalised = (values: readonly number[], answers: readonly Answer[]) =>
    penalisedScores(normalised(values, statistics), answers, ending, score, maxNewTokens);
  const dense = tokens.map((of) => of?.map((value) => value / statistics.deviation));
  const learned = penalised(own, given.answers).map((value, row) => {
    if (Number.isNaN(own[row])) return 0;
    return dense[row] ? value - total(dense[row]) : value;
  });
  return { learned, others: penalised(compared, others?.answers ?? []), dense };
}

/** Rewards of tokens as a tensor [B, T]; undefined if no answer has any. */
export function denseTensor(
  dense: Learned['dense'],
  answers: readonly Answer[],
  { shape }: Pick<Tensor, 'shape'>,
): Tensor | undefined {
  if (dense.every((of) => of === undefined)) return undefined;
  const width = shape[1] as number;
  const values = new Float32Array(answers.length * width);
  for (const [row, of] of dense.entries()) values.set(of ?? [], row * width + (answers[row] as Answer).prompt.length);
  return Tensor.from(values, { shape });
}

/** The mask of the response tokens of `answers` [B, T], without those of answers that have no score. */
export function scoredMask(
  { responseMask: { shape, device } }: Pick<Rollout, 'responseMask'>,
  answers: readonly Answer[],
  scores: readonly number[],
): Tensor {
  const none = { length: 0 };
  const counted = answers.map(({ prompt, response }, row) => {
    return { prompt, response: Number.isNaN(scores[row]) ? none : response };
  });
  return responseMaskOf(counted, shape, device);
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
