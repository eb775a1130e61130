/**
 * Dynamic sampling (DAPO, Yu et al. 2025): prompts whose answers are all equally good teach nothing, so others are drawn in their
 * place.
 */
import { ROLLOUT, type Policy, type Rollout } from '../models/policy.ts';
import { joined, rowsOf } from '../tensor/rows.ts';
import type { TensorGroup } from '../tensor/tensor.ts';
import { answerAndScore, type OnPolicyParts, type Scored, type ScoringConfig, scoreTensor } from './on-policy.ts';
import { chunks } from './rollouts.ts';
import type { Normalise } from './scoring.ts';

/** Draws in an iteration at most, so that a reward that never differs ends it. */
const MOST_DRAWS = 3;

/** What dynamic sampling left out. */
export interface Drawn {
  /** Prompts answered, and those of them whose answers were all equally good. */
  promptsDrawn: number;
  groupsDropped: number;
}

/** Answers of which rows were kept, without those that were left out. */
type Kept = Pick<Scored<Rollout>, 'answers' | 'prompts' | 'lengths' | 'scores' | 'byReward' | 'learned'> & {
  rollout: TensorGroup<Rollout>;
};

/**
 * Answers `config.rolloutBatch` prompts whose answers differ in their scores. After three draws it goes on with as many as were found; if
 * none was, with the last draw.
 */
export async function answerUsefully(
  policy: Policy,
  parts: OnPolicyParts,
  config: ScoringConfig,
  step: number,
  normalise: Normalise,
): Promise<Scored<Rollout> & { drawn: Drawn }> {
  const { samplesPerPrompt } = config.sampling;
  const kept: Kept[] = [];
  const count = { wanted: Number.POSITIVE_INFINITY, kept: 0, drawn: 0, dropped: 0, seconds: 0 };
  try {
    for (let draw = 0; draw < MOST_DRAWS && count.kept < count.wanted; draw++) {
      using scored = await answerAndScore(policy, parts, config, step, normalise, { draw });
      const groups = chunks([...scored.learned.keys()], samplesPerPrompt);
      const useful = groups.filter((rows) => new Set(rows.map((row) => scored.learned[row])).size > 1);
      if (draw === 0) count.wanted = groups.length;
      count.seconds += scored.rolloutSeconds;
      count.drawn += groups.length;
      count.dropped += groups.length - useful.length;
      const none = draw + 1 === MOST_DRAWS && count.kept + useful.length === 0;
      const taken = none ? groups : useful.slice(0, count.wanted - count.kept);
      count.kept += taken.length;
      if (taken.length > 0) kept.push(await keep(scored, taken.flat()));
    }
    const { drawn: promptsDrawn, dropped: groupsDropped, seconds: rolloutSeconds } = count;
    return { ...(await together(kept)), rolloutSeconds, drawn: { promptsDrawn, groupsDropped } };
  } finally {
    for (const { rollout } of kept) rollout.dispose();
  }
}

async function keep(scored: Scored<Rollout>, rows: readonly number[]): Promise<Kept> {
  const of = <T>(all: readonly T[]) => rows.map((row) => all[row] as T);
  const tensors = Object.fromEntries(ROLLOUT.map((name) => [name, scored.rollout[name]])) as unknown as Rollout;
  const rollout = await rowsOf(tensors, rows);
  const { answers, prompts, lengths, scores, learned } = scored;
  const byReward = Object.fromEntries(Object.entries(scored.byReward).map(([name, part]) => [name, of(part)]));
  const texts = { answers: of(answers), prompts: of(prompts), lengths: of(lengths) };
  return { rollout, ...texts, scores: of(scores), byReward, learned: of(learned) };
}

async function together(kept: readonly Kept[]): Promise<Omit<Scored<Rollout>, 'rolloutSeconds'>> {
  const rollout = (await joined(
    kept.map((each) => each.rollout as Rollout),
    ROLLOUT,
  )) as TensorGroup<Rollout>;
  const learned = kept.flatMap((each) => each.learned);
  const normalised = scoreTensor(learned);
  return {
    rollout,
    normalised,
    learned,
    answers: kept.flatMap(({ answers }) => answers),
    prompts: kept.flatMap(({ prompts }) => prompts),
    lengths: kept.flatMap(({ lengths }) => lengths),
    scores: kept.flatMap(({ scores }) => scores),
    byReward: Object.fromEntries(
      Object.keys(kept[0]?.byReward ?? {}).map((name) => [name, kept.flatMap((each) => each.byReward[name] ?? [])]),
    ),
    greedy: undefined,
    dense: undefined,
    [Symbol.dispose]: () => {
      rollout.dispose();
      normalised.dispose();
    },
  };
}
