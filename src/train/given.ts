/** What `train` is given, typed by what each method learns from. */
import type { CpoConfigInput } from '../config/cpo.ts';
import type { DpoConfigInput } from '../config/dpo.ts';
import type { FlowrlConfigInput } from '../config/flowrl.ts';
import type { GrpoConfigInput } from '../config/grpo.ts';
import type { IlqlConfigInput } from '../config/ilql.ts';
import type { ImplicitPrmConfigInput } from '../config/implicit-prm.ts';
import type { KtoConfigInput } from '../config/kto.ts';
import type { OnlineDpoConfigInput } from '../config/online-dpo.ts';
import type { OrpoConfigInput } from '../config/orpo.ts';
import type { PpoConfigInput } from '../config/ppo.ts';
import type { ProcessRewardConfigInput } from '../config/process-reward.ts';
import type { ReinforceConfigInput } from '../config/reinforce.ts';
import type { RemaxConfigInput } from '../config/remax.ts';
import type { RewardConfigInput } from '../config/reward.ts';
import type { RftConfigInput } from '../config/rft.ts';
import type { RlooConfigInput } from '../config/rloo.ts';
import type { SftConfigInput } from '../config/sft.ts';
import type { SimpoConfigInput } from '../config/simpo.ts';
import type { TargetPolicyConfigInput } from '../config/target-policy.ts';
import type { ChatMessage } from '../tokenizer/chat/messages.ts';
import type { TextReward } from '../rewards/text-reward.ts';
import type { methods } from '../methods.ts';

/** The options of each method that `train` knows. A new method is a line here and a word in METHODS. */
interface Options {
  ppo: PpoConfigInput;
  grpo: GrpoConfigInput;
  rloo: RlooConfigInput;
  'online-dpo': OnlineDpoConfigInput;
  reinforce: ReinforceConfigInput;
  remax: RemaxConfigInput;
  'target-policy': TargetPolicyConfigInput;
  flowrl: FlowrlConfigInput;
  rft: RftConfigInput;
  dpo: DpoConfigInput;
  orpo: OrpoConfigInput;
  simpo: SimpoConfigInput;
  cpo: CpoConfigInput;
  reward: RewardConfigInput;
  sft: SftConfigInput;
  ilql: IlqlConfigInput;
  kto: KtoConfigInput;
  'implicit-prm': ImplicitPrmConfigInput;
  'process-reward': ProcessRewardConfigInput;
}

/** The methods by what they learn from, the default first. */
export const METHODS = {
  reward: ['ppo', 'grpo', 'rloo', 'reinforce', 'remax', 'target-policy', 'flowrl', 'online-dpo', 'rft'],
  comparisons: ['dpo', 'orpo', 'simpo', 'cpo', 'reward'],
  ratings: ['reward'],
  samples: ['sft', 'ilql'],
  rewards: ['ilql'],
  labels: ['kto', 'implicit-prm'],
  steps: ['process-reward'],
} as const satisfies Readonly<Record<string, readonly (keyof Options & keyof typeof methods)[]>>;

export type Feedback = keyof typeof METHODS;
export type MethodName = keyof Options;

/** The options of one method, with its name, which the default method may omit. */
type Named<Name extends MethodName, Default> = Omit<Options[Name], 'device' | 'checkpoint'> &
  (Name extends Default ? { method?: Name } : { method: Name });
/** The options of any method of a kind. */
type ConfigOf<Kind extends Feedback> = {
  [Name in (typeof METHODS)[Kind][number]]: Named<Name, (typeof METHODS)[Kind][0]>;
}[(typeof METHODS)[Kind][number]];

/** Rows in memory, or a file of them, in the forms that the commands read (docs/cli.md). */
export type Rows<Row> = readonly Row[] | { file: string };
/** A text, or messages that the model's chat template writes. */
export type TextOrMessages = string | readonly ChatMessage[];
/** A prompt, by itself or in a row; what else the row has reaches reward functions as `meta`. */
export type PromptRow = TextOrMessages | { prompt: TextOrMessages; [meta: string]: unknown };
/** A prompt with a preferred and a rejected response. */
export interface Comparison {
  prompt: TextOrMessages;
  chosen: TextOrMessages;
  rejected: TextOrMessages;
}

/** A prompt with a response and how good somebody found it, as a number. */
export interface RatingRow {
  prompt: TextOrMessages;
  response: TextOrMessages;
  rating: number;
}

/** A prompt with a response; `ilql` needs the reward too. */
export interface SampleRow {
  prompt: TextOrMessages;
  completion: TextOrMessages;
  reward?: number;
}
/** A conversation, of which a model learns what the assistant says. */
export interface DialogueRow {
  messages: readonly ChatMessage[];
}
/** A prompt with a response that is good, or is not. */
export interface LabelRow {
  prompt: TextOrMessages;
  completion: TextOrMessages;
  label: boolean;
}
/** A prompt with a response in steps, and whether each is right; null if nobody has said. */
export interface StepsRow {
  prompt: TextOrMessages;
  completions: readonly string[];
  labels: readonly (boolean | 'neutral' | null)[];
}

/** What scores answers: a function of texts, a reward model (a run folder or a file), or a server. */
export type RewardGiven = TextReward | { model: string } | { url: string; headers?: Readonly<Record<string, string>> };
/** One of several rewards; its mean score is the metric `score.NAME`. */
export interface RewardPart {
  reward: RewardGiven;
  name?: string;
  /** Of the sum; defaults to 1. */
  weight?: number;
}

/** What every training is given. */
export interface Common {
  /** The model to train: a run folder, a checkpoint folder or a model file. Its adapters are merged. */
  model: string;
  /** `byte`, or the path of a tokenizer.json. Defaults to the model's. */
  tokenizer?: string;
  /** `cpu`, `cuda` or `cuda:N`. Defaults to `cpu`. */
  device?: string;
  /** Ends the training; its reason is thrown. */
  signal?: AbortSignal;
}

/** No other kind of feedback than `Kind`, nor what only others use. */
type Only<Kind extends string> = {
  [Name in Exclude<Feedback | 'heldOutReward' | 'prompts' | 'validation' | 'stop', Kind>]?: never;
};

/** A policy learns from the scores of its own answers, by PPO unless another method is named. */
export type Online = Common & {
  reward: RewardGiven | readonly RewardPart[];
  /** Scores the answers, too, and nothing is learned from it: what the guards of the run compare `reward` with. */
  heldOutReward?: RewardGiven;
  prompts: Rows<PromptRow>;
  /** Text that ends a response, in addition to the eos. */
  stop?: string;
  config?: ConfigOf<'reward'>;
} & Only<'reward' | 'heldOutReward' | 'prompts' | 'stop'>;

/** A policy learns from preferences by DPO, or a reward model does. */
export type Preferences = Common & {
  comparisons: Rows<Comparison>;
  /** Held-out comparisons. Defaults to some of the prompts. */
  validation?: Rows<Comparison>;
  config?: ConfigOf<'comparisons'>;
} & Only<'comparisons' | 'validation'>;

/** A reward model learns how good responses are. */
export type Ratings = Common & {
  ratings: Rows<RatingRow>;
  /** Held-out rows. Defaults to some of the prompts. */
  validation?: Rows<RatingRow>;
  config?: ConfigOf<'ratings'>;
} & Only<'ratings' | 'validation'>;

/** A model learns responses by supervised fine-tuning, or by ILQL from rows with rewards. */
export type Samples = Common & {
  samples: Rows<SampleRow | DialogueRow>;
  /** Held-out rows. Defaults to some of the prompts. ILQL takes none. */
  validation?: Rows<SampleRow | DialogueRow>;
  config?: ConfigOf<'samples'>;
} & Only<'samples' | 'validation'>;

/** A policy learns from responses and a reward for each, by ILQL. */
export type Rewarded = Common & {
  samples: readonly SampleRow[];
  rewards: readonly number[];
  config?: ConfigOf<'rewards'>;
} & Only<'samples' | 'rewards'>;

/** A policy learns from responses labelled good or bad, by KTO, or becomes a reward for every token. */
export type Labels = Common & {
  labels: Rows<LabelRow>;
  /** Held-out rows. Defaults to some of the prompts. */
  validation?: Rows<LabelRow>;
  config?: ConfigOf<'labels'>;
} & Only<'labels' | 'validation'>;

/** A reward model learns which steps are right. */
export type Steps = Common & {
  steps: Rows<StepsRow>;
  /** Held-out rows. Defaults to some of the prompts. */
  validation?: Rows<StepsRow>;
  config?: ConfigOf<'steps'>;
} & Only<'steps' | 'validation'>;

export type Given = Online | Preferences | Ratings | Samples | Rewarded | Labels | Steps;
