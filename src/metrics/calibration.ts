/** How far scores can be trusted as probabilities, and how well they order answers. */

/** How well predicted probabilities fit what happens. */
export interface Calibration {
  /** Expected calibration error (Guo et al. 2017): how far confidence is from the share of pairs in the right order, in 5 bins on [½, 1]. */
  ece: number;
  /** Mean squared distance of the predicted probability from 1 (Brier 1950). */
  brier: number;
}

const BINS = 5;

/** Of at least one gap, the score of a better answer minus that of a worse one; P(better) = σ(gap). A gap of 0 is half right. */
export function calibrationOf(gaps: readonly number[]): Calibration {
  const bins = Array.from({ length: BINS }, () => ({ confidence: 0, right: 0 }));
  let brier = 0;
  for (const gap of gaps) {
    const probability = 1 / (1 + Math.exp(-gap));
    const confidence = Math.max(probability, 1 - probability);
    const bin = bins[Math.min(BINS - 1, Math.floor((confidence - 0.5) * 2 * BINS))] as (typeof bins)[number];
    bin.confidence += confidence;
    bin.right += (Math.sign(gap) + 1) / 2;
    brier += (1 - probability) ** 2;
  }
  const off = bins.reduce((sum, { confidence, right }) => sum + Math.abs(confidence - right), 0);
  return { ece: off / gaps.length, brier: brier / gaps.length };
}

/**
 * Kendall's rank correlation τ_b of scores with ranks, of which lower is better: 1 in the right order, −1 in the opposite one.
 * Undefined if all scores or all ranks are equal.
 */
export function kendallTauB(scores: readonly number[], ranks: readonly number[]): number | undefined {
  let agreement = 0;
  let unequalScores = 0;
  let unequalRanks = 0;
  for (let i = 0; i < scores.length; i++) {
    for (let j = 0; j < i; j++) {
      const score = Math.sign((scores[i] as number) - (scores[j] as number));
      const rank = Math.sign((ranks[j] as number) - (ranks[i] as number));
      agreement += score * rank;
      unequalScores += Math.abs(score);
      unequalRanks += Math.abs(rank);
    }
  }
  const most = Math.sqrt(unequalScores * unequalRanks);
  return most === 0 ? undefined : agreement / most;
}

/**
 * The area under the ROC curve of scores: the probability that one of a right answer is above one of a wrong answer, equal scores
 * counting half. Undefined unless there are answers of both kinds.
 */
export function areaUnderRoc(scores: readonly number[], right: readonly boolean[]): number | undefined {
  const order = [...scores.keys()].sort((i, j) => (scores[i] as number) - (scores[j] as number));
  let [above, wrong] = [0, 0];
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && scores[order[to] as number] === scores[order[from] as number]) to++;
    const good = order.slice(from, to).filter((i) => right[i]).length;
    const bad = to - from - good;
    above += good * (wrong + bad / 2);
    wrong += bad;
  }
  const pairs = wrong * (scores.length - wrong);
  return pairs === 0 ? undefined : above / pairs;
}
