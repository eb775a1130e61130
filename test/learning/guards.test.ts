/**
 * PPO against a learned reward, in three rounds of 250 pairs from the current policy: it finds the shortest walks if people label them
 * right, and is ended by its guard before it gets worse if a fifth of the labels is flipped. The guard sees a second reward model,
 * trained on as many other pairs of the same people; nobody but the test sees how good the walks are.
 */
import { expect, it } from 'vitest';
import type { Preference } from '../../src/data/preferences.ts';
import { Random } from '../../src/data/random.ts';
import { comparedPairs, learnToArrive, learnToJudge } from '../../src/demo/learning.ts';
import { ActorCritic, type LanguageModel, type RewardModel } from '../../src/index.ts';
import { type Stopped, stoppedAt, untilEnding } from '../../src/trainers/ending.ts';
import { Guards } from '../../src/trainers/guards.ts';
import { scoresOf } from '../../src/trainers/rewards.ts';
import type { Answer, RewardFunction } from '../../src/trainers/rollouts.ts';
import { statisticsOf } from '../../src/trainers/score-norm.ts';
import { ALL, arrival, howGood, wandererOf } from './walks.ts';

const ROUNDS = 3;
const PAIRS = 250;
const ITERATIONS = 8;
/** An iteration has 140 walks, enough for their correlation to be told from one. */
const GUARD = { agreement: 0.4, patience: 1 };

/** Pairs of which a share is labelled the wrong way round. */
function flipped(pairs: readonly Preference[], share: number, seed: number): Preference[] {
  const random = new Random(seed);
  return pairs.map((pair) => {
    return random.next() < share ? { ...pair, chosen: pair.rejected, rejected: pair.chosen } : pair;
  });
}

/** Scores in standard deviations from their mean on the pairs. */
async function standardised(judge: RewardModel, pairs: readonly Preference[]): Promise<RewardFunction> {
  const score = async (answers: readonly Answer[]) =>
    (await scoresOf(judge, answers, { size: 200, timeout: 600 })).scores;
  const answers = pairs.flatMap(({ prompt, chosen, rejected }) => [
    { prompt, response: chosen },
    { prompt, response: rejected },
  ]);
  const { mean, deviation } = statisticsOf(await score(answers));
  return async (some) => (await score(some)).map((each) => (each - mean) / deviation);
}

/** How good the walks were in each iteration, and what ended the run, or would have. */
interface Course {
  gold: number[];
  end: number;
  stopped: Stopped | undefined;
}

/** Runs the rounds for a seed, with so many of the labels flipped; unless `guarded`, the guard looks on but ends nothing. */
async function learnFromPeople(seed: number, flips: number, guarded: boolean): Promise<Course> {
  const { wanderer } = await wandererOf(seed);
  using policy: LanguageModel = wanderer.clone();
  using actorCritic = new ActorCritic(policy, { lora: false, reference: true });
  const pairs: Preference[] = [];
  const others: Preference[] = [];
  const gold: number[] = [];
  let stopped: Stopped | undefined;
  for (let round = 0; round < ROUNDS && !(guarded && stopped); round++) {
    const own = 1000 * round + seed;
    pairs.push(...flipped(await comparedPairs(policy, PAIRS, own + 100), flips, own + 7));
    others.push(...flipped(await comparedPairs(policy, PAIRS, own + 300), flips, own + 8));
    const reward = await standardised(await learnToJudge(policy.clone(), pairs, seed, () => {}), pairs);
    const heldOut = await standardised(await learnToJudge(policy.clone(), others, seed + 1, () => {}), others);
    const guards = new Guards(GUARD);
    // The last round settles down: with a constant rate, what it ends with is a matter of luck.
    const decay = round < ROUNDS - 1 ? 'constant' : 'linear';
    const options = { steps: ITERATIONS, lr: 3e-4, lora: false, seed: own, klWeight: 0.05, decay } as const;
    const watching: RewardFunction = async (answers) => {
      const good = (await arrival(answers)) as number[];
      gold.push(good.reduce((sum, value) => sum + value, 0) / good.length);
      return await reward(answers);
    };
    const steps = learnToArrive(actorCritic, watching, options, heldOut);
    for await (const row of guarded ? untilEnding(steps, { guards }) : steps) {
      if (!guarded) guards.sees({ ...row });
      stopped ??= stoppedAt(row.step, Number.POSITIVE_INFINITY, { guards });
    }
  }
  return { gold, end: await howGood(policy), stopped };
}

/** How far the walks were below their best when the run ended. */
function fallOf({ gold }: Pick<Course, 'gold'>): number {
  return Math.max(...gold) - (gold.at(-1) as number);
}

/** Prints what was measured, for docs/stopping.md. */
function tell(what: string, seed: number, { gold, end, stopped }: Course): void {
  const course = gold.map((value) => value.toFixed(2)).join(' ');
  console.log(
    `${what} ${seed}: ${course}; end ${end.toFixed(3)}; ${stopped?.step ?? 'not'} stopped, fall ${fallOf({ gold }).toFixed(2)}`,
  );
}

it.each(ALL ? [0, 1, 2] : [0])(
  'is ended in time where labels are flipped, seed %i',
  { timeout: 600_000 },
  async (seed) => {
    const course = await learnFromPeople(seed, 0.2, true);
    if (ALL) tell('flipped', seed, course);
    expect(course.stopped?.cause).toBe('agreement');
    expect(fallOf(course)).toBeLessThan(0.1);
  },
);

if (ALL) {
  it('finds the shortest walks from clean labels, and would be ended in at most 1 of 10 runs', {
    timeout: 3_600_000,
  }, async () => {
    const courses: Course[] = [];
    for (let seed = 0; seed < 10; seed++) {
      courses.push(await learnFromPeople(seed, 0, false));
      tell('clean', seed, courses.at(-1) as Course);
    }
    expect(courses.filter(({ stopped }) => stopped !== undefined).length).toBeLessThanOrEqual(1);
    // Three seeds that are not ended: what the rounds themselves achieve.
    for (const { end } of courses.filter(({ stopped }) => stopped === undefined).slice(0, 3))
      expect(end).toBeGreaterThanOrEqual(0.9);
  });

  it('would get worse without a guard', { timeout: 1_800_000 }, async () => {
    for (const seed of [0, 1, 2]) {
      const course = await learnFromPeople(seed, 0.2, false);
      tell('unguarded', seed, course);
      const first = course.gold.slice(0, ITERATIONS);
      expect(Math.max(...first) - (first.at(-1) as number)).toBeGreaterThan(0.1);
    }
  });
}
