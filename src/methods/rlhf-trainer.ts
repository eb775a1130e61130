/** PPO under the names that users of palm-rlhf-pytorch know. The algorithm is in trainers/ppo.ts, the assembly in ppo.ts. */
import type { ActorCritic } from '../models/actor-critic.ts';
import { parseConfig } from '../config/schema.ts';
import { type PpoConfig, type PpoConfigInput, ppoConfig } from '../config/ppo.ts';
import type { EosToken } from '../config/sampling.ts';
import { ArgumentError, printable } from '../errors.ts';
import { checkKinds, COUNT, LIST, LISTS, NUMBER, optional } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { MODEL, type ModelPart, REWARD, withModel } from '../trainers/parts.ts';
import type { PpoStep } from '../trainers/ppo.ts';
import { scoresOf } from '../trainers/rewards.ts';
import { answersOf, type Reward } from '../trainers/rollouts.ts';
import { actorCriticOf, adaptiveKlOf, ppoMethod } from './ppo.ts';

/** Options of the trainer. With LoRA, the default, the weights of `model` do not change; it gets the scopes `actor` and `critic`. */
export type RLHFTrainerOptions = ModelPart & {
  /** Scores the answers: a RewardModel, or any function of answers. */
  rewardModel: Reward;
  /** The prompts to train on. */
  promptTokenIds: readonly (readonly number[])[];
  /** Token that ends an answer. */
  eosToken?: EosToken;
  padToken?: number;
  /**
   * The other options of PPO. `steps` follows from the number of episodes, `rolloutBatch` is at most the number of prompts, and
   * the learning rate stays constant, because the number of `train` calls is unknown.
   */
  config?: Omit<PpoConfigInput, 'steps' | 'decay' | 'device' | 'evaluation' | 'checkpoint'>;
};

const OPTIONS = ['model', 'rewardModel', 'promptTokenIds', 'eosToken', 'padToken', 'config'];

/** A trainer that owns its actor, critic and optimizer. */
export class RLHFTrainer implements Disposable {
  readonly actorCritic: ActorCritic;
  readonly #options: RLHFTrainerOptions;
  readonly #config: PpoConfig;
  readonly #training: ReturnType<typeof ppoMethod.assemble>;
  #steps = 0;

  /**
   * @throws ConfigError for a bad `config`.
   * @throws ArgumentError if there are no prompts.
   * @throws ArgumentError if the model already has such scopes.
   */
  constructor(given: RLHFTrainerOptions) {
    const options = withModel(given);
    checkOptions(options, OPTIONS, 'RLHFTrainer');
    checkKinds('RLHFTrainer', options, { model: MODEL, rewardModel: REWARD, promptTokenIds: LISTS });
    const prompts = options.promptTokenIds.length;
    if (prompts === 0)
      throw new ArgumentError({ argument: 'promptTokenIds', received: 'none', expected: 'at least one' });
    const config = parseConfig(ppoConfig, options.config ?? {}, 'RLHFTrainer.config');
    this.#config = { ...config, decay: 'constant', rolloutBatch: Math.min(config.rolloutBatch, prompts) };
    this.#options = options;
    const { rewardModel: reward, promptTokenIds, eosToken, padToken } = options;
    adaptiveKlOf(config); // before the model gets scopes
    this.actorCritic = actorCriticOf(options.model, config);
    const { actorCritic } = this;
    const ingredients = { actorCritic, reward, prompts: promptTokenIds, eosToken, padToken };
    this.#training = ppoMethod.assemble(this.#config, ingredients);
  }

  /** Trains on at least `numEpisodes` more answers and returns the metrics of every iteration. */
  async train(options: { numEpisodes: number }): Promise<PpoStep[]> {
    checkKinds('train', options, { numEpisodes: COUNT });
    const { numEpisodes } = options;
    const { rolloutBatch, sampling } = this.#config;
    const end = this.#steps + Math.ceil(numEpisodes / (rolloutBatch * sampling.samplesPerPrompt));
    const done: PpoStep[] = [];
    for await (const step of this.#training.train(this.#steps, undefined, end)) {
      this.#steps = step.step;
      done.push(step);
    }
    return done;
  }

  /**
   * Samples `numSamples` answers from the trained policy and returns the one with the highest reward: prompt and answer, at
   * most `length` tokens together.
   */
  async generate(
    length: number,
    options: { prompt: readonly number[]; numSamples?: number; seed?: number },
  ): Promise<number[]> {
    checkOptions(options, ['prompt', 'numSamples', 'seed'], 'generate');
    checkKinds('generate', options, { prompt: LIST, numSamples: optional(COUNT), seed: optional(NUMBER) });
    const { prompt, numSamples = 4, seed } = options;
    checkCount(length, 'length', prompt.length + 1);
    const { eosToken, padToken, rewardModel } = this.#options;
    const { temperature } = this.#config.sampling;
    using rollout = await this.actorCritic.rollout({
      prompts: [prompt],
      maxNewTokens: length - prompt.length,
      samplesPerPrompt: numSamples,
      temperature,
      eosToken,
      padToken,
      seed,
    });
    const answers = await answersOf(rollout, [prompt], numSamples);
    const { minibatchSize: size, score } = this.#config;
    const { timeout } = score;
    const { sequence } = rollout;
    const { scores } = await scoresOf(rewardModel, answers, { size, timeout, sequence });
    const best = scores.indexOf(Math.max(...scores));
    return [...prompt, ...(answers[best]?.response ?? [])];
  }

  /** Frees actor, critic and optimizer. The model keeps its scopes. */
  dispose(): void {
    this.#training.parts.optimizer.dispose();
    this.actorCritic.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function checkCount(value: number, argument: string, min = 1): void {
  if (Number.isSafeInteger(value) && value >= min) return;
  const expected = `an integer >= ${min}`;
  throw new ArgumentError({ argument, received: printable(value), expected });
}
