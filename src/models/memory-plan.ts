/**
 * Predicts the memory that the tensors of a run need, by the same sums as the code in native/. The process itself (Node.js,
 * libtorch, data) comes on top. docs/memory.md explains the items; test/memory-plan.test.ts measures them.
 */
import { COUNT, checkKinds, either, type Kind, LIST, NUMBER, optional } from '../checks/kinds.ts';
import { addon } from '../native/addon.ts';
import {
  BYTES,
  cacheItem,
  copyItem,
  type MemoryMoment,
  type MemoryPlan,
  nextTokenItem,
  type PlannedModel,
  planOf,
  rolloutItem,
  trainedItems,
  weightsItem,
} from './memory-items.ts';
import { Reading } from './memory-reading.ts';
import { checkTrained, type Trained } from './trained.ts';

const DTYPE: Kind = { is: (value) => Object.hasOwn(BYTES, String(value)), words: 'a dtype of weights' };
const LEVELS = ['none', 'selective', 'full'];
const RECOMPUTE: Kind = { is: (value) => LEVELS.includes(value as string), words: LEVELS.join(', ') };
const SIZES = { numTokens: COUNT, dim: COUNT, depth: COUNT, heads: COUNT, kvHeads: COUNT, dimHead: COUNT, ff: COUNT };
const MODEL = { ...SIZES, layers: LIST, attnDropout: NUMBER, ffDropout: NUMBER, recompute: RECOMPUTE, dtype: DTYPE };
type PlannedTexts = { batchSize: number; length: number } & Partial<Trained>;
export const LORA = either(COUNT, { is: (value) => value === false, words: 'false' });

export function checkModel(model: PlannedModel, argument = 'model'): void {
  checkKinds(argument, model, MODEL);
}

/** Plans `pretrain`, `sft` or any loop over a model's `loss` and AdamW: rows of `length` targets, `batchSize` at a time. */
export function planPretraining(model: PlannedModel, run: PlannedTexts): MemoryPlan {
  checkModel(model);
  checkKinds('planPretraining', run, { batchSize: COUNT, length: COUNT, lora: optional(LORA) });
  const trained = { ...run, lora: run.lora ?? false };
  checkTrained(trained, model.depth);
  const reading = new Reading(model, run.batchSize, run.length, trained);
  return planOf(
    [weightsItem('model', model), ...trainedItems(model, trained, 1)],
    [
      { name: 'computing the loss', items: [...reading.kept(), ...reading.head()] },
      { name: 'differentiating', items: [...reading.kept(), ...reading.backward()] },
    ],
  );
}

/** Plans `reward` on pairs, `batchSize` at a time: rows of up to `length` tokens. */
export function planReward(
  model: PlannedModel,
  run: { batchSize: number; length: number; lora: number | false; dropout: number },
): MemoryPlan {
  checkModel(model);
  checkKinds('planReward', run, { batchSize: COUNT, length: COUNT, lora: LORA, dropout: NUMBER });
  const { lora, dropout } = run;
  const read = { ...model, attnDropout: dropout, ffDropout: dropout };
  const reading = new Reading(read, 2 * run.batchSize, run.length, { lora });
  return planOf(
    [weightsItem('model', model), ...trainedItems(model, { lora }, 1)],
    [{ name: 'differentiating', items: [...reading.kept(), ...reading.backward()] }],
  );
}

/** Plans a policy that learns from pairs, or from single responses, `batchSize` at a time: up to `length` tokens each. */
export function planPreferences(
  model: PlannedModel,
  run: { batchSize: number; length: number; reference?: boolean; responses?: 1 | 2 } & Trained,
): MemoryPlan {
  checkModel(model);
  checkKinds('planPreferences', run, { batchSize: COUNT, length: COUNT, lora: LORA });
  checkTrained(run, model.depth);
  const { batchSize, length, lora, reference = true, responses = 2 } = run;
  const read = { ...model, attnDropout: 0, ffDropout: 0 };
  const reading = new Reading(read, responses * batchSize, length, run);
  return planOf(
    [
      weightsItem('model', model),
      ...trainedItems(model, run, 1),
      ...(lora === false && reference ? [copyItem('reference policy', model, run)] : []),
    ],
    [
      { name: 'differentiating the head', items: [...reading.kept(), ...reading.head()] },
      { name: 'differentiating layers', items: [...reading.kept(), ...reading.backward()] },
    ],
  );
}

/** Sizes of a PPO run, or of a similar run without a critic; prompts and responses have their max length. */
export interface PlannedPpo extends Trained {
  /** Prompts per iteration, and answers per prompt. */
  rolloutBatch: number;
  samplesPerPrompt: number;
  promptLength: number;
  maxNewTokens: number;
  minibatchSize: number;
  /** Whether there is a reference policy; with LoRA it takes no memory. */
  reference: boolean;
  /** Whether there is a critic. Defaults to true. */
  critic?: boolean | undefined;
  /** The trunks of the reward models; none if a function scores the answers. */
  reward?: PlannedModel | readonly PlannedModel[] | undefined;
}

const PPO_SIZES = {
  rolloutBatch: COUNT,
  samplesPerPrompt: COUNT,
  promptLength: COUNT,
  maxNewTokens: COUNT,
  minibatchSize: COUNT,
  lora: LORA,
};

/** Plans `ppo` with an actor-critic of `model`; with `critic: false`, a method whose policy has no critic. */
export function planPpo(model: PlannedModel, run: PlannedPpo): MemoryPlan {
  checkModel(model);
  checkKinds('planPpo', run, PPO_SIZES);
  checkTrained(run, model.depth);
  const judges = [run.reward ?? []].flat();
  for (const judge of judges) checkModel(judge, 'reward');
  const { critic = true } = run;
  const items = [weightsItem('model', model), ...trainedItems(model, run, critic ? 2 : 1)];
  if (run.lora === false && run.reference) items.push(copyItem('reference policy', model, run));
  items.push(...judges.map((judge) => weightsItem('reward model', judge)));
  if (model.device === 'cpu' && addon().decoderFallbacks(model).decoding === undefined) {
    const matrices = { ...model, positions: undefined };
    items.push(weightsItem('weights for decoding', matrices, 'its matrices again, in panels'));
  }
  return planOf(items, ppoMoments(model, run, judges));
}

function ppoMoments(model: PlannedModel, run: PlannedPpo, judges: readonly PlannedModel[]): MemoryMoment[] {
  const rows = run.rolloutBatch * run.samplesPerPrompt;
  const length = run.promptLength + run.maxNewTokens;
  const readings = run.lora === false || run.critic === false ? 1 : 2; // actor and critic each run a forward pass
  const read = (of: PlannedModel, batch: number, tokens: number) =>
    new Reading({ ...of, attnDropout: 0, ffDropout: 0 }, batch, tokens, run); // PPO refuses dropout
  const prompts = read(model, run.rolloutBatch, run.promptLength);
  const answers = read(model, run.minibatchSize, length);
  const promptCache = cacheItem('cache of prompts', model, run.rolloutBatch, length);
  const cache = cacheItem('cache of answers', model, rows, 32 * Math.ceil(length / 32)); // stored in panels
  const rollout = rolloutItem(rows, length);
  return [
    { name: 'reading prompts', items: [promptCache, ...prompts.forward()] },
    { name: 'sampling', items: [promptCache, cache, nextTokenItem(model, rows)] },
    { name: 'reading answers', items: [rollout, ...answers.forward()] },
    ...judges.map((of) => ({ name: 'scoring', items: [rollout, ...read(of, run.minibatchSize, length).forward()] })),
    { name: 'differentiating the head', items: [rollout, ...answers.kept(readings), ...answers.head()] },
    { name: 'differentiating layers', items: [rollout, ...answers.kept(readings), ...answers.backward()] },
  ];
}
