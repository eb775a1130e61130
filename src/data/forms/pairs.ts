/** Forms that say which of two responses is better. */
import { splitDialogue } from '../dialogue.ts';
import {
  askedOf,
  type DataObject,
  type FormRows,
  given,
  metaOf,
  numberOf,
  question,
  responseOf,
  turnsOf,
} from './fields.ts';
import type { Asked, Meta, PairRow, Turn } from './rows.ts';

type Extra = Pick<PairRow, 'margin' | 'confidence' | 'annotator' | 'weight'>;

const EXTRA = ['margin', 'confidence', 'annotator', 'weight'];

/** What a row may say besides the pair, under our names. */
function extraOf(record: DataObject): Extra {
  return {
    ...given('margin', numberOf(record.margin)),
    ...given('confidence', numberOf(record.confidence)),
    ...given('annotator', typeof record.annotator === 'string' ? record.annotator : undefined),
    ...given('weight', numberOf(record.weight)),
  };
}

function pair(prompt: Asked, chosen: string, rejected: string, meta: Meta, extra: Extra = {}): FormRows {
  if (chosen === rejected) return { skip: 'its responses are equal' };
  return { use: [{ kind: 'pair', prompt, chosen, rejected, ...extra, meta }] };
}

/** The better of two responses by a number that is below 0 if the first is, and 0 for a tie. */
function bySign(prompt: Asked, first: string, second: string, strength: number, meta: Meta): FormRows {
  if (strength === 0) return { skip: 'it is a tie' };
  const [chosen, rejected] = strength < 0 ? [first, second] : [second, first];
  return pair(prompt, chosen, rejected, meta, { margin: Math.abs(strength) });
}

export function preference(record: DataObject): FormRows {
  const { prompt, chosen, rejected } = record as Record<string, string>;
  const meta = metaOf(record, 'prompt', 'chosen', 'rejected', ...EXTRA);
  return pair(prompt as string, chosen as string, rejected as string, meta, extraOf(record));
}

export function implicitPreference(record: DataObject): FormRows {
  const { chosen, rejected } = record as { chosen: string; rejected: string };
  if (chosen === rejected) return { skip: 'its dialogues are equal' };
  const split = splitDialogue(chosen, rejected);
  if (split === undefined) return { skip: 'its dialogues share no prompt, or one has no response' };
  return pair(
    split.prompt,
    split.chosen,
    split.rejected,
    metaOf(record, 'chosen', 'rejected', ...EXTRA),
    extraOf(record),
  );
}

/** Messages, with the prompt apart or as the beginning that both sides share. */
export function conversationalPreference(record: DataObject): FormRows {
  const scores = [numberOf(record.score_chosen), numberOf(record.score_rejected)] as const;
  if (scores[0] !== undefined && scores[0] === scores[1]) return { skip: 'it is a tie' };
  const margin = scores[0] !== undefined && scores[1] !== undefined ? scores[0] - scores[1] : undefined;
  const [chosen, rejected] = [turnsOf(record.chosen), turnsOf(record.rejected)];
  const asked = chosen.slice(0, -1);
  const [better, worse] = [chosen.at(-1) as Turn, rejected.at(-1) as Turn];
  if (!sameTurns(asked, rejected.slice(0, -1))) return { skip: 'its dialogues differ before the last message' };
  if (better.role !== 'assistant' || worse.role !== 'assistant')
    return { skip: 'a dialogue does not end with the assistant' };
  const prompt = promptBefore(record.prompt, asked);
  if (prompt === undefined) return { skip: 'it has no prompt' };
  const meta = metaOf(record, 'prompt', 'chosen', 'rejected', 'messages', ...EXTRA);
  return pair(prompt, better.content, worse.content, meta, { ...given('margin', margin), ...extraOf(record) });
}

/** The whole prompt: the field and the shared beginning, which may repeat the field. */
function promptBefore(field: unknown, shared: Turn[]): Turn[] | undefined {
  if (field === undefined || field === null || (typeof field === 'string' && shared.length > 0)) {
    return shared.length > 0 ? shared : undefined;
  }
  const asked = typeof field === 'string' ? question(field) : turnsOf(field);
  return sameTurns(asked, shared.slice(0, asked.length)) ? shared : [...asked, ...shared];
}

function sameTurns(a: readonly Turn[], b: readonly Turn[]): boolean {
  const said = (turns: readonly Turn[]) => JSON.stringify(turns.map(({ role, content }) => [role, content]));
  return said(a) === said(b);
}

export function openaiPreference(record: DataObject): FormRows {
  const { messages, ...input } = record.input as DataObject;
  const chosen = responseOf(record.preferred_output);
  if ('skip' in chosen) return chosen;
  const rejected = responseOf(record.non_preferred_output);
  if ('skip' in rejected) return rejected;
  const meta = metaOf(record, 'input', 'preferred_output', 'non_preferred_output');
  const kept = Object.keys(input).length === 0 ? meta : { ...meta, input };
  return pair(turnsOf(messages), chosen.use, rejected.use, kept);
}

/** Stanford Human Preferences: two answers to a post, by their votes. */
export function shp(record: DataObject): FormRows {
  const { history, human_ref_A: a, human_ref_B: b } = record as Record<string, string>;
  const [chosen, rejected] = Number(record.labels) === 1 ? [a, b] : [b, a];
  const ratio = numberOf(record.score_ratio);
  const margin = ratio !== undefined && ratio > 0 ? Math.log(ratio) : undefined;
  const meta = metaOf(record, 'history', 'human_ref_A', 'human_ref_B', 'labels');
  return pair(question(history), chosen as string, rejected as string, meta, given('margin', margin));
}

export function helpsteer2(record: DataObject): FormRows {
  const { prompt, response_1: first, response_2: second } = record as Record<string, string>;
  const meta = metaOf(record, 'prompt', 'response_1', 'response_2', 'preference_strength');
  return bySign(question(prompt), first as string, second as string, Number(record.preference_strength), meta);
}

export function helpsteer3(record: DataObject): FormRows {
  const { response1: first, response2: second } = record as Record<string, string>;
  const meta = metaOf(record, 'context', 'response1', 'response2', 'overall_preference');
  return bySign(askedOf(record.context), first as string, second as string, Number(record.overall_preference), meta);
}

/** Comparisons of summaries by OpenAI: the prompt of its paper, and the post or article in `info`. */
export function summarize(record: DataObject): FormRows {
  const info = record.info as Record<string, string | undefined>;
  const [first, second] = (record.summaries as { text: string }[]).map(({ text }) => text) as [string, string];
  const [chosen, rejected] = Number(record.choice) === 0 ? [first, second] : [second, first];
  const confidence = numberOf((record.extra as DataObject | null | undefined)?.confidence);
  const annotator = typeof record.worker === 'string' ? record.worker : undefined;
  const lines = [
    ...(info.subreddit ? [`SUBREDDIT: r/${info.subreddit}`] : []),
    ...(info.title ? [`TITLE: ${info.title}`] : []),
    info.post ? `POST: ${info.post}` : `ARTICLE: ${info.article}`,
    'TL;DR:',
  ];
  if (!info.post && !info.article) return { skip: '"info" has neither post nor article' };
  const meta = metaOf(record, 'summaries', 'choice', 'worker');
  return pair(lines.join('\n'), chosen, rejected, meta, {
    ...given('confidence', confidence),
    ...given('annotator', annotator),
  });
}
