/** Answers as OpenAI's clients read them: objects of chats and of completions, whole and in chunks. */
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Drawn, Piece } from './answering.ts';

/** The time, in seconds since 1970. */
export function unixTime(): number {
  return Math.floor(Date.now() / 1000);
}

/** What all objects of a response have. */
export interface Head {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}
export interface Usage {
  prompt: number;
  cached: number;
  drawn: number;
}
/** How log-probabilities are told: not, of the model, or of the distributions that were drawn from. */
export type LogProbs = 'none' | 'model' | 'sampled';

export function usageOf({ prompt, cached, drawn }: Usage) {
  return {
    prompt_tokens: prompt,
    completion_tokens: drawn,
    total_tokens: prompt + drawn,
    prompt_tokens_details: { cached_tokens: cached },
  };
}

/** A token by its text, which is not whole where it is part of a character, and its bytes. */
function named(tokenizer: Tokenizer, token: number) {
  const text = tokenizer.decode([token]);
  return { token: text, bytes: text.includes('\ufffd') ? null : [...Buffer.from(text)] };
}

function logProbOf({ sampled, model }: Drawn, which: LogProbs): number {
  return which === 'sampled' || model === undefined ? sampled : model.token;
}

/** JSON has no −∞; OpenAI writes −9999. */
const finite = (logProb: number) => Math.max(logProb, -9999);

function chatLogProbs(drawn: readonly Drawn[], which: LogProbs, tokenizer: Tokenizer) {
  if (which === 'none') return null;
  const content = drawn.map((one) => ({
    ...named(tokenizer, one.token),
    logprob: finite(logProbOf(one, which)),
    top_logprobs: (one.model?.topTokens ?? []).map((token, i) => ({
      ...named(tokenizer, token),
      logprob: finite(one.model?.top[i] as number),
    })),
  }));
  return { content, refusal: null };
}

function completionLogProbs(drawn: readonly Drawn[], which: LogProbs, tokenizer: Tokenizer, offset: number) {
  if (which === 'none') return null;
  const tokens = drawn.map(({ token }) => tokenizer.decode([token]));
  let at = offset;
  return {
    tokens,
    token_logprobs: drawn.map((one) => finite(logProbOf(one, which))),
    top_logprobs: drawn.map(({ model }) =>
      Object.fromEntries(
        (model?.topTokens ?? []).map((token, i) => [tokenizer.decode([token]), finite(model?.top[i] as number)]),
      ),
    ),
    text_offset: tokens.map((text) => {
      const begin = at;
      at += text.length;
      return begin;
    }),
  };
}

/** One kind of response. */
export interface Kind {
  whole(head: Head, choices: readonly Piece[], usage: Usage, which: LogProbs, tokenizer: Tokenizer): object;
  /** The chunks before the first piece of an answer. */
  opening(head: Head, index: number): object[];
  chunk(head: Head, piece: Piece, which: LogProbs, tokenizer: Tokenizer, offset: number): object;
  /** The chunk that tells what was used. */
  closing(head: Head, usage: Usage): object;
}

export const CHAT: Kind = {
  whole: (head, choices, usage, which, tokenizer) => ({
    ...head,
    object: 'chat.completion',
    choices: choices.map(({ index, text, drawn, finish }) => ({
      index,
      message: { role: 'assistant', content: text, refusal: null },
      logprobs: chatLogProbs(drawn, which, tokenizer),
      finish_reason: finish,
    })),
    usage: usageOf(usage),
  }),
  opening: (head, index) => [
    {
      ...head,
      object: 'chat.completion.chunk',
      choices: [{ index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }],
    },
  ],
  chunk: (head, { index, text, drawn, finish }, which, tokenizer) => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [
      {
        index,
        delta: text === '' ? {} : { content: text },
        logprobs: chatLogProbs(drawn, which, tokenizer),
        finish_reason: finish,
      },
    ],
  }),
  closing: (head, usage) => ({ ...head, object: 'chat.completion.chunk', choices: [], usage: usageOf(usage) }),
};

export const COMPLETION: Kind = {
  whole: (head, choices, usage, which, tokenizer) => ({
    ...head,
    object: 'text_completion',
    choices: choices.map(({ index, text, drawn, finish }) => ({
      index,
      text,
      logprobs: completionLogProbs(drawn, which, tokenizer, 0),
      finish_reason: finish,
    })),
    usage: usageOf(usage),
  }),
  opening: () => [],
  chunk: (head, { index, text, drawn, finish }, which, tokenizer, offset) => ({
    ...head,
    object: 'text_completion',
    choices: [{ index, text, logprobs: completionLogProbs(drawn, which, tokenizer, offset), finish_reason: finish }],
  }),
  closing: (head, usage) => ({ ...head, object: 'text_completion', choices: [], usage: usageOf(usage) }),
};
