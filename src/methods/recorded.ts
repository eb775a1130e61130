/** What methods that train a policy on recorded feedback have in common: how they are opened and assembled. */
import type * as z from 'zod';
import { path } from '../config/fields.ts';
import { chatTemplate, loadedDtype, MODEL, out, tokenizer } from '../config/inputs.ts';
import type { policyLearning } from '../config/pairs.ts';
import { Batches } from '../data/batches.ts';
import type { Label } from '../data/labels.ts';
import type { Preference } from '../data/preferences.ts';
import type { Paths } from '../data/records.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planPreferences } from '../models/memory-plan.ts';
import { Policy } from '../models/policy.ts';
import { type LoadedDtype, loadModel, MODEL_KINDS } from '../models/registry.ts';
import { findModelOf, loadingOf, type ModelText, textOf } from '../runs/model-file.ts';
import { pairSteps } from '../trainers/pairs.ts';
import type { RunningMean } from '../trainers/log-ratios.ts';
import type { PolicyPairParts } from '../trainers/recorded.ts';
import type { SamplePrompts } from '../trainers/samples.ts';
import { defaultPolicyRate } from '../trainers/schedule.ts';
import type { Assembled, Opened, RunConfig } from './method.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { loadLabels, loadPairs } from './preferences.ts';

/** The fields of a schema that name the model, the files of `data`, the run folder and the tokenizer. */
export function policyFiles<Data extends z.ZodRawShape>(data: Data, purpose = 'train') {
  const model = path.describe(`model to ${purpose}: ${MODEL}`);
  return { model, dtype: loadedDtype, ...data, out, tokenizer, chatTemplate };
}

/** The options of all such methods. */
type Learning = z.output<z.ZodObject<ReturnType<typeof policyLearning>>> & {
  epochs: number;
  batchSize: number;
  accumulate: number;
};

/** The ingredients of a method that learns from pairs. */
export interface PairIngredients {
  /** The model to train; with LoRA its weights do not change. */
  model: LanguageModel;
  pairs: readonly Preference[];
  /** Held-out pairs; without them there are no validation metrics. */
  validation?: readonly Preference[] | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

/** The ingredients of a method that learns from labelled responses. */
export interface LabelIngredients {
  /** The model to train; with LoRA its weights do not change. */
  model: LanguageModel;
  labels: readonly Label[];
  /** Held-out labelled responses; without them there are no validation metrics. */
  validation?: readonly Label[] | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

/**
 * The policy that `create` makes, which the caller must dispose of, its optimizer, and batches of `rows` rows. `config` has the
 * learning rate filled in.
 */
export function assemblePolicy<C extends Learning, P extends Policy>(
  given: C,
  { rows, what, create }: { rows: number; what: string; create: () => P },
) {
  const { batchSize, seed } = given;
  const steps = pairSteps(rows, given, what);
  const policy = create();
  const lr = given.lr ?? defaultPolicyRate(policy);
  const optimizer = optimizerOf(policy.parameters(), { ...given.optimisation, lr });
  const batches = new Batches({ size: rows, batchSize, seed });
  return { config: { ...given, lr }, steps, policy, optimizer, batches };
}

/** Assembles a method that learns from pairs by its generator `train`. */
export function assemblePairs<C extends Learning, Step extends { step: number }>(
  given: C,
  { model, pairs, validation, samples }: PairIngredients,
  {
    reference,
    rewardMean,
    train,
  }: {
    reference: boolean;
    rewardMean?: RunningMean | undefined;
    train: (
      parts: PolicyPairParts & { rewardMean?: RunningMean | undefined },
      config: C,
      start: number,
    ) => AsyncGenerator<Step>;
  },
) {
  const { lora, seed } = given;
  const { numLayersUnfrozen } = given.optimisation;
  const { config, steps, policy, optimizer, batches } = assemblePolicy(given, {
    rows: pairs.length,
    what: 'pairs',
    create: () => new Policy(model, { lora, seed, reference, numLayersUnfrozen }),
  });
  return {
    config,
    steps,
    parts: { weights: policy, optimizer, batches, rewardMean },
    train: (start = 0) => train({ policy, optimizer, batches, pairs, validation, samples, rewardMean }, config, start),
  };
}

/** The fields of a configuration that name files. */
interface Files {
  model: string;
  dtype?: LoadedDtype | undefined;
  data: Paths;
  validation?: Paths | undefined;
  tokenizer?: string | undefined;
  chatTemplate?: string | undefined;
}

/** What was read of the files of a method, besides the rows themselves. */
interface Read {
  rows: Record<string, number>;
  notices: string[];
  longest: number;
  validation: readonly { prompt: number[] }[];
}

/** Tokens of the answers that a run shows. */
export const SAMPLE_TOKENS = 64;

/** The first `count` different prompts. */
export function promptsOf(rows: Read['validation'], count: number): number[][] {
  const different = new Map(rows.map(({ prompt }) => [prompt.join(), prompt]));
  return [...different.values()].filter(({ length }) => length > 0).slice(0, count);
}

/** Opens a method that trains a policy on the rows that `load` reads; `plan` and `assemble` are the method's own. */
export async function openPolicy<C extends Learning & Files & RunConfig, Rows extends Read>(
  config: C,
  method: {
    load: (config: C, text: ModelText) => Promise<Rows>;
    plan: { reference: boolean; responses: 1 | 2 };
    assemble: (
      config: C,
      model: LanguageModel,
      rows: Rows,
      samples: SamplePrompts,
    ) => Assembled & { config: C; parts: { weights: Policy } };
    sizes: (rows: Rows) => Record<string, number>;
  },
): Promise<Opened> {
  const { device, lora, batchSize } = config;
  const { numLayersUnfrozen } = config.optimisation;
  const file = await findModelOf(config.model, MODEL_KINDS, config);
  const tokenizer = await textOf(config, file);
  const loaded = await method.load(config, tokenizer);
  const { rows, notices, longest: length } = loaded;
  const samples = { prompts: promptsOf(loaded.validation, 2), maxNewTokens: SAMPLE_TOKENS, tokenizer };
  return {
    plan: planPreferences(file.decoder, { batchSize, length, lora, numLayersUnfrozen, ...method.plan }),
    notices,
    async start() {
      const assembled = method.assemble(
        config,
        await loadModel(file.path, loadingOf(file, tokenizer, device)),
        loaded,
        samples,
      );
      const parameters = countNumbers(assembled.parts.weights.parameters());
      return {
        ...assembled,
        tokenizer,
        inputs: { data: config.data, validation: config.validation, model: file.path },
        rows,
        sizes: { 'trainable parameters': parameters, ...method.sizes(loaded) },
      };
    },
  };
}

/** Opens a method that learns from pairs. */
export function openPairs<C extends Learning & Files & RunConfig & Parameters<typeof loadPairs>[0]>(
  config: C,
  reference: boolean,
  assemble: (config: C, ingredients: PairIngredients) => Assembled & { config: C; parts: { weights: Policy } },
): Promise<Opened> {
  return openPolicy(config, {
    load: loadPairs,
    plan: { reference, responses: 2 },
    assemble: (given, model, { pairs, validation }, samples) => assemble(given, { model, pairs, validation, samples }),
    sizes: ({ pairs, validation }) => ({ pairs: pairs.length, 'held out': validation.length }),
  });
}

/** Opens a method that learns from labelled responses; its policy has a reference. */
export function openLabels<C extends Learning & Files & RunConfig & Parameters<typeof loadLabels>[0]>(
  config: C,
  assemble: (config: C, ingredients: LabelIngredients) => Assembled & { config: C; parts: { weights: Policy } },
): Promise<Opened> {
  return openPolicy(config, {
    load: loadLabels,
    plan: { reference: true, responses: 1 },
    assemble: (given, model, { labels, validation }, samples) =>
      assemble(given, { model, labels, validation, samples }),
    sizes: ({ labels, validation }) => ({ 'labelled responses': labels.length, 'held out': validation.length }),
  });
}
