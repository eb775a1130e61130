/**
 * PPO-ptx (Ouyang et al. 2022, eq. 2): text whose next-token loss is added to that of the policy, so that it does not unlearn what it
 * was pretrained on.
 */
import { checkKinds, optional, type Kind } from '../checks/kinds.ts';
import type { PpoConfig } from '../config/ppo.ts';
import type { Batches } from '../data/batches.ts';
import type { Sequences } from '../data/text.ts';
import { ArgumentError } from '../errors.ts';
import type { Policy } from '../models/policy.ts';
import { BATCHES, SEQUENCES } from './parts.ts';
import { countTargets, separated, textLoss } from './text-rows.ts';
import type { Beside } from './update.ts';

/** Text to mix in. */
export interface PretrainingText {
  text: Sequences;
  /** Selects the next rows of `text`, `loss.pretraining.batchSize` at a time. */
  batches: Batches;
}

/** The kind of an optional `PretrainingText`, for `checkKinds`. */
export const PRETRAINING_TEXT: Kind = optional({
  is: (value) => {
    checkKinds('pretraining', value, { text: SEQUENCES, batches: BATCHES });
    return true;
  },
  words: '{ text, batches }',
});

/** @throws ArgumentError for text without its weight, or a weight without text. */
export function checkPretraining(mix: PretrainingText | undefined, { loss }: Pick<PpoConfig, 'loss'>): void {
  if ((mix === undefined) === (loss.pretraining === undefined)) return;
  const [received, expected] =
    mix === undefined
      ? ['nothing', 'text and its batches, for config.loss.pretraining']
      : ['text', 'nothing without config.loss.pretraining'];
  throw new ArgumentError({ argument: 'parts.pretraining', received, expected });
}

/** The next rows of text, and `weight` times the policy's mean loss per token on them. */
export function nextText({ text, batches }: PretrainingText, policy: Policy, weight: number): Beside {
  const rows = text.rows(batches.next());
  const denominator = countTargets(rows, policy.model.decoder.ignoreIndex) / weight;
  const [scope] = policy.scopes;
  return { rows: separated(rows), lossOf: (some) => textLoss(policy.model, some, { denominator, scope }) };
}
