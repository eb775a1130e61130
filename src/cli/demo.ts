/**
 * `palm demo`: the whole path on the random-walks task in a minute or two. A model learns to wander from walks that wander,
 * a reward model learns from compared pairs what a good walk is, and PPO makes the model take the short way.
 */
import { styleText } from 'node:util';
import { Command } from 'commander';
import type { ActorCritic as ActorCriticModel } from '../actor-critic.ts';
import { ActorCritic } from '../actor-critic.ts';
import { ppoConfig, type PpoConfigInput } from '../config/ppo.ts';
import { pretrainConfig } from '../config/pretrain.ts';
import { rewardConfig } from '../config/reward.ts';
import { parseConfig } from '../config/schema.ts';
import { Batches } from '../data/batches.ts';
import type { Preference } from '../data/preferences.ts';
import { padRight } from '../data/prompts.ts';
import { deriveSeed } from '../data/random.ts';
import { letterTokenizer, optimality, randomWalks, shortest, walkPrompts } from '../data/random-walks.ts';
import { ConsoleMetrics } from '../metrics/console.ts';
import type { StepMetrics } from '../metrics/metrics.ts';
import { AdamW } from '../optim.ts';
import { PaLM } from '../palm.ts';
import { RewardModel } from '../reward-model.ts';
import type { Reward } from '../trainers/experience.ts';
import { ppo, type PpoStep } from '../trainers/ppo.ts';
import { pretrain, type PretrainParts } from '../trainers/pretrain.ts';
import { evaluatePairs, reward, rewardSteps } from '../trainers/reward.ts';

const EOS = letterTokenizer.eosToken as number;
const PAD = letterTokenizer.padToken as number;
const PROMPTS = walkPrompts.map((node) => letterTokenizer.encode(node));
const MAX_NEW_TOKENS = 9;
const BETAS: [number, number] = [0.9, 0.95];

/** Called after every step of a stage. */
type Show = (step: StepMetrics) => void;

/** A model that has learned to wander, from 1000 walks. */
export async function learnToWander(seed: number, show: Show, device = 'cpu', steps = 400): Promise<PaLM> {
  const model = { dim: 64, depth: 2, heads: 4, dimHead: 16 };
  const palm = new PaLM({ ...model, numTokens: letterTokenizer.vocabSize, ignoreIndex: PAD, seed, device });
  const text = rowsOf(randomWalks({ count: 1000, seed: 1000 }));
  const schedule = { steps, batchSize: 100, lr: 1e-3, minLr: 0, warmupSteps: 0, decay: 'linear' as const, seed };
  const config = parseConfig(pretrainConfig, schedule, 'demo');
  const batches = new Batches({ size: text.size, batchSize: config.batchSize, seed });
  using optimizer = new AdamW(palm.parameters(), { lr: config.lr, betas: BETAS, weightDecay: 1e-6 });
  for await (const step of pretrain({ palm, optimizer, text, batches }, config)) show({ ...step });
  return palm;
}

/** Walks as rows of equal length, each closed by an eos; padding is no target, as the model's `ignoreIndex` says. */
function rowsOf(walks: readonly string[]): PretrainParts['text'] {
  const encoded = walks.map((walk) => [...letterTokenizer.encode(walk), EOS]);
  return {
    size: walks.length,
    rows(indices) {
      const { tokens, shape } = padRight(
        indices.map((index) => encoded[index] as number[]),
        PAD,
      );
      return { tokens, shape };
    },
  };
}

/** Walks of a model from every start, `samples` each, with their optimality. */
export async function walksOf(
  palm: PaLM,
  samples: number,
  options: { scope?: string; seed?: number } = {},
): Promise<{ walk: number[]; optimality: number }[]> {
  const drawing = { maxNewTokens: MAX_NEW_TOKENS, samplesPerPrompt: samples, eosToken: EOS, padToken: PAD };
  using generation = await palm.generate({ prompts: PROMPTS, ...drawing, ...options });
  const width = generation.sequences.shape[1] as number;
  const tokens = Array.from(await generation.sequences.data(), Number);
  return Array.from({ length: tokens.length / width }, (_, row) => {
    const walk = tokens.slice(row * width, (row + 1) * width);
    return { walk, optimality: optimality(walk) };
  });
}

/** Mean optimality of 50 sampled walks from every start. */
export async function sampledOptimality(palm: PaLM, options: { scope?: string; seed?: number } = {}): Promise<number> {
  const walks = await walksOf(palm, 50, options);
  return walks.reduce((sum, { optimality }) => sum + optimality, 0) / walks.length;
}

/** Pairs of walks of the model from one start, the better one chosen as a person would who knows the map. */
export async function comparedPairs(palm: PaLM, count: number, seed: number): Promise<Preference[]> {
  const samples = 2 * Math.ceil((1.5 * count) / PROMPTS.length); // a third and more are ties, which say nothing
  const walks = await walksOf(palm, samples, { seed });
  const answer = (walk: number[]) => walk.slice(1).filter((token) => token !== PAD);
  const pairs: Preference[] = [];
  for (let i = 0; i < walks.length; i += 2) {
    const [first, second] = [walks[i], walks[i + 1]].sort((a, b) => (b?.optimality ?? 0) - (a?.optimality ?? 0));
    if (!first || !second || first.optimality === second.optimality) continue;
    pairs.push({ prompt: first.walk.slice(0, 1), chosen: answer(first.walk), rejected: answer(second.walk) });
  }
  return pairs.slice(0, count);
}

const JUDGING = { epochs: 10, batchSize: 50, lr: 1e-3, warmupSteps: 0, lora: false as const };

/** How many steps `learnToJudge` takes. */
export function judgeSteps(pairs: number): number {
  return rewardSteps(pairs, parseConfig(rewardConfig, JUDGING, 'demo'));
}

/** A reward model with a trunk of its own, a copy of `palm`, trained on pairs. */
export async function learnToJudge(
  palm: PaLM,
  pairs: readonly Preference[],
  seed: number,
  show: Show,
): Promise<RewardModel> {
  const rewardModel = new RewardModel(palm, { lora: false, pooling: 'response', seed });
  const config = parseConfig(rewardConfig, { ...JUDGING, seed }, 'demo');
  const batches = new Batches({ size: pairs.length, batchSize: config.batchSize, seed });
  using optimizer = new AdamW(rewardModel.parameters(), { lr: JUDGING.lr, betas: BETAS, weightDecay: 1e-6 });
  for await (const step of reward({ rewardModel, optimizer, pairs, batches }, config)) show({ ...step });
  return rewardModel;
}

/** 20 iterations are too few to begin with care; scores from 0 to 1, or in nats, have a scale already. */
const HASTE = { criticWarmup: 0, warmupSteps: 0, approxKlStop: false, score: { norm: 'none' } } as const;

/** 20 iterations of PPO on 140 walks each, 160 optimizer steps unless configured otherwise. */
export async function* learnToArrive(
  actorCritic: ActorCriticModel,
  reward: Reward,
  options: PpoConfigInput & { lr: number },
): AsyncGenerator<PpoStep> {
  const task = { steps: 20, rolloutBatch: PROMPTS.length, minibatchSize: 70, epochs: 4, klWeight: 0 };
  const sampling = { maxNewTokens: MAX_NEW_TOKENS, samplesPerPrompt: 7 };
  const config = parseConfig(ppoConfig, { ...task, ...HASTE, sampling, ...options }, 'demo');
  const batches = new Batches({ size: PROMPTS.length, batchSize: config.rolloutBatch, seed: config.seed });
  using optimizer = new AdamW(actorCritic.parameters(), { lr: options.lr, betas: BETAS, weightDecay: 1e-6 });
  const parts = { actorCritic, reward, prompts: PROMPTS, batches, optimizer, eosToken: EOS, padToken: PAD };
  yield* ppo({ ...parts, tokenizer: letterTokenizer }, config);
}

export function demoCommand(): Command {
  return new Command('demo')
    .description('learn to walk by feedback, in a minute or two: pretraining, a reward model, PPO')
    .option('--seed <number>', 'of everything that is drawn at random', Number, 0)
    .action(({ seed }: { seed: number }) => demo(seed));
}

/** Rounds of feedback: a judge knows only walks like those it was shown, so it has to see what the policy does now. */
const ROUNDS = 4;

// A margin of one nat between two walks is a score difference of 1, and the judge's reach 4: the KL toll has to keep up.
const PLEASING = { steps: 10, lr: 3e-4, decay: 'constant', klWeight: 0.4, lora: false } as const;

async function demo(seed: number): Promise<void> {
  const began = performance.now();
  say('A map of 21 nodes, a to u; the goal is a. A walk is as good as it is short.\n');

  heading('Pretraining: learn to wander from 1000 random walks');
  using palm = await stage(400, (show) => learnToWander(seed, show));
  using wanderer = palm.clone();
  const before = { mean: await sampledOptimality(palm, { seed }), walks: await walksOf(palm, 1, { seed }) };
  say(`Its own walks reach ${percent(before.mean)} of the best possible.\n`);

  using actorCritic = new ActorCritic(palm, { lora: false, reference: true });
  const pairs: Preference[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    pairs.push(...(await comparedPairs(palm, 400, deriveSeed(seed, round))));
    heading(`Round ${round}: a reward model learns from ${pairs.length} compared pairs of the model's walks`);
    using judge = await stage(judgeSteps(pairs.length), (show) => learnToJudge(wanderer, pairs, seed, show));
    say(
      `It puts ${percent(await agreement(judge, palm, deriveSeed(seed, 10 + round)))} of new pairs in the right order.`,
    );

    heading(`Round ${round}: PPO, to please the reward model without leaving what was learned first`);
    const config = { ...PLEASING, seed: deriveSeed(seed, 20 + round) };
    await stage(PLEASING.steps, async (show) => {
      for await (const step of learnToArrive(actorCritic, judge, config)) show(shown(step));
    });
    say(`Its walks reach ${percent(await sampledOptimality(palm, { seed }))} of the best possible.\n`);
  }

  table(before.walks, await walksOf(palm, 1, { seed }));
  const after = await sampledOptimality(palm, { seed });
  say(`\nOptimality  ${percent(before.mean)} before, ${styleText('bold', percent(after))} after feedback.`);
  say(
    `It took ${Math.round((performance.now() - began) / 1000)} s. The program is src/cli/demo.ts; docs/ppo.md explains it.`,
  );
}

/** Share of fresh pairs of the policy's walks that the judge puts in the right order. */
async function agreement(judge: RewardModel, palm: PaLM, seed: number): Promise<number> {
  return (await evaluatePairs(judge, await comparedPairs(palm, 200, seed), 100)).accuracy;
}

function shown({ step, score, kl, entropy, timing }: PpoStep): StepMetrics {
  return { step, score, kl, entropy, timing };
}

/** Runs a stage under a progress line of `steps` steps. */
async function stage<T>(steps: number, run: (show: Show) => Promise<T>): Promise<T> {
  const progress = new ConsoleMetrics(steps);
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
