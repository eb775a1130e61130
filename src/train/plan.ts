/** What `train` does with what it is given: the method that follows from it, its rows, and what is refused in words. */
import { checkKinds, LIST, optional, PATH, SIGNAL, TEXT } from '../checks/kinds.ts';
import { checkObject, checkOptions } from '../checks/options.ts';
import { ArgumentError, printable } from '../errors.ts';
import type { AnyRewardSource, GivenReward } from '../rewards/open.ts';
import {
  type Common,
  type Feedback,
  type Given,
  METHODS,
  type MethodName,
  type Online,
  type RewardGiven,
  type RewardPart,
} from './given.ts';
import { checkRows, type Fields, type GivenRows } from './rows.ts';

/** What is given, checked, with the method that follows from it. */
export interface Plan {
  name: MethodName;
  given: Common & { stop?: string };
  rows: { data: GivenRows; validation: GivenRows | undefined };
  config: Record<string, unknown>;
  reward: AnyRewardSource | undefined;
  heldOut: AnyRewardSource | undefined;
}

const SAMPLE: Fields = { prompt: 'text or messages', completion: 'text or messages' };
const DIALOGUE: Fields = { messages: 'a list' };

/** The keys that belong to each kind of feedback, and the shapes of its rows. */
const KINDS: Readonly<
  Record<Feedback, { keys: readonly string[]; rows: keyof AllRows; shapes: readonly [Fields, ...Fields[]] }>
> = {
  reward: {
    keys: ['reward', 'heldOutReward', 'prompts', 'stop'],
    rows: 'prompts',
    shapes: [{ prompt: 'text or messages' }],
  },
  comparisons: {
    keys: ['comparisons', 'validation'],
    rows: 'comparisons',
    shapes: [{ prompt: 'text or messages', chosen: 'text or messages', rejected: 'text or messages' }],
  },
  ratings: {
    keys: ['ratings', 'validation'],
    rows: 'ratings',
    shapes: [{ prompt: 'text or messages', response: 'text or messages', rating: 'a finite number' }],
  },
  samples: { keys: ['samples', 'validation'], rows: 'samples', shapes: [SAMPLE, DIALOGUE] },
  rewards: { keys: ['samples', 'rewards'], rows: 'samples', shapes: [SAMPLE] },
  labels: { keys: ['labels', 'validation'], rows: 'labels', shapes: [{ ...SAMPLE, label: 'true or false' }] },
  steps: {
    keys: ['steps', 'validation'],
    rows: 'steps',
    shapes: [{ prompt: 'text or messages', completions: 'a list', labels: 'a list' }],
  },
};

/** Everything that may be given as rows. */
type AllRows = Partial<
  Record<'prompts' | 'comparisons' | 'ratings' | 'samples' | 'labels' | 'steps' | 'validation', GivenRows>
>;

/** @throws ArgumentError for feedback that is missing, does not go together, or is not of its kind */
export function checkGiven(given: Given): Plan {
  checkObject(given, 'train', 'an object with a model and what it learns from');
  const kind = feedbackOf(given);
  checkOptions(given, ['model', 'tokenizer', 'device', 'signal', 'config', ...KINDS[kind].keys], 'train');
  const texts = { model: PATH, tokenizer: optional(PATH), device: optional(TEXT), signal: optional(SIGNAL) };
  checkKinds('train', given, texts);
  const { config = {} } = given;
  checkObject(config, 'train.config');
  const { method = METHODS[kind][0], ...options } = config as { method?: string };
  const known: readonly string[] = METHODS[kind];
  if (!known.includes(method)) {
    const expected = `one of ${known.join(', ')}, which learn from ${kind}`;
    throw new ArgumentError({ argument: 'train.config.method', received: printable(method), expected });
  }
  const { reward: from, heldOutReward } = given as Online;
  const reward = kind === 'reward' ? checkReward(from) : undefined;
  const heldOut = heldOutReward && sourceOf(heldOutReward, 'train.heldOutReward');
  return { name: method as MethodName, given, rows: checkAllRows(given, kind), config: options, reward, heldOut };
}

/** What the model is to learn from. @throws ArgumentError for none or several kinds. */
function feedbackOf(given: object): Feedback {
  const names = (Object.keys(METHODS) as Feedback[]).filter(
    (name) => (given as Record<string, unknown>)[name] !== undefined,
  );
  const kinds = names.includes('rewards') ? names.filter((name) => name !== 'samples') : names;
  const [kind, other] = kinds;
  if (kind !== undefined && other === undefined) return kind;
  throw new ArgumentError({
    argument: 'train',
    received: kind === undefined ? 'nothing to learn from' : `${kinds.join(' and ')}, two kinds of feedback`,
    expected: `one of ${Object.keys(METHODS).join(', ')}`,
    fix: 'Give { reward, prompts }, or one of { comparisons }, { ratings }, { samples }, { samples, rewards }, { labels }, { steps }.',
  });
}

function checkAllRows(given: Given, kind: Feedback): Plan['rows'] {
  const { rows: name, shapes } = KINDS[kind];
  const { [name]: found, validation } = given as AllRows;
  if (found === undefined) {
    const expected = `${name}, as ${kind} needs them`;
    throw new ArgumentError({ argument: `train.${name}`, received: 'nothing', expected });
  }
  const data = kind === 'reward' ? promptRows(found) : found;
  checkRows(`train.${name}`, data, shapes);
  if (validation !== undefined) checkRows('train.validation', validation, shapes);
  return { data: kind === 'rewards' ? withRewards(data, (given as { rewards: unknown }).rewards) : data, validation };
}

/** Prompts as rows. */
function promptRows(prompts: GivenRows): GivenRows {
  if (!Array.isArray(prompts)) return prompts;
  return prompts.map((row) => (typeof row === 'string' || Array.isArray(row) ? { prompt: row } : row));
}

/** Samples in memory with the rewards for them. @throws ArgumentError unless there is a number for each */
function withRewards(samples: GivenRows, rewards: unknown): GivenRows {
  checkKinds('train', { samples, rewards }, { samples: LIST, rewards: LIST });
  const [rows, numbers] = [samples, rewards] as [object[], unknown[]];
  if (numbers.length !== rows.length) {
    const expected = `${rows.length}, one for each of samples`;
    throw new ArgumentError({ argument: 'train.rewards', received: `${numbers.length} rewards`, expected });
  }
  const wrong = numbers.findIndex((reward) => !Number.isFinite(reward));
  if (wrong < 0) return rows.map((row, i) => ({ ...row, reward: numbers[i] }));
  const received = printable(numbers[wrong]);
  throw new ArgumentError({ argument: `train.rewards[${wrong}]`, received, expected: 'a finite number' });
}

function checkReward(reward: Online['reward']): AnyRewardSource {
  if (!Array.isArray(reward)) return sourceOf(reward as RewardGiven, 'train.reward');
  return (reward as readonly RewardPart[]).map((part, i) => {
    const { reward: from, name, weight } = Object(part) as RewardPart;
    return { from: sourceOf(from, `train.reward[${i}].reward`), name, weight };
  });
}

function sourceOf(reward: RewardGiven, argument: string): string | GivenReward {
  if (typeof reward === 'function') return reward;
  const { model, url } = Object(reward) as { model?: unknown; url?: unknown };
  if (typeof url === 'string') return reward as { url: string };
  if (typeof model === 'string') return model;
  const expected = 'a function of answers, { model } or { url }';
  throw new ArgumentError({ argument, received: printable(reward), expected });
}
