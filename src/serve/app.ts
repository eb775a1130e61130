/** The HTTP interface of a server of models, as OpenAI's clients know it. */
import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { routePath } from 'hono/route';
import { ApiError, refusal } from '../web/api-error.ts';
import { Answers } from './answers.ts';
import type { AppOptions } from './app-options.ts';
import { Scoring, scoreFields } from './score.ts';
import type { Offered } from './served-model.ts';
import { asApiError } from './told-error.ts';
import { detokenize, detokenizeFields, tokenize, tokenizeFields } from './tokenize.ts';

const MAX_BODY_BYTES = 1024 * 1024;

/** The application: hand its `fetch` to a server. */
export function createApp(options: AppOptions): Hono {
  const { catalog, numbers, ignoreUnknownFields: ignore } = options;
  const app = new Hono();
  const answers = new Answers(options);
  const scoring = new Scoring();
  app.use(async (context, next) => {
    context.header('x-request-id', options.newId());
    await next();
    numbers.request(routePath(context), context.res.status);
  });
  app.use(bodyLimit({ maxSize: MAX_BODY_BYTES, onError: () => tooLarge() }));
  app.get('/health', (context) => context.json({ status: 'ok' }));
  app.get('/metrics', (context) => context.text(numbers.text(), 200, { 'Content-Type': 'text/plain; version=0.0.4' }));
  app.get('/v1/models', (context) => context.json({ object: 'list', data: catalog.all.map(modelObject) }));
  app.get('/v1/models/:id{.+}', (context) => context.json(modelObject(catalog.find(context.req.param('id')))));
  app.post('/v1/chat/completions', async (context) => answers.chat(context, await bodyOf(context)));
  app.post('/v1/completions', async (context) => answers.completion(context, await bodyOf(context)));
  app.post('/v1/score', async (context) => {
    const fields = scoreFields(await bodyOf(context), ignore);
    const judge = catalog.judge(fields.model);
    const { scores, tokens } = await scoring.scores(judge, fields);
    const usage = { prompt_tokens: tokens, total_tokens: tokens };
    const { name: model, fingerprint: system_fingerprint } = judge;
    return context.json({ object: 'list', model, system_fingerprint, scores, usage });
  });
  app.post('/tokenize', async (context) => {
    const fields = tokenizeFields(await bodyOf(context), ignore);
    return context.json(await tokenize(catalog.find(fields.model), fields));
  });
  app.post('/detokenize', async (context) => {
    const fields = detokenizeFields(await bodyOf(context), ignore);
    return context.json(detokenize(catalog.find(fields.model), fields));
  });
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

function modelObject({ name, created, capacity }: Offered) {
  return { id: name, object: 'model', created, owned_by: 'palm-rlhf', max_model_len: capacity };
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
