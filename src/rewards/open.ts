/** From the setting `reward` to what scores answers. */
import { basename, dirname, extname } from 'node:path';
import type { PpoConfig } from '../config/ppo.ts';
import type { RewardSource, WeightedSource } from '../config/reward-source.ts';
import { ArgumentError } from '../errors.ts';
import { findModelOf, type ModelFile } from '../runs/model-file.ts';
import { isModule } from '../runs/run-note.ts';
import { CombinedReward, type Judge, type Reward, type RewardFunction } from '../trainers/combined-reward.ts';
import { JUDGE_KINDS, loadJudge } from './judge.ts';
import { hashOf, loadModule } from './module.ts';
import { isUrl, serverReward } from './server.ts';
import { ofTexts, type TextReward } from './text-reward.ts';

/** A reward whose files have been found and checked; no model exists yet. */
export interface OpenedReward {
  /** Its reward models. */
  models: readonly ModelFile[];
  /** The files that its scores depend on, by the name that a run notes them under. */
  inputs: Readonly<Record<string, string>>;
  /** Loads the models. */
  load(device: string): Promise<Reward>;
}

/** What a program may give in place of a path or a URL. */
export type GivenReward = TextReward | { url: string; headers?: Readonly<Record<string, string>> };
type From = string | GivenReward;
type Source = Omit<WeightedSource, 'from'> & { from: From };
/** The setting of a command, or what a program gives. */
export type AnyRewardSource = RewardSource | GivenReward | readonly (string | Source)[];

/** How answers are scored: the part of a configuration that is used here. */
type Scoring = Pick<PpoConfig['score'], 'timeout' | 'combine' | 'disagreement'>;

/** One source, opened: a model's file, or a function, with the file that it depends on. */
type Opened = { model: ModelFile; file: string } | { reward: RewardFunction; file?: string };

/** The share of `score.timeout` that a try of a server may take: there are three, with pauses between them. */
const SHARE = 1 / 4;

/**
 * Finds what `source` names, without loading a model; modules are loaded.
 * @throws FileError for a file that is missing or damaged.
 * @throws ArgumentError for a model that is no reward model, a module without a function, or a URL that is not allowed.
 */
export async function openReward(source: AnyRewardSource, scoring: Scoring): Promise<OpenedReward> {
  const several = Array.isArray(source);
  const sources: Source[] = several
    ? source.map((each: string | Source) => (typeof each === 'string' ? { from: each } : each))
    : [{ from: source as From }];
  checkScoring(scoring, sources.length);
  const names = namesOf(sources);
  const opened: Opened[] = [];
  for (const { from, sha256 } of sources) {
    if (sha256 !== undefined) checkHash(from, sha256);
    opened.push(await openOne(from, scoring.timeout));
  }
  const key = (i: number) => (several ? `reward.${names[i]}` : 'reward');
  return {
    models: opened.flatMap((one) => ('model' in one ? [one.model] : [])),
    inputs: Object.fromEntries(opened.flatMap(({ file }, i) => (file === undefined ? [] : [[key(i), file]]))),
    async load(device) {
      const rewards: (Judge | RewardFunction)[] = [];
      for (const one of opened) rewards.push('model' in one ? await loadJudge(one.model, device) : one.reward);
      if (!several) return rewards[0] as Judge | RewardFunction;
      const named = rewards.map((reward, i) => ({ name: names[i] as string, weight: sources[i]?.weight, reward }));
      const { combine, disagreement } = scoring;
      return new CombinedReward(named, { combine, disagreement });
    },
  };
}

async function openOne(from: From, timeout: number): Promise<Opened> {
  if (typeof from === 'function') return { reward: ofTexts(from) };
  if (typeof from === 'object') {
    const { url, headers } = from;
    return { reward: ofTexts(serverReward(url, { headers, timeout: timeout * SHARE })) };
  }
  if (isUrl(from)) return await openOne({ url: from }, timeout);
  if (isModule(from)) return { reward: ofTexts(await loadModule(from)), file: from };
  const model = await findModelOf(from, JUDGE_KINDS);
  return { model, file: model.path };
}

/** @throws ArgumentError if `from` is no module, or one with another hash: the run would learn something else. */
function checkHash(from: From, sha256: string): void {
  if (typeof from !== 'string' || isUrl(from) || !isModule(from)) {
    const [received, expected] = ['a hash of what is no module', 'no sha256'];
    throw new ArgumentError({ argument: 'reward.sha256', received, expected });
  }
  const found = hashOf(from);
  if (found.startsWith(sha256)) return;
  throw new ArgumentError({
    argument: from,
    received: `sha256 ${found.slice(0, 12)}`,
    expected: `${sha256.slice(0, 12)}, which the configuration names`,
    fix: 'Restore the module, or change sha256 if the new one is meant.',
  });
}

function checkScoring({ combine, disagreement }: Scoring, sources: number): void {
  const unused =
    sources > 1 ? undefined : Object.entries({ combine, disagreement }).find(([, value]) => value !== undefined);
  if (unused === undefined) return;
  throw new ArgumentError({
    argument: `score.${unused[0]}`,
    received: `${unused[1]} for a single reward`,
    expected: 'several rewards, or nothing',
  });
}

/** A name for each source: its own, or else one from its path, numbered if another has it. */
function namesOf(sources: readonly Source[]): string[] {
  const names: string[] = [];
  for (const { from, name } of sources) {
    const stem = nameOf(from);
    let unique = name ?? stem;
    for (let n = 2; name === undefined && names.includes(unique); n++) unique = `${stem}-${n}`;
    names.push(unique);
  }
  return names;
}

function nameOf(from: From): string {
  if (typeof from === 'function') return 'function';
  if (typeof from === 'object') return nameOf(from.url);
  if (isUrl(from)) return new URL(from).hostname.replace(/[^\w.-]/g, '');
  const stem = basename(from, extname(from));
  const place = stem === 'model' && from.endsWith('.safetensors') ? basename(dirname(from)) : stem;
  return place.replace(/[^\w.-]/g, '_') || 'reward';
}
