/** The HTTP interface of the chat page. Keys and rules against other sites are those of the server that mounts it. */
import { Hono, type Context } from 'hono';
import { ApiError } from '../../web/api-error.ts';
import { limitBody } from '../../web/body.ts';
import { eventStream, type ServerEvent } from '../../web/events.ts';
import { answerErrors, lastEvents } from '../told-error.ts';
import { pick, vote } from './judging.ts';
import { apiRequest, conversationTo } from './conversation.ts';
import * as requests from './requests.ts';
import type { ShownModel, ShownRequest } from './shown.ts';
import type { ChatStore } from './store.ts';
import { Turns, type TurnsOptions } from './turns.ts';
import { chatView, isHidden, treeView } from './view.ts';

/** A text of 64 kB, each byte of which JSON may write as six. */
const MAX_BODY_BYTES = 512 * 1024;
/** Chats in a list. */
const LISTED = 100;

/** Routes below /api for a store of chats, and what ends the answers that are being drawn: call it before the store is closed. */
export function chatRoutes(options: TurnsOptions): { app: Hono; close(): Promise<void> } {
  const { store } = options;
  const turns = new Turns(options);
  const app = new Hono();
  app.use('/api/*', limitBody(MAX_BODY_BYTES));
  answerErrors(app, options.onError);

  app.get('/api/models', (context) =>
    context.json({ models: options.models().map(({ name, form }): ShownModel => ({ name, form })) }),
  );
  app.get('/api/chats', (context) => context.json(listed(store, context.req.query('before'))));
  app.post('/api/chats', async (context) => {
    const body = await requests.bodyOf(context, requests.chatBody);
    const { id } = store.once(await requests.mutationOf(context), () => ({ id: store.createChat(body) }));
    return context.json(treeView(store.tree(id)), 201);
  });
  app.get('/api/chats/:id', (context) => context.json(treeView(store.tree(context.req.param('id')))));
  app.patch('/api/chats/:id', async (context) => {
    const id = context.req.param('id');
    const body = await requests.bodyOf(context, requests.changeBody);
    store.once(await requests.mutationOf(context), () => {
      store.changeChat(id, body);
      return { id };
    });
    return context.json(treeView(store.tree(id)));
  });
  app.delete('/api/chats/:id', async (context) => {
    const id = context.req.param('id');
    await turns.stop(id);
    store.once(await requests.mutationOf(context), () => {
      store.deleteChat(id);
      return { id };
    });
    store.erase();
    return context.json({ id });
  });
  app.post('/api/chats/:id/messages', async (context) => {
    const body = await requests.bodyOf(context, requests.messageBody);
    const mutation = await requests.mutationOf(context);
    const { signal } = context.req.raw;
    const events = await turns.begin(context.req.param('id'), body, { mutation, signal });
    return sent(context, events, options.onError);
  });
  app.post('/api/chats/:id/stop', async (context) => {
    await requests.bodyOf(context, requests.emptyBody);
    return context.json({ stopped: await turns.stop(store.chat(context.req.param('id')).id) });
  });
  app.post('/api/messages/:id/vote', async (context) => {
    const id = context.req.param('id');
    const { value } = await requests.bodyOf(context, requests.voteBody);
    const mutation = await requests.mutationOf(context);
    await turns.stopAnswer(id);
    return context.json(store.once(mutation, () => vote(store, id, value)));
  });
  app.post('/api/messages/:id/pick', async (context) => {
    const id = context.req.param('id');
    const { inferior } = await requests.bodyOf(context, requests.pickBody);
    const mutation = await requests.mutationOf(context);
    await turns.stopAnswer(id);
    return context.json(store.once(mutation, () => pick(store, id, inferior)));
  });
  app.get('/api/messages/:id/request', (context) => context.json(requestOf(store, context.req.param('id'))));
  return { app, close: () => turns.close() };
}

function listed(store: ChatStore, before: string | undefined) {
  const chats = store.chats(LISTED + 1, before);
  return { chats: chats.slice(0, LISTED).map(chatView), more: chats.length > LISTED };
}

/** The request of the API that gives an answer again, and which of its choices it is. @throws ApiError while that would name the model */
function requestOf(store: ChatStore, id: string): ShownRequest {
  const answer = store.answer(id);
  const tree = store.tree(answer.chat);
  if (isHidden(store.turn(answer.turn).length, tree.picks.get(answer.turn))) {
    throw new ApiError(409, 'pick an answer first: the request would name its model', { code: 'blind' });
  }
  return { ...apiRequest(answer.model, conversationTo(tree, answer.parent), answer.request), choice: answer.sample };
}

/** Events as they come; whoever leaves ends what they are about. */
function sent(context: Context, events: AsyncIterable<object>, onError: (error: unknown) => void): Response {
  return eventStream(context, written(events), { failed: (error) => lastEvents(error, onError) });
}

async function* written(events: AsyncIterable<object>): AsyncGenerator<ServerEvent> {
  for await (const event of events) yield { data: JSON.stringify(event) };
}
