/** Chats and completions: from the fields of a request to its response. */
import type { Context } from 'hono';
import { ApiError } from '../web/api-error.ts';
import { Answering } from './answering.ts';
import type { AppOptions } from './app-options.ts';
import { type ChatFields, chatFields, type CompletionFields, completionFields } from './fields.ts';
import { messageOf } from './messages.ts';
import { CHAT, COMPLETION, type Kind, unixTime } from './objects.ts';
import { respond } from './respond.ts';
import { rowsOf } from './rows.ts';
import type { ServedModel } from './served-model.ts';

/** Tokens of a completion that does not say how many, as with OpenAI. */
const COMPLETION_TOKENS = 16;

interface Asked {
  model: ServedModel;
  prompts: readonly (readonly number[])[];
  /** Whether log-probabilities are told. */
  told: boolean;
  echo: (prompt: number) => string;
}

export class Answers {
  readonly #options: AppOptions;

  constructor(options: AppOptions) {
    this.#options = options;
  }

  /** @throws ApiError for a body that is wrong */
  async chat(context: Context, body: unknown): Promise<Response> {
    const fields = chatFields(body, this.#options.ignoreUnknownFields);
    const model = this.#options.catalog.model(fields.model);
    const { chat } = model.text;
    if (chat === undefined) {
      const message = `${model.name} has no chat template: ask /v1/completions, which continues a text`;
      throw new ApiError(400, message, { param: 'model' });
    }
    const prompt = await chat.prompt(fields.messages.map(messageOf));
    const told = fields.logprobs === true;
    return await this.#answer(context, CHAT, fields, { model, prompts: [prompt], told, echo: () => '' });
  }

  /** @throws ApiError for a body that is wrong */
  async completion(context: Context, body: unknown): Promise<Response> {
    const fields = completionFields(body, this.#options.ignoreUnknownFields);
    const model = this.#options.catalog.model(fields.model);
    const told = fields.logprobs != null;
    if (fields.echo === true && told) {
      throw new ApiError(400, 'echo with logprobs is not supported by this server', { param: 'echo' });
    }
    const texts = promptsOf(fields);
    const { text } = model;
    const prompts = texts.map((one) => (typeof one === 'string' ? text.encode(one, { special: 'begin' }) : one));
    if (prompts.some(({ length }) => length === 0)) {
      throw new ApiError(400, 'the prompt has no tokens', { param: 'prompt' });
    }
    const textOf = (i: number) =>
      typeof texts[i] === 'string' ? (texts[i] as string) : text.decode(prompts[i] as number[]);
    const echo = (i: number) => (fields.echo === true ? textOf(i) : '');
    return await this.#answer(context, COMPLETION, fields, { model, prompts, told, echo });
  }

  #answer(
    context: Context,
    kind: Kind,
    fields: ChatFields | CompletionFields,
    { model, prompts, told, echo }: Asked,
  ): Promise<Response> {
    const { text: tokenizer, scope, scheduler } = model;
    const seed = this.#options.newSeed();
    const defaultTokens = kind === COMPLETION ? COMPLETION_TOKENS : undefined;
    const answerings = prompts.map((prompt) => {
      const rows = rowsOf(fields, { ...model, prompt, defaultTokens, seed });
      const stop = [fields.stop ?? []].flat();
      return new Answering(scheduler, { key: fields.user ?? '', prompt, rows, scope, stop, tokenizer });
    });
    const head = {
      id: this.#options.newId(),
      created: unixTime(),
      model: model.name,
      system_fingerprint: model.fingerprint,
    };
    const { onError, numbers } = this.#options;
    return respond(context, {
      ...{ kind, head, answerings, tokenizer, echo, onError, numbers },
      logProbs: !told ? 'none' : fields.sampled_logprobs === true ? 'sampled' : 'model',
      stream: fields.stream === true,
      includeUsage: fields.stream_options?.include_usage === true,
    });
  }
}

function promptsOf({ prompt }: CompletionFields): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt];
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as (string | number[])[]);
}
