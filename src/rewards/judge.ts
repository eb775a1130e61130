/** Models that score answers, as their files say. */
import { ImplicitPRM } from '../models/implicit-prm.ts';
import type { DecoderDescription } from '../models/language-model.ts';
import { RewardModel } from '../models/reward-model.ts';
import type { ModelFile } from '../runs/model-file.ts';
import type { Judge } from '../trainers/combined-reward.ts';

/** The kinds of files that hold one. */
export const JUDGE_KINDS: readonly string[] = ['RewardModel', 'ImplicitPRM'];

/** Loads the model in a file of one of `JUDGE_KINDS`, or in one from elsewhere, which is a RewardModel. @throws FileError */
export async function loadJudge({ kind, path }: ModelFile, device: string): Promise<Judge> {
  return kind === 'ImplicitPRM' ? await ImplicitPRM.load(path, { device }) : await RewardModel.load(path, { device });
}

/** The trunks that such models keep in memory: an ImplicitPRM without adapters has a second one, its reference. */
export function trunksOf(models: readonly ModelFile[]): DecoderDescription[] {
  return models.flatMap(({ kind, decoder, scopes }) =>
    kind === 'ImplicitPRM' && scopes.length === 0 ? [decoder, decoder] : [decoder],
  );
}
