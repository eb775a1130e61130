/** Answers of the model during training, for people to read. */
import { checkKinds, COUNT, type Kind, LISTS, TOKENIZER } from '../checks/kinds.ts';
import { maskedMean } from '../losses/reductions.ts';
import type { Sample } from '../metrics/metrics.ts';
import type { LanguageModel } from '../models/language-model.ts';
import type { Rollout } from '../models/policy.ts';
import { rowsOf } from '../tensor/rows.ts';
import { endTokens, type Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Answer } from './rollouts.ts';

/** What a trainer answers at each evaluation, besides what it learns from. */
export interface SamplePrompts {
  /** Token ids; the same prompts at every evaluation. */
  prompts: readonly (readonly number[])[];
  /** The most tokens of an answer. */
  maxNewTokens: number;
  tokenizer: Pick<Tokenizer, 'encode' | 'decode' | 'eosToken' | 'stopTokens' | 'padToken'>;
}

/** The kind of optional `SamplePrompts`, for `checkKinds`. */
export const SAMPLE_PROMPTS: Kind = {
  is: (value) => value === undefined || isSamplePrompts(value),
  words: '{ prompts, maxNewTokens, tokenizer } or undefined',
};

function isSamplePrompts(value: unknown): boolean {
  checkKinds('samples', value, { prompts: LISTS, maxNewTokens: COUNT, tokenizer: TOKENIZER });
  return true;
}

/**
 * Answers of `model` to the prompts, through the adapters `scope` if given. They depend on the weights and `seed` alone, and
 * change nothing that training depends on.
 */
export async function answerSamples(
  model: LanguageModel,
  { prompts, maxNewTokens, tokenizer }: SamplePrompts,
  { seed, scope }: { seed: number; scope?: string | undefined },
): Promise<Sample[]> {
  if (prompts.length === 0) return [];
  const rows = prompts.map((prompt) => [...prompt]);
  using answers = await model.generate({
    prompts: rows,
    maxNewTokens,
    eosToken: endTokens(tokenizer),
    padToken: tokenizer.padToken,
    scope,
    seed: seed % 2 ** 32,
  });
  const width = answers.sequences.shape[1] as number;
  const [tokens, mask] = await Promise.all([answers.sequences.data(), answers.responseMask.data()]);
  return rows.map((prompt, row) => {
    const response = Array.from({ length: width }, (_, t) => row * width + t).filter((at) => mask[at]);
    const text = tokenizer.decode(response.map((at) => Number(tokens[at])));
    return { prompt: tokenizer.decode(prompt), response: text };
  });
}

/**
 * `count` of the answers of a rollout with their scores, one per prompt as far as there are prompts, and their KL if there is a
 * reference policy.
 */
export async function rolloutSamples(
  { rollout, answers, scores }: { rollout: Rollout; answers: readonly Answer[]; scores: readonly number[] },
  {
    count = 0,
    samplesPerPrompt,
    reference,
  }: { count: number | undefined; samplesPerPrompt: number; reference: boolean },
): Promise<Sample[] | undefined> {
  if (count === 0) return undefined;
  const rows = answers.map((_, row) => row).filter((row) => row % samplesPerPrompt === 0);
  const shown = rows.slice(0, count);
  const kl = reference ? await klOf(rollout, shown, answers) : [];
  return shown.map((row, i) => {
    const { prompt, response, promptText, responseText } = answers[row] as Answer;
    return {
      prompt: promptText ?? prompt,
      response: responseText ?? response,
      score: Number.isNaN(scores[row]) ? undefined : scores[row],
      kl: kl[i],
    };
  });
}

/** log p of the responses minus that of the reference policy, in nats. */
async function klOf(rollout: Rollout, rows: readonly number[], answers: readonly Answer[]): Promise<number[]> {
  const { rolloutLogProb, referenceLogProb, responseMask } = rollout;
  using some = await rowsOf({ rolloutLogProb, referenceLogProb, responseMask }, rows);
  using mean = await maskedMean(some.rolloutLogProb, some.responseMask);
  using reference = await maskedMean(some.referenceLogProb, some.responseMask);
  const [now, then] = await Promise.all([mean.data(), reference.data()]);
  return rows.map((row, i) => (Number(now[i]) - Number(then[i])) * (answers[row] as Answer).response.length);
}
