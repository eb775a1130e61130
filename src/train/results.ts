/** What `train` gives: a policy that answers, or a judge that scores. */
import { checkKind, either, LIST, optional, COUNT, POSITIVE, WHOLE, TEXT, checkKinds, PATH } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { ArgumentError } from '../errors.ts';
import { IlqlPolicy } from '../models/ilql-policy.ts';
import type { Policy } from '../models/policy.ts';
import { type PromptAndResponse, scoreTexts } from '../rewards/score-texts.ts';
import { answerPrompts } from '../runs/answers.ts';
import { noteBeside } from '../runs/kept-tokenizer.ts';
import type { ModelText } from '../runs/model-file.ts';
import { type Saveable, saveTensors } from '../tensor/tensor-files.ts';
import type { ChatMessage } from '../tokenizer/chat/messages.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Judge } from '../trainers/combined-reward.ts';

/** How a trained policy answers. */
export interface AnswerOptions {
  /** Defaults to 64. */
  maxNewTokens?: number;
  /** Divides the logits. Defaults to 1. */
  temperature?: number;
  /** Number of answers. Defaults to 1. */
  n?: number;
  /** Defaults to a new one each time. */
  seed?: number;
  /** Weight of the values of tokens, for a policy trained by ILQL. Without it, they are not used. */
  beta?: number;
}

/** A trained policy with its tokenizer. Dispose of it. */
export class TrainedPolicy implements Disposable {
  /** The method that trained it. */
  readonly method: string;
  /** The policy; `policy.model` is the language model it reads. */
  readonly policy: Policy;
  readonly tokenizer: ModelText;

  constructor(method: string, policy: Policy, tokenizer: ModelText) {
    this.method = method;
    this.policy = policy;
    this.tokenizer = tokenizer;
  }

  /**
   * `n` answers to `prompt`, without the prompt: a text, or a conversation, which the model's chat template writes.
   * @throws ArgumentError for a conversation with a model that has no chat template.
   */
  async generate(prompt: string | readonly ChatMessage[], options: AnswerOptions = {}): Promise<string[]> {
    checkKind('prompt', prompt, either(TEXT, LIST));
    checkOptions(options, ['maxNewTokens', 'temperature', 'n', 'seed', 'beta'], 'generate');
    checkKinds('generate', options, { n: optional(COUNT), seed: optional(WHOLE), temperature: optional(POSITIVE) });
    const { maxNewTokens = 64, temperature = 1, n = 1, seed, beta } = options;
    const [scope] = this.policy.scopes;
    using readout = beta === undefined ? undefined : this.#readout(beta);
    const sampling = {
      ...{ maxNewTokens, temperature, samplesPerPrompt: n, seed },
      ...(scope !== undefined && { scope }),
      ...(readout !== undefined && { readout }),
    };
    const tokens = await this.#encode(prompt);
    const answers = await answerPrompts(this.policy.model, this.tokenizer, [tokens], sampling);
    return answers.map(({ text }) => text);
  }

  async #encode(prompt: string | readonly ChatMessage[]): Promise<number[]> {
    if (typeof prompt === 'string') return this.tokenizer.encode(prompt, { special: 'begin' });
    const { chat } = this.tokenizer;
    if (chat !== undefined) return await chat.prompt(prompt);
    const expected = 'a text, as this model has no chat template';
    throw new ArgumentError({ argument: 'prompt', received: 'a conversation', expected });
  }

  #readout(beta: number): ReturnType<IlqlPolicy['readout']> {
    if (this.policy instanceof IlqlPolicy) return this.policy.readout({ beta });
    const expected = 'a policy trained by ilql, which has values of tokens';
    throw new ArgumentError({ argument: 'generate.beta', received: `a policy trained by ${this.method}`, expected });
  }

  /** Writes the policy to a file that any command and `train` take as a model. @throws FileError */
  async save(path: string): Promise<void> {
    await saveWith(this.policy, this.tokenizer, path);
  }

  dispose(): void {
    this.policy.dispose();
    this.policy.model.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A trained model that scores answers, with its tokenizer: a RewardModel, or for `implicit-prm` an ImplicitPRM. Dispose of it. */
export class TrainedJudge<Model extends Judge = Judge> implements Disposable {
  /** The method that trained it. */
  readonly method: string;
  readonly rewardModel: Model;
  readonly tokenizer: Tokenizer;

  constructor(method: string, rewardModel: Model, tokenizer: Tokenizer) {
    this.method = method;
    this.rewardModel = rewardModel;
    this.tokenizer = tokenizer;
  }

  /** A score for each answer; higher is better. */
  async score(answers: readonly PromptAndResponse[]): Promise<number[]> {
    checkKind('answers', answers, LIST);
    for (const [i, answer] of answers.entries()) checkKinds(`answers[${i}]`, answer, { prompt: TEXT, response: TEXT });
    return await scoreTexts(this.rewardModel, this.tokenizer, answers, 32);
  }

  /** Writes the reward model to a file that `--reward` and `train` take. @throws FileError */
  async save(path: string): Promise<void> {
    await saveWith(this.rewardModel, this.tokenizer, path);
  }

  dispose(): void {
    const { model } = this.rewardModel;
    this.rewardModel.dispose();
    if (!model.disposed) model.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

async function saveWith(model: Saveable, tokenizer: Tokenizer, path: string): Promise<void> {
  checkKind('path', path, PATH);
  const { tensors, metadata } = model.contents();
  await saveTensors(path, { tensors, metadata: new Map([...metadata, ...(await noteBeside(tokenizer, path))]) });
}
