/** Samples with rewards: responses to prompts, each with a number that says how good it is. */
import { DataError } from '../errors.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { LengthLimits } from './fit.ts';
import { type Paths, pathsOf } from './records.ts';
import type { Skipped } from './row.ts';
import { loadRows, type RowOptions } from './token-rows.ts';

/** A response to a prompt, both as tokens, and its reward; higher is better. */
export interface ScoredSample {
  prompt: number[];
  response: number[];
  reward: number;
}

/** The samples of some files, and statistics of their rows. */
export interface Samples {
  samples: ScoredSample[];
  /** The number of samples with a truncated prompt, and with a truncated response. */
  cut: { prompts: number; responses: number };
  skipped: Skipped[];
}

/**
 * Reads samples from files with `{prompt, completion, reward}`, or any form that gives completions with rewards (docs/data.md).
 * Responses end with the tokenizer's eos, if it has one, unless they are truncated to fit.
 * @throws FileError if a file cannot be read or no row is usable.
 * @throws DataError for malformed rows, as `loadRows` does, and if a row has no reward.
 */
export async function loadSamples(
  paths: Paths,
  tokenizer: Tokenizer,
  limits: LengthLimits,
  options: RowOptions = {},
): Promise<Samples> {
  const { rows, cut, skipped } = await loadRows('completion', paths, tokenizer, withCuts(limits), options);
  const samples = rows.flatMap(({ prompt, response, reward }) =>
    reward === undefined ? [] : [{ prompt, response, reward }],
  );
  if (samples.length < rows.length) throw unrewarded(paths, rows.length - samples.length, rows.length);
  return { samples, cut, skipped };
}

/** Responses that are too long are cut; anything but limits is left for `loadRows` to refuse. */
function withCuts(limits: LengthLimits) {
  return typeof limits === 'object' && limits !== null ? { ...limits, overlong: 'cut' as const } : limits;
}

function unrewarded(paths: Paths, count: number, rows: number): DataError {
  return new DataError({
    argument: pathsOf(paths).join(', '),
    received: `${count} of ${rows} rows without "reward"`,
    expected: 'a number in "reward" of every row',
    fix: 'Leave out rows without a reward, or name the field that has it: --map reward=score.',
  });
}
