/**
 * `palm demo`: the whole pipeline on the random-walks task in a minute or two. A model is pretrained on random walks, a
 * reward model learns from compared pairs what makes a walk good, and PPO teaches the model to take the shortest way.
 */
import { relative } from 'node:path';
import { styleText } from 'node:util';
import { Command } from 'commander';
import { ActorCritic } from '../models/actor-critic.ts';
import type { LanguageModel } from '../models/language-model.ts';
import type { RewardModel } from '../models/reward-model.ts';
import type { Preference } from '../data/preferences.ts';
import { deriveSeed } from '../data/random.ts';
import {
  comparedPairs,
  judgeSteps,
  learnToArrive,
  learnToJudge,
  learnToWander,
  sampledOptimality,
  type Show,
  walksOf,
} from '../demo/learning.ts';
import { letterTokenizer, shortest, walkPrompts } from '../demo/random-walks.ts';
import { ConsoleMetrics } from '../metrics/console.ts';
import type { StepMetrics } from '../metrics/metrics.ts';
import { packagePath } from '../package.ts';
import type { PpoStep } from '../trainers/ppo.ts';
import { evaluatePairs } from '../trainers/reward.ts';

export function demoCommand(): Command {
  return new Command('demo')
    .description('run pretraining, a reward model and PPO on a toy maze (1-2 min)')
    .option('--seed <number>', 'seed of all random draws', Number, 0)
    .action(({ seed }: { seed: number }) => demo(seed));
}

/**
 * Rounds of feedback: a reward model is only reliable on walks like those it was trained on, so it is retrained on what
 * the policy does now.
 */
const ROUNDS = 4;

// A margin of one nat between two walks is a score difference of 1, and scores spread over about 4: the KL penalty has
// to match that.
const PLEASING = { steps: 10, lr: 3e-4, decay: 'constant', klWeight: 0.4, lora: false } as const;

async function demo(seed: number): Promise<void> {
  const began = performance.now();
  say('A map of 21 nodes, a to u. The goal is a: the shorter a walk to it, the better.\n');

  heading('Pretraining on 1000 random walks');
  using model = await stage(400, (show) => learnToWander(seed, show));
  using wanderer = model.clone();
  const before = { mean: await sampledOptimality(model, { seed }), walks: await walksOf(model, 1, { seed }) };
  say(`Its walks reach ${percent(before.mean)} of the best possible.\n`);

  using actorCritic = new ActorCritic(model, { lora: false, reference: true });
  const pairs: Preference[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    pairs.push(...(await comparedPairs(model, 400, deriveSeed(seed, round))));
    heading(`Round ${round}: train a reward model on ${pairs.length} compared pairs of the model's walks`);
    using judge = await stage(judgeSteps(pairs.length), (show) => learnToJudge(wanderer, pairs, seed, show));
    say(`It ranks ${percent(await agreement(judge, model, deriveSeed(seed, 10 + round)))} of new pairs correctly.`);

    heading(`Round ${round}: PPO on the reward model's scores, with a KL penalty`);
    const config = { ...PLEASING, seed: deriveSeed(seed, 20 + round) };
    await stage(PLEASING.steps, async (show) => {
      for await (const step of learnToArrive(actorCritic, judge, config)) show(shown(step));
    });
    say(`Its walks reach ${percent(await sampledOptimality(model, { seed }))} of the best possible.\n`);
  }

  table(before.walks, await walksOf(model, 1, { seed }));
  const after = await sampledOptimality(model, { seed });
  say(`\nOptimality: ${percent(before.mean)} before, ${styleText('bold', percent(after))} after feedback.`);
  const program = relative('', packagePath('src/demo/learning.ts'));
  say(`It took ${Math.round((performance.now() - began) / 1000)} s. docs/ppo.md explains it; the program is`);
  say(program);
}

/** The share of new pairs of the policy's walks that the reward model ranks correctly. */
async function agreement(judge: RewardModel, model: LanguageModel, seed: number): Promise<number> {
  return (await evaluatePairs(judge, await comparedPairs(model, 200, seed), 100)).accuracy;
}

function shown({ step, score, kl, entropy, timing }: PpoStep): StepMetrics {
  return { step, score, kl, entropy, timing };
}

/** Runs a stage of `steps` steps with a progress line. */
async function stage<T>(steps: number, run: (show: Show) => Promise<T>): Promise<T> {
  const progress = new ConsoleMetrics({ steps });
  try {
    return await run((step) => progress.write(step));
  } finally {
    await progress.close();
  }
}

function table(before: { walk: number[] }[], after: { walk: number[] }[]): void {
  say(`\n${styleText('dim', `${'start'.padEnd(8)}${'before'.padEnd(14)}${'after'.padEnd(14)}shortest`)}`);
  for (const i of [0, 3, 5, 9, 14, 19]) {
    const start = walkPrompts[i] as string;
    const [first, second] = [before, after].map((walks) => letterTokenizer.decode(walks[i]?.walk ?? []));
    say(`${start.padEnd(8)}${first?.padEnd(14)}${second?.padEnd(14)}${shortest.get(start)} nodes`);
  }
}

function heading(text: string): void {
  say(styleText('bold', text));
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function say(text: string): void {
  console.log(text);
}
