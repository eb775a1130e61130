/** The HTTP interface of a server of models, as OpenAI's clients know it. */
import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { ChatMessage } from '../tokenizer/chat/messages.ts';
import { ApiError, refusal } from '../web/api-error.ts';
import { Answering } from './answering.ts';
import { type ChatFields, chatFields, type CompletionFields, completionFields } from './fields.ts';
import { CHAT, COMPLETION, type Kind } from './objects.ts';
import { respond } from './respond.ts';
import { rowsOf } from './rows.ts';
import type { ServedModel } from './served-model.ts';
import { asApiError } from './told-error.ts';

const MAX_BODY_BYTES = 1024 * 1024;
/** Tokens of a completion that does not say how many, as with OpenAI. */
const COMPLETION_TOKENS = 16;

export interface AppOptions {
  models: readonly ServedModel[];
  /** Whether fields that nobody knows are ignored, and not refused. */
  ignoreUnknownFields: boolean;
  /** A new id, and a seed for a request without one. */
  newId(): string;
  newSeed(): number;
  /** Told of errors that clients do not understand. */
  onError(error: unknown): void;
}

/** The application: hand its `fetch` to a server. */
export function createApp(options: AppOptions): Hono {
  const app = new Hono();
  const server = new Api(options);
  app.use(bodyLimit({ maxSize: MAX_BODY_BYTES, onError: () => tooLarge() }));
  app.get('/health', (context) => context.json({ status: 'ok' }));
  app.get('/v1/models', (context) => context.json({ object: 'list', data: options.models.map(modelObject) }));
  app.get('/v1/models/:id{.+}', (context) => context.json(modelObject(server.model(context.req.param('id')))));
  app.post('/v1/chat/completions', (context) => server.chat(context));
  app.post('/v1/completions', (context) => server.completion(context));
  app.notFound((context) =>
    refusal(context, new ApiError(404, `there is no ${context.req.method} ${context.req.path}`)),
  );
  app.onError((error, context) => {
    const told = asApiError(error);
    if (told.status >= 500) options.onError(error);
    return refusal(context, told);
  });
  return app;
}

function tooLarge(): never {
  throw new ApiError(413, `the body is larger than ${MAX_BODY_BYTES} bytes`);
}

function modelObject({ name, created }: ServedModel) {
  return { id: name, object: 'model', created, owned_by: 'palm-rlhf' };
}

class Api {
  readonly #options: AppOptions;

  constructor(options: AppOptions) {
    this.#options = options;
  }

  /** @throws ApiError for an unknown name */
  model(name: string): ServedModel {
    const found = this.#options.models.find((one) => one.name === name);
    if (found !== undefined) return found;
    const names = this.#options.models.map((one) => one.name).join(', ');
    const detail = { param: 'model', code: 'model_not_found' };
    throw new ApiError(404, `there is no model ${JSON.stringify(name)}; there are: ${names}`, detail);
  }

  async chat(context: Context): Promise<Response> {
    const fields = chatFields(await bodyOf(context), this.#options.ignoreUnknownFields);
    const model = this.model(fields.model);
    if (model.chat === undefined) {
      const message = `${model.name} has no chat template: ask /v1/completions, which continues a text`;
      throw new ApiError(400, message, { param: 'model' });
    }
    const prompt = await model.chat.prompt(fields.messages.map(messageOf));
    const told = fields.logprobs === true;
    return await this.#answer(context, CHAT, fields, { model, prompts: [prompt], told, echo: () => '' });
  }

  async completion(context: Context): Promise<Response> {
    const fields = completionFields(await bodyOf(context), this.#options.ignoreUnknownFields);
    const model = this.model(fields.model);
    const told = fields.logprobs != null;
    if (fields.echo === true && told) {
      throw new ApiError(400, 'echo with logprobs is not supported by this server', { param: 'echo' });
    }
    const texts = promptsOf(fields);
    const prompts = texts.map((one) => (typeof one === 'string' ? model.tokenizer.encode(one) : one));
    const textOf = (i: number) =>
      typeof texts[i] === 'string' ? (texts[i] as string) : model.tokenizer.decode(prompts[i] as number[]);
    const echo = (i: number) => (fields.echo === true ? textOf(i) : '');
    return await this.#answer(context, COMPLETION, fields, { model, prompts, told, echo });
  }

  #answer(
    context: Context,
    kind: Kind,
    fields: ChatFields | CompletionFields,
    { model, prompts, told, echo }: Asked,
  ): Promise<Response> {
    const { tokenizer, vocabulary, capacity, endTokens, scope, scheduler } = model;
    const seed = this.#options.newSeed();
    const defaultTokens = kind === COMPLETION ? COMPLETION_TOKENS : undefined;
    const answerings = prompts.map((prompt) => {
      const rows = rowsOf(fields, { prompt, vocabulary, capacity, defaultTokens, endTokens, seed });
      const stop = [fields.stop ?? []].flat();
      return new Answering(scheduler, { key: fields.user ?? '', prompt, rows, scope, stop, tokenizer });
    });
    const created = Math.floor(Date.now() / 1000);
    const head = { id: this.#options.newId(), created, model: model.name, system_fingerprint: model.fingerprint };
    return respond(context, {
      ...{ kind, head, answerings, tokenizer, echo, onError: this.#options.onError },
      logProbs: !told ? 'none' : fields.sampled_logprobs === true ? 'sampled' : 'model',
      stream: fields.stream === true,
      includeUsage: fields.stream_options?.include_usage === true,
    });
  }
}

interface Asked {
  model: ServedModel;
  prompts: readonly (readonly number[])[];
  /** Whether log-probabilities are told. */
  told: boolean;
  echo: (prompt: number) => string;
}

/** @throws ApiError unless the body is JSON, and is said to be */
async function bodyOf(context: Context): Promise<unknown> {
  // A form of another site can send text, but not this type.
  if (!/^application\/json\b/i.test(context.req.header('content-type') ?? '')) {
    throw new ApiError(415, 'the content-type must be application/json');
  }
  try {
    return await context.req.json();
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(400, 'the body is not JSON');
  }
}

/** A message as templates get it: developers are what was called system, and parts of text are one text. */
function messageOf({ role, content, ...more }: ChatFields['messages'][number]): ChatMessage {
  const text = typeof content === 'string' ? content : content.map((part) => part.text).join('');
  return { ...more, role: role === 'developer' ? 'system' : role, content: text };
}

function promptsOf({ prompt }: CompletionFields): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt];
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as (string | number[])[]);
}
