/** Answers of the model during training, for people to read. */
import { checkKinds, COUNT, type Kind, LISTS, TOKENIZER } from '../checks/kinds.ts';
import { maskedMean } from '../losses/reductions.ts';
import type { Sample, SampleToken } from '../metrics/metrics.ts';
import type { LanguageModel } from '../models/language-model.ts';
import type { Rollout } from '../models/policy.ts';
import { rowsOf } from '../tensor/rows.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { decodeStream, endTokens, type Tokenizer } from '../tokenizer/tokenizer.ts';
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

/** An iteration's answers, as far as samples show them. */
interface Shown {
  rollout: Rollout;
  answers: readonly Answer[];
  scores: readonly number[];
  /** The number of each answer's prompt among all prompts of the run. */
  prompts: readonly number[];
}

interface ShownOptions {
  count: number | undefined;
  samplesPerPrompt: number;
  /** Whether there is a reference policy. */
  reference: boolean;
  tokenizer?: Pick<Tokenizer, 'decode'> | undefined;
  /** What was learned from each token [B, T], where the method has it. */
  learned?: { readonly reward?: Tensor | undefined; readonly advantage?: Tensor | undefined };
}

/** Tokens of a response that a sample tells about: a line of samples.jsonl is then at most some 25 kB longer than its texts. */
const MOST_TOKENS = 256;

/**
 * Answers of a rollout to `count` prompts, one to each, with their scores and tokens, and their KL if there is a reference policy. They
 * are the prompts of the rollout that come first in the data, so that a prompt is shown again and again.
 */
export async function rolloutSamples(
  { rollout, answers, scores, prompts }: Shown,
  { count = 0, samplesPerPrompt, reference, tokenizer, learned = {} }: ShownOptions,
): Promise<Sample[] | undefined> {
  if (count === 0) return undefined;
  const first = (row: number) => row % samplesPerPrompt === 0 && prompts.indexOf(prompts[row] as number) === row;
  const rows = answers.map((_, row) => row).filter(first);
  const shown = rows.sort((a, b) => (prompts[a] as number) - (prompts[b] as number)).slice(0, count);
  const kl = reference ? await klOf(rollout, shown, answers) : [];
  const known = await perToken(rollout, shown, reference, learned);
  return shown.map((row, i) => {
    const { prompt, response, promptText, responseText } = answers[row] as Answer;
    return {
      prompt: promptText ?? prompt,
      response: responseText ?? response,
      score: Number.isNaN(scores[row]) ? undefined : scores[row],
      kl: kl[i],
      tokens: tokensOf(answers[row] as Answer, tokenizer, (t) => known(i, t)),
    };
  });
}

/** The first tokens of an answer; `known` says what is known of token t of the sequence. */
function tokensOf(
  { prompt, response }: Answer,
  tokenizer: Pick<Tokenizer, 'decode'> | undefined,
  known: (t: number) => Omit<SampleToken, 'id' | 'text'>,
): SampleToken[] {
  const stream = tokenizer && decodeStream(tokenizer);
  const told = response.slice(0, MOST_TOKENS);
  return told.map((id, i) => {
    const certain = stream?.push(id);
    const text = stream && i + 1 === response.length ? certain + stream.end() : certain;
    return { id, text, ...known(prompt.length + i) };
  });
}

/** Says of row i of `rows` and token t what the iteration knows of it. */
async function perToken(
  { rolloutLogProb, referenceLogProb }: Rollout,
  rows: readonly number[],
  reference: boolean,
  { reward, advantage }: NonNullable<ShownOptions['learned']>,
): Promise<(i: number, t: number) => Omit<SampleToken, 'id' | 'text'>> {
  const given = { ...(reference && { rolloutLogProb, referenceLogProb }), ...(reward && { reward }) };
  const tensors: Record<string, Tensor> = { ...given, ...(advantage && { advantage }) };
  if (Object.keys(tensors).length === 0) return () => ({});
  using some = await rowsOf(tensors, rows);
  const width = (Object.values(tensors)[0] as Tensor).shape[1] as number;
  const names = Object.keys(tensors);
  const data = await Promise.all(names.map((name) => (some[name] as Tensor).data()));
  const read = new Map(names.map((name, n) => [name, data[n]]));
  return (i, t) => {
    const at = (name: string) => (read.has(name) ? Number(read.get(name)?.[i * width + t]) : undefined);
    const [now, then] = [at('rolloutLogProb'), at('referenceLogProb')];
    const logRatio = now === undefined || then === undefined ? undefined : now - then;
    return { logRatio: short(logRatio), reward: short(at('reward')), advantage: short(at('advantage')) };
  };
}

function short(value: number | undefined): number | undefined {
  return value === undefined ? undefined : Number(value.toPrecision(4));
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
