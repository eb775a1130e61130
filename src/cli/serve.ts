/** `palm serve`: answers OpenAI's clients, and scores answers, over HTTP. */
import { randomInt, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { Hono } from 'hono';
import * as z from 'zod';
import { count, fromHome, path } from '../config/fields.ts';
import { MODEL } from '../config/inputs.ts';
import { ArgumentError } from '../errors.ts';
import { createApp } from '../serve/app.ts';
import { Catalog } from '../serve/catalog.ts';
import { chatModel } from '../serve/chats/model.ts';
import { chatPage, OPEN_PATHS } from '../serve/chats/page.ts';
import { chatRoutes } from '../serve/chats/routes.ts';
import { ChatStore } from '../serve/chats/store.ts';
import type { LoadSettings } from '../serve/load.ts';
import { ServerNumbers } from '../serve/numbers.ts';
import type { Policy } from '../serve/scheduler.ts';
import { type Source, Sources } from '../serve/sources.ts';
import { access } from '../web/access.ts';
import { noRoute } from '../web/api-error.ts';
import { type Listening, listen } from '../web/server.ts';
import { loading, placeOf } from './model-options.ts';
import { configuredCommand } from './options.ts';
import { reachOf, type ServerFlags, serverOptions } from './server-options.ts';

const queue = z
  .strictObject({
    requests: count.default(256).describe('requests that may wait for a slot; more are told to try again'),
    tokens: count.default(65_536).describe('tokens of their prompts together'),
    seconds: count.default(60).describe('how long a request may wait'),
  })
  .prefault({})
  .describe('requests that wait');

const schema = z.strictObject({
  model: z.array(path).min(1).describe(`${MODEL}; also reward models, for /v1/score`),
  slots: count.default(32).describe('answers that are computed at once'),
  maxLength: count.default(2048).describe('tokens of a prompt and its answer together'),
  queue,
  int8: z
    .boolean()
    .default(false)
    .describe('round weights to 8 bits: on a CPU faster, less exact, and with less memory'),
  ...loading,
});
type Config = z.output<typeof schema>;

interface Flags extends ServerFlags {
  servedModelName: string[];
  adapter: Record<string, string>;
  chats?: string;
  follow?: boolean;
  ignoreUnknownFields?: boolean;
}

const OPTIONS = [
  new Option('--served-model-name <name>', 'what requests call a model, once for each of them')
    .default([], 'the name of its folder, or its id')
    .argParser((text: string, before: string[]) => [...before, text]),
  new Option('--adapter <name=dir>', 'PEFT adapter for the first model, which requests call NAME; may be repeated')
    .default({}, 'none')
    .argParser(adapters),
  new Option('--chats <dir>', 'show a chat page, and keep its chats, votes and picks in this folder'),
  new Option('--follow', 'load the weights of a run again whenever it has saved new ones'),
  new Option('--ignore-unknown-fields', 'answer requests with fields that nobody knows'),
  ...serverOptions(8000),
];

/** How often --follow looks for new weights, how long a stopping server lets answers go on, in milliseconds. */
const FOLLOW_MS = 2_000;
const GRACE_MS = 10_000;
/** How turns are divided: docs/serve.md. */
const TURNS = { share: 0.25, promptTokens: 256, promptTokensAlone: 2048, tokens: 4, eager: 1000 };

/** The `serve` command. */
export function serveCommand(): Command {
  const run = (config: Config, flags: Record<string, unknown>) => serve(config, flags as unknown as Flags);
  return configuredCommand('serve', schema, run, 'model', undefined, OPTIONS).description(
    'answer OpenAI clients over HTTP with models, and score answers with reward models',
  );
}

async function serve(config: Config, flags: Flags): Promise<void> {
  const { server, keys, origins } = reachOf(flags);
  const stopping = new AbortController();
  const catalog = new Catalog();
  const numbers = new ServerNumbers(catalog);
  const onBroken = (error: unknown) => stopping.abort(error);
  const sources = new Sources(catalog, await sourcesOf(config, flags, numbers, onBroken), say);
  const store = flags.chats === undefined ? undefined : await ChatStore.open(fromHome(flags.chats));
  const newSeed = () => randomInt(2 ** 32);
  const models = () => catalog.models.map(chatModel);
  const chats = store && chatRoutes({ store, models, newSeed, onError: report });
  let listening: Listening | undefined;
  try {
    await sources.load();
    const app = new Hono();
    const hosts = () => listening?.hosts ?? new Set<string>();
    const open = ['GET /health', ...(chats === undefined ? [] : OPEN_PATHS)];
    app.use(access({ keys, open, hosts, origins, now: Date.now }));
    app.notFound(noRoute);
    if (chats !== undefined) app.route('/', chats.app).route('/', chatPage());
    const ignoreUnknownFields = flags.ignoreUnknownFields === true;
    app.route('/', createApp({ catalog, numbers, ignoreUnknownFields, newId: randomUUID, newSeed, onError: report }));
    listening = await listen(app.fetch, server);
    console.log(`${listening.url}/v1 has ${catalog.all.map(({ name }) => name).join(', ')}`);
    if (chats !== undefined)
      console.log(`${listening.url}/${keys[0] === undefined ? '' : `#key=${keys[0]}`} is the chat page`);
    await stopped(stopping, sources, flags.follow === true);
  } finally {
    await chats?.close();
    await Promise.all([listening?.close(GRACE_MS), catalog.close(GRACE_MS)]);
    await store?.close();
  }
}

/** Waits for SIGINT, SIGTERM or a failure; SIGHUP, and new weights with `follow`, replace models. @throws the failure */
async function stopped(stopping: AbortController, sources: Sources, follow: boolean): Promise<void> {
  const stop = (signal: NodeJS.Signals) => {
    if (stopping.signal.aborted) process.exit(1);
    say(`${signal}: stopping (again: at once)`);
    stopping.abort();
  };
  const reload = () => void sources.reload({ changed: false });
  process.on('SIGINT', stop).on('SIGTERM', stop).on('SIGHUP', reload);
  const following = follow ? setInterval(() => void sources.reload({ changed: true }), FOLLOW_MS) : undefined;
  await new Promise((resolve) => stopping.signal.addEventListener('abort', resolve));
  clearInterval(following);
  process.off('SIGHUP', reload);
  if (stopping.signal.reason instanceof Error && stopping.signal.reason.name !== 'AbortError')
    throw stopping.signal.reason;
}

async function sourcesOf(
  config: Config,
  { servedModelName: names, adapter }: Flags,
  numbers: ServerNumbers,
  onBroken: (error: unknown) => void,
): Promise<Source[]> {
  const { queue, slots, tokenizer, chatTemplate, maxLength, int8, dtype, device } = config;
  const policy: Policy = {
    ...{ ...TURNS, slots, maxWaiting: queue.requests, maxWaitingTokens: queue.tokens, maxWait: queue.seconds * 1000 },
  };
  const onTurn = numbers.turn.bind(numbers);
  const settings: LoadSettings = {
    ...{
      policy,
      onTurn,
      onError: report,
      onBroken,
      tokenizer,
      chatTemplate,
      maxLength,
      int8,
      dtype,
      device,
      adapters: {},
    },
  };
  const named = config.model.map((model, i) => ({ model, name: names[i] ?? nameOf(model) }));
  checkNames(names, [...named.map(({ name }) => name), ...Object.keys(adapter)], named.length);
  const sources: Source[] = [];
  for (const [i, { model, name }] of named.entries()) {
    const place = await placeOf(model, config);
    sources.push({ place, name, settings: { ...settings, adapters: i === 0 ? adapter : {} } });
  }
  return sources;
}

/** A model on this machine is called by its folder or file, one of the hub by its id. */
function nameOf(model: string): string {
  return existsSync(model) ? basename(resolve(model)) : model;
}

/** @throws ArgumentError for more names than models, and for names that two of them have */
function checkNames(given: readonly string[], names: readonly string[], models: number): void {
  const argument = '--served-model-name';
  if (given.length > models) {
    const received = `${given.length} names for ${models}`;
    const fix = 'Name the models in their order, and adapters with --adapter.';
    throw new ArgumentError({ argument, received, expected: 'one for each model', fix });
  }
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice === undefined) return;
  const fix = `Name them with ${argument}, once for each model.`;
  throw new ArgumentError({ argument, received: `${twice} for two models`, expected: 'a name for each', fix });
}

function adapters(text: string, before: Record<string, string>): Record<string, string> {
  const [, name, folder] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || folder === undefined) throw new InvalidArgumentError('It must be NAME=DIR.');
  return { ...before, [name]: fromHome(folder) };
}

function say(text: string): void {
  console.error(text);
}

function report(error: unknown): void {
  console.error(error instanceof Error ? (error.stack ?? error.message) : error);
}
