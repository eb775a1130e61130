import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import {
  type Fitted,
  type Preference,
  type PreferenceLimits,
  type Preferences,
  readPairs,
  unlessTied,
} from './preferences.ts';
import type { Row } from './row.ts';
import type { Paths } from './records.ts';

/**
 * Reads pairs as version 0.1.0 did, for runs that it started: a response is encoded as a separate text and ends with
 * the eos, the prompt is truncated first, down to one token, and truncated rows are compared.
 * @throws as loadPreferences does
 */
export async function loadPreferencesV1(
  path: Paths,
  tokenizer: Tokenizer,
  limits: PreferenceLimits,
): Promise<Preferences> {
  const end = tokenizer.eosToken === undefined ? [] : [tokenizer.eosToken];
  return await readPairs(
    path,
    { encode: (text) => tokenizer.encode(text) },
    (whole) => fitV1(whole, limits, end),
    (_, pair) => pair,
  );
}

function fitV1(
  { prompt, chosen, rejected }: Preference,
  { maxLength, maxPromptLength = maxLength }: PreferenceLimits,
  end: readonly number[],
): Row<Fitted> {
  const longest = Math.max(chosen.length, rejected.length) + end.length;
  const kept = prompt.slice(-Math.max(1, Math.min(maxPromptLength, maxLength - longest)));
  const max = maxLength - end.length - kept.length;
  const fitted = (response: number[]) => [...response.slice(0, max), ...end];
  const pair = { prompt: kept, chosen: fitted(chosen), rejected: fitted(rejected) };
  return unlessTied({ pair, promptCut: kept.length < prompt.length, responseCut: longest - end.length > max }, max);
}
