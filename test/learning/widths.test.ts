/**
 * The default learning rates of PPO fit every width: the first updates move a policy, and none so far that ratios are clipped.
 * PALM_WIDTHS=64,256,1024 measures the whole table of docs/ppo.md.
 */
import { describe, expect, it } from 'vitest';
import {
  ActorCritic,
  AdamW,
  Batches,
  PaLM,
  parseConfig,
  ppo,
  ppoConfig,
  type RewardFunction,
} from '../../src/index.ts';
import type { Answer } from '../../src/trainers/rollouts.ts';
import { device } from '../device.ts';

const WIDTHS = (process.env.PALM_WIDTHS ?? '64,256').split(',').map(Number);
const PROMPTS = Array.from({ length: 16 }, (_, i) => [i, (5 * i + 1) % 64]);
const SMALL = { rolloutBatch: 16, minibatchSize: 8, sampling: { maxNewTokens: 16 } };
/** An approxKl below this, in nats per token, is standing still. */
const FLOOR = 5e-6;

/** How far the policy is from the one that gave `answers`, over their tokens. */
interface Moved {
  approxKl: number;
  clipFraction: number;
}

/** What the first 8 updates of a policy do, with scores that nothing explains. */
async function firstUpdates(dim: number, lora: number | false): Promise<Moved> {
  using palm = new PaLM({ numTokens: 64, dim, depth: 2, heads: dim / 32, dimHead: 32, seed: 3, device });
  const config = parseConfig(ppoConfig, { ...SMALL, lora }, 'test');
  using actorCritic = new ActorCritic(palm, { lora, reference: true });
  using optimizer = new AdamW(actorCritic.parameters(), { weightDecay: 0 });
  let answers: Answer[] = [];
  let before: number[][] = [];
  const reward: RewardFunction = async (given) => {
    answers = given;
    before = await logProbsOf(actorCritic, answers);
    return given.map((_, i) => Math.sin(37.7 * i));
  };
  const batches = new Batches({ size: PROMPTS.length, batchSize: config.rolloutBatch, seed: 0 });
  const parts = { actorCritic, reward, prompts: PROMPTS, batches, optimizer };
  for await (const step of ppo(parts, config)) {
    if (step.step <= config.critic.warmup) continue;
    expect(step.epochs).toBe(4);
    break;
  }
  const now = await logProbsOf(actorCritic, answers);
  const ratios = now.flatMap((row, i) => row.map((logProb, t) => logProb - (before[i]?.[t] as number)));
  return {
    approxKl: meanOf(ratios.map((x) => Math.exp(x) - 1 - x)),
    clipFraction: meanOf(ratios.map((x) => Number(Math.abs(Math.exp(x) - 1) > config.loss.clip))),
  };
}

/** Of the response tokens of each answer; all are equally long. */
async function logProbsOf(actorCritic: ActorCritic, answers: readonly Answer[]): Promise<number[][]> {
  const rows = answers.map(({ prompt, response }) => [...prompt, ...response]);
  using evaluation = await actorCritic.evaluate(rows, { grad: false });
  const logProbs = Array.from(await evaluation.logProb.data(), Number);
  const width = rows[0]?.length as number;
  return rows.map((_, i) => logProbs.slice(i * width + (answers[i]?.prompt.length as number), (i + 1) * width));
}

const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe.each([8, false] as const)('D5: the first 8 updates, lora %s', (lora) => {
  it.each(WIDTHS)('move a policy of width %d, and not too far', { timeout: 600_000 }, async (dim) => {
    const { approxKl, clipFraction } = await firstUpdates(dim, lora);
    console.info(
      `dim ${dim}, lora ${lora}: approxKl ${approxKl.toExponential(1)}, clipped ${(100 * clipFraction).toFixed(1)} %`,
    );
    expect(clipFraction).toBeLessThan(0.1);
    expect(approxKl).toBeGreaterThan(FLOOR);
  });
});
