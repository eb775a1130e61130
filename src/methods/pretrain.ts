/** Pretraining: trains a new model on text. */
import * as z from 'zod';
import { file } from '../config/fields.ts';
import { out, rules } from '../config/inputs.ts';
import { type PretrainConfig, pretrainConfig } from '../config/pretrain.ts';
import { Batches } from '../data/batches.ts';
import { loadDocuments } from '../data/documents.ts';
import { kindOfText } from '../data/jsonl.ts';
import { holdOut, loadText, type Sequences, Windows } from '../data/text.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planPretraining } from '../models/memory-plan.ts';
import { createModel, describeModel } from '../models/registry.ts';
import { loadTokenizer } from '../tokenizer/load.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { SamplePrompts } from '../trainers/samples.ts';
import { pretrain } from '../trainers/pretrain.ts';
import type { Method, Opened } from './method.ts';
import { skippedRows, warning } from './notices.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';

const schema = z.strictObject({
  data: file.describe('training text, or .jsonl with preferences, whose chosen side is used'),
  out,
  rules,
  ...pretrainConfig.shape,
});
type Config = z.output<typeof schema>;

/** Tokens of the prompts and answers that a run shows. */
const PROMPT_TOKENS = 16;
const SAMPLE_TOKENS = 64;

/** The ingredients of pretraining. */
export interface PretrainIngredients {
  model: LanguageModel;
  text: Sequences;
  /** Held-out text; without it there is no `validationLoss`. */
  validation?: Sequences | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

export const pretrainMethod = {
  summary: 'train a new model on text',
  watched: ['loss', 'validationLoss', 'gradNorm', 'learningRate'],
  schema,
  before: (saved) => ({ rules: 'v1', ...saved }),
  open,
  assemble,
} satisfies Method<typeof schema>;

function assemble(config: PretrainConfig, { model, text, validation, samples }: PretrainIngredients) {
  const { steps, batchSize, seed } = config;
  const batches = new Batches({ size: text.size, batchSize, seed });
  const optimizer = optimizerOf(model.parameters(), config);
  return {
    steps,
    parts: { weights: model, optimizer, batches },
    train: (start = 0) => pretrain({ model, optimizer, text, batches, validation, samples }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  const { sequenceLength, batchSize, seed, device, dtype } = config;
  const tokenizer = await loadTokenizer(config.tokenizer);
  const { tokens, notices } = await load(config, tokenizer);
  const { train, validation: held } = holdOut(tokens, config.validationFraction);
  const text = new Windows(train, sequenceLength, config.data);
  // A short text may hold out less than a full window; the window then shrinks to fit.
  const validation = held.length < 2 ? undefined : new Windows(held, Math.min(sequenceLength, held.length - 1));
  const samples = validation && { prompts: beginnings(validation), maxNewTokens: SAMPLE_TOKENS, tokenizer };
  const hyperparameters = { ...config.model, numTokens: tokenizer.vocabSize, device, dtype, seed };
  return {
    plan: planPretraining(describeModel(hyperparameters), { batchSize, length: sequenceLength }),
    notices,
    async start() {
      const model = createModel(hyperparameters);
      const parameters = countNumbers(model.parameters());
      return {
        ...assemble(config, { model, text, validation, samples }),
        config,
        tokenizer,
        inputs: { data: config.data },
        rows: { tokens: train.length, heldOut: held.length },
        sizes: { parameters, 'training tokens': train.length, 'validation tokens': held.length },
      };
    },
  };
}

/** The beginnings of two of the held-out sequences, far from each other. */
function beginnings(text: Sequences): number[][] {
  return [0, Math.floor(text.size / 2)].map((row) => Array.from(text.rows([row]).tokens.subarray(0, PROMPT_TOKENS)));
}

async function load(
  { data, rules }: Config,
  tokenizer: Tokenizer,
): Promise<{ tokens: Int32Array; notices: readonly string[] }> {
  const byName = data.endsWith('.jsonl') ? 'rows' : 'text';
  const kind = rules === 'v1' ? byName : await kindOfText(data, 'chosen');
  if (kind === 'rows') {
    const { tokens, skipped } = await loadDocuments(data, tokenizer);
    return { tokens, notices: skippedRows(skipped) };
  }
  const remedy = 'if it holds rows, write one per line and name the file .jsonl';
  const notices = kind === 'text' ? [] : [warning(`${data} contains JSON but is read as plain text: ${remedy}`)];
  return { tokens: await loadText(data, tokenizer), notices };
}
