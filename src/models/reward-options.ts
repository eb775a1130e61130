/** The options of a reward model. */
import { checkAdapterOptions, checkInteger, checkOptions } from '../checks/options.ts';
import { ArgumentError, printable } from '../errors.ts';
import type { LanguageModel } from './language-model.ts';
import { POOLINGS, type Pooling } from './reward-file.ts';

export interface RewardModelOptions {
  /** Number of ratings that the head distinguishes. By default, it outputs a single number. */
  numBins?: number;
  /** Rank of the adapters of its scope; false trains a copy of the whole trunk. Defaults to 8. */
  lora?: number | false;
  /** The output of the adapters is scaled by alpha / rank. Defaults to the rank, for a scale of 1. */
  alpha?: number;
  /**
   * Which hidden states are averaged: those of `all` tokens, prompt and response, as in palm-rlhf-pytorch; or only those of the
   * `response`, if prompt positions are given, so that a long prompt does not outweigh it. `last` reads that of the last token
   * alone, as models of steps do. Defaults to `all`.
   */
  pooling?: Pooling;
  /** Dropout of attention probabilities and feed-forward units in training mode. Defaults to 0. */
  dropout?: number;
  /** Seed of the head and the adapters. Defaults to the trunk's. */
  seed?: number;
  /** Name of its scope, for when several reward models share a trunk. Defaults to `reward`. */
  scope?: string;
}

/** The options with their defaults, for a model with the trunk `model`. @throws ArgumentError for an option that is wrong. */
export function checkRewardOptions(options: RewardModelOptions, model: LanguageModel) {
  checkOptions(options, ['numBins', 'lora', 'alpha', 'scope', 'dropout', 'pooling', 'seed'], 'RewardModel');
  const {
    numBins,
    lora = 8,
    alpha,
    scope = 'reward',
    dropout = 0,
    pooling = 'all',
    seed = model.config.seed,
  } = options;
  if (!POOLINGS.includes(pooling)) {
    const expected = '"all", "response" or "last"';
    throw new ArgumentError({ argument: 'RewardModel.pooling', received: printable(pooling), expected });
  }
  if (numBins !== undefined) checkInteger(numBins, 2, 'RewardModel.numBins');
  if (lora !== false) checkInteger(lora, 1, 'RewardModel.lora');
  checkAdapterOptions(lora, { alpha, scope: options.scope }, 'RewardModel');
  checkInteger(seed, 0, 'RewardModel.seed');
  if (!(typeof dropout === 'number' && dropout >= 0 && dropout < 1)) {
    const expected = 'a number >= 0 and < 1';
    throw new ArgumentError({ argument: 'RewardModel.dropout', received: printable(dropout), expected });
  }
  return { numBins, lora, alpha, scope, dropout, pooling, seed };
}
