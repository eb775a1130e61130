/**
 * A policy that is told which walks arrived, and nothing else, knows where the others went wrong. Walks end at the goal, after ten nodes,
 * or with their first step that does not exist: of a walk that goes on, the outcome does not tell which of its tokens was to blame.
 */
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { learnToWander } from '../../src/demo/learning.ts';
import { letterTokenizer, neighbours, walkPrompts } from '../../src/demo/random-walks.ts';
import { type ImplicitPRM, implicitPrmConfig, type Label, methods, parseConfig } from '../../src/index.ts';
import { areaUnderRoc } from '../../src/metrics/calibration.ts';
import { tokenRewardsOf } from '../../src/trainers/rewards.ts';
import { device } from '../device.ts';
import { ALL, SEEDS } from './walks.ts';

const [GOAL] = letterTokenizer.encode('a');
const MAX_NODES = 10;

/** A walk, whether it arrived, and where its last node is if no edge leads to it: an index into the response. */
interface Walk extends Label {
  prompt: number[];
  response: number[];
  wrong: number | undefined;
}

/** Random walks; every tenth step leads to a node that is no neighbour. */
function walks(count: number, seed: number): Walk[] {
  const random = new Random(seed);
  const one = (nodes: readonly string[]) => nodes[random.int(nodes.length)] as string;
  return Array.from({ length: count }, () => {
    let [node, walk, strays] = [one(walkPrompts), '', false];
    const start = node;
    while (node !== 'a' && walk.length < MAX_NODES - 1 && !strays) {
      const next = neighbours.get(node) as string;
      strays = random.int(10) === 0;
      const others = [...walkPrompts, 'a'].filter((other) => other !== node && !next.includes(other));
      node = one(strays ? others : [...next]);
      walk += node;
    }
    const arrived = node === 'a' && !strays;
    const ending = node === 'a' ? [letterTokenizer.eosToken as number] : [];
    const response = [...letterTokenizer.encode(walk), ...ending];
    return {
      prompt: letterTokenizer.encode(start),
      response,
      good: arrived,
      wrong: strays ? walk.length - 1 : undefined,
    };
  });
}

const SETTINGS = { epochs: 5, batchSize: 64, beta: 0.5, lr: 2e-3, minLr: 0, warmupSteps: 0, lora: false as const };

/** How well rewards tell held-out walks that arrive from others, and the share of those that stray whose lowest reward is there. */
async function judged(prm: ImplicitPRM, held: readonly Walk[]) {
  const rewards = await tokenRewardsOf(
    prm,
    held.map(({ prompt, response }) => ({ prompt, response })),
    { size: 100 },
  );
  const scores = rewards.map((row) => row.reduce((sum, reward) => sum + reward, 0));
  const stray = held.flatMap(({ wrong }, i) => (wrong === undefined ? [] : [{ wrong, row: rewards[i] as number[] }]));
  const found = stray.filter(({ wrong, row }) => row.indexOf(Math.min(...row)) === wrong);
  const auc = areaUnderRoc(
    scores,
    held.map(({ good }) => good),
  ) as number;
  return { auc, found: found.length / stray.length };
}

/** Trains on 2000 walks, labelled by `good`, and judges 500 others. */
async function learn(seed: number, good: (walk: Walk) => boolean) {
  using model = await learnToWander(seed, () => {}, device, 200);
  const labels = walks(2000, seed).map((walk) => ({ ...walk, good: good(walk) }));
  const config = parseConfig(implicitPrmConfig, { ...SETTINGS, seed }, 'test');
  const { parts, train } = methods['implicit-prm'].assemble(config, { model, labels });
  using prm = parts.weights;
  using _ = parts.optimizer;
  for await (const _step of train());
  return await judged(prm, walks(500, 100 + seed));
}

describe.each(SEEDS)('the random walks, seed %i', (seed) => {
  it('tell where a walk went wrong, from whether it arrived', { timeout: 600_000 }, async () => {
    const { auc, found } = await learn(seed, ({ good }) => good);
    if (ALL) console.log(`implicit-prm, seed ${seed}: AUC ${auc.toFixed(4)}, wrong steps found ${found.toFixed(3)}`);
    expect(auc).toBeGreaterThanOrEqual(0.98);
    expect(found).toBeGreaterThanOrEqual(0.85);
  });

  // Only `npm run test:learning` has time for it.
  it.each(ALL ? ['the wrong sign'] : [])('tell the opposite by %s', { timeout: 600_000 }, async () => {
    const { auc, found } = await learn(seed, ({ good }) => !good);
    expect(auc).toBeLessThan(0.05);
    expect(found).toBeLessThan(0.5);
  });
});

it('walks stray at their last node, and nowhere else', () => {
  const some = walks(200, 3);
  expect(some.filter(({ wrong }) => wrong !== undefined).length).toBeGreaterThan(50);
  for (const { prompt, response, good, wrong } of some) {
    const nodes = [...prompt, ...response].filter((token) => token !== letterTokenizer.eosToken);
    const letters = letterTokenizer.decode(nodes);
    const missing = [...letters].findIndex(
      (node, i) => i > 0 && !neighbours.get(letters.charAt(i - 1))?.includes(node),
    );
    expect(wrong).toBe(missing < 0 ? undefined : missing - 1);
    expect(good).toBe(missing < 0 && nodes.at(-1) === GOAL);
  }
});
