/** The HTTP interface of a server of models, as OpenAI's clients know it. */
import { Hono } from 'hono';
import { routePath } from 'hono/route';
import { noRoute } from '../web/api-error.ts';
import { jsonBody, limitBody } from '../web/body.ts';
import { Answers } from './answers.ts';
import type { AppOptions } from './app-options.ts';
import { parse } from './fields.ts';
import { SCORE, Scoring } from './score.ts';
import type { Offered } from './served-model.ts';
import { answerErrors } from './told-error.ts';
import { DETOKENIZE, detokenize, TOKENIZE, tokenize } from './tokenize.ts';

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
  app.use(limitBody(MAX_BODY_BYTES));
  app.get('/health', (context) => context.json({ status: 'ok' }));
  app.get('/metrics', (context) => context.text(numbers.text(), 200, { 'Content-Type': 'text/plain; version=0.0.4' }));
  app.get('/v1/models', (context) => context.json({ object: 'list', data: catalog.all.map(modelObject) }));
  app.get('/v1/models/:id{.+}', (context) => context.json(modelObject(catalog.find(context.req.param('id')))));
  app.post('/v1/chat/completions', async (context) => answers.chat(context, await jsonBody(context)));
  app.post('/v1/completions', async (context) => answers.completion(context, await jsonBody(context)));
  app.post('/v1/score', async (context) => {
    const fields = parse(SCORE, await jsonBody(context), ignore);
    const judge = catalog.judge(fields.model);
    const { scores, tokens } = await scoring.scores(judge, fields);
    const usage = { prompt_tokens: tokens, total_tokens: tokens };
    const { name: model, fingerprint: system_fingerprint } = judge;
    return context.json({ object: 'list', model, system_fingerprint, scores, usage });
  });
  app.post('/tokenize', async (context) => {
    const fields = parse(TOKENIZE, await jsonBody(context), ignore);
    return context.json(await tokenize(catalog.find(fields.model), fields));
  });
  app.post('/detokenize', async (context) => {
    const fields = parse(DETOKENIZE, await jsonBody(context), ignore);
    return context.json(detokenize(catalog.find(fields.model), fields));
  });
  app.notFound(noRoute);
  answerErrors(app, options.onError);
  return app;
}

function modelObject({ name, created, capacity }: Offered) {
  return { id: name, object: 'model', created, owned_by: 'palm-rlhf', max_model_len: capacity };
}
