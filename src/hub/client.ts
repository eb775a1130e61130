/** Requests to the hub: redirects that never carry the token elsewhere, deadlines, further tries, errors in words. */
import { setTimeout as delay } from 'node:timers/promises';
import { ArgumentError, HubError, PalmError, printable } from '../errors.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { refusal } from './refusal.ts';

/** How long the hub may take, and how often it is asked again. Times are in milliseconds. */
export interface Patience {
  /** Until the head of an answer is there, and until all of an answer in JSON is. */
  answer: number;
  /** A file must bring `leastBytes` in every `window`, which also ends a server that trickles. */
  window: number;
  leastBytes: number;
  /** Before each further try; their number is that of the tries. */
  pauses: readonly number[];
}

const PATIENCE: Patience = {
  answer: 60_000,
  window: 60_000,
  leastBytes: 2 ** 20,
  pauses: [1000, 2000, 4000, 8000, 16_000],
};

/** A hub, and who asks it. */
export interface Hub {
  endpoint: URL;
  token: string | undefined;
  signal: AbortSignal | undefined;
  patience: Patience;
}

/** The requests whose answers differ from a plain GET. */
export interface Asked {
  method?: 'GET' | 'POST' | 'PUT';
  headers?: Readonly<Record<string, string>>;
  /** Makes the body; called once for each try. */
  body?: () => NonNullable<RequestInit['body']>;
  /** Ends the request, and the reading of its answer. */
  signal?: AbortSignal;
  /** Milliseconds until the head of the answer has to be there; false where `signal` sees to that. Default: as the hub's. */
  deadline?: number | false;
  /** Whether the token may be sent; false for places that have their own signature. Default true. */
  withToken?: boolean;
}

/** A failure that may pass: a lost connection, a deadline, a status of 408, 429 or 5xx. */
export class Passing extends Error {
  /** Milliseconds that the server asks to wait; 0 if it does not. */
  readonly after: number;
  readonly status: number | undefined;

  constructor(message: string, { after = 0, status }: { after?: number; status?: number } = {}) {
    super(message);
    this.after = after;
    this.status = status;
  }
}

const MAX_REDIRECTS = 10;
const MAX_PAUSE = 300_000;
/** As much as a refusal says. */
const MAX_REASON = 4096;
/** Far more than the listing of a repository takes. */
const MAX_JSON = { bytes: 32 * 2 ** 20, values: 2_000_000 };

/**
 * The hub at `endpoint`.
 * @throws ArgumentError if a token would be sent in the clear.
 */
export function openHub(endpoint: URL, token: string | undefined, signal?: AbortSignal, patience = PATIENCE): Hub {
  if (token !== undefined && endpoint.protocol !== 'https:' && !isThisMachine(endpoint)) {
    throw new ArgumentError({
      argument: 'HF_ENDPOINT',
      received: printable(endpoint.href),
      expected: 'https://…, because a token is sent there',
      fix: 'Use https, or send no token: token: false, or HF_HUB_DISABLE_IMPLICIT_TOKEN=1.',
    });
  }
  return { endpoint, token, signal, patience };
}

function isThisMachine({ hostname }: URL): boolean {
  return /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
}

/** An address of the hub; the parts of `path` that are names have to be encoded. */
export function addressOf({ endpoint }: Hub, path: string): URL {
  return new URL(`${endpoint.href.replace(/\/+$/, '')}/${path}`);
}

/**
 * Repeats `attempt` while it throws Passing. A try that `gained` something starts the count of tries afresh.
 * @param what names the thing asked for, in errors
 * @throws HubError once the tries are used up.
 */
export async function retrying<T>(
  hub: Hub,
  what: string,
  attempt: () => Promise<T>,
  gained: () => boolean = () => false,
): Promise<T> {
  for (let failures = 0; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      hub.signal?.throwIfAborted();
      if (!(error instanceof Passing)) throw error;
      if (gained()) failures = 0;
      const pause = hub.patience.pauses[failures];
      if (pause === undefined) throw unreachable(hub, what, error);
      await rest(Math.min(Math.max(pause, error.after), MAX_PAUSE), hub.signal);
    }
  }
}

/** Waits. @throws the reason of `signal` */
export async function rest(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => signal?.throwIfAborted());
}

const KEPT =
  'Check the connection and try again: what has arrived is kept. With offline: true (HF_HUB_OFFLINE=1) only the cache is used.';

/** The error for a hub that did not answer. */
export function unreachable({ endpoint }: Hub, what: string, { message, status }: Passing, fix = KEPT): HubError {
  return new HubError({
    reason: 'unreachable',
    argument: what,
    received: message,
    expected: `an answer of ${endpoint.host}`,
    fix,
    ...(status === undefined ? {} : { status }),
  });
}

/**
 * Sends one request and follows its redirects. An answer of 2xx or of a status in `accepted` is returned with its body unread.
 * @throws Passing for what may pass.
 * @throws HubError for other answers.
 */
export async function ask(hub: Hub, url: URL, what: string, asked: Asked, accepted: number[] = []): Promise<Response> {
  return await deadlined(hub, asked.deadline ?? hub.patience.answer, asked.signal, async (signal) => {
    const response = await followed(hub, url, { ...asked, signal });
    const { ok, status } = response;
    if (ok || accepted.includes(status)) return response;
    const said = await textOf(response, MAX_REASON).catch(() => '');
    if ([408, 429].includes(status) || status >= 500) {
      throw new Passing(`status ${status}`, { after: retryAfter(response), status });
    }
    throw refusal({ what, endpoint: hub.endpoint, withToken: hub.token !== undefined }, response, said);
  });
}

/** Follows redirects by hand: the token stays with the host it was meant for, and https does not become http. */
async function followed(hub: Hub, url: URL, asked: Asked): Promise<Response> {
  let trusted = asked.withToken !== false && url.origin === hub.endpoint.origin;
  for (let at = url, hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const response = await send(at, asked, trusted ? hub.token : undefined);
    const place = response.headers.get('location');
    if (![301, 302, 303, 307, 308].includes(response.status) || place === null) return response;
    await response.body?.cancel();
    const next = URL.canParse(place, at.href) ? new URL(place, at) : undefined;
    const downgraded = at.protocol === 'https:' && next?.protocol !== 'https:';
    if (next === undefined || downgraded || !/^https?:$/.test(next.protocol)) {
      throw badAnswer(url.href, `a redirect to ${printable(place)}`, 'one to https://…');
    }
    trusted &&= next.origin === hub.endpoint.origin;
    at = next;
  }
  throw badAnswer(url.href, `more than ${MAX_REDIRECTS} redirects`, 'an answer');
}

async function send(url: URL, { method = 'GET', headers, body, signal }: Asked, token?: string): Promise<Response> {
  return await fetch(url, {
    method,
    headers: {
      'user-agent': 'palm-rlhf',
      // A compressed answer has other positions and another length.
      'accept-encoding': 'identity',
      ...headers,
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    redirect: 'manual',
    ...(signal === undefined ? {} : { signal }),
    ...(body === undefined ? {} : { body: body(), duplex: 'half' }),
  });
}

/** Asks for JSON, as often as it takes, and returns it with the answer. Sizes and the time it takes are limited. */
export async function askJson(hub: Hub, url: URL, asked: Asked = {}, accepted: number[] = []): Promise<Json> {
  return await retrying(hub, url.href, () => askJsonOnce(hub, url, asked, accepted));
}

/** An answer in JSON. */
export interface Json {
  value: unknown;
  response: Response;
}

/** The same in one try, for what must not be done twice. @throws Passing */
export async function askJsonOnce(hub: Hub, url: URL, asked: Asked, accepted: number[] = []): Promise<Json> {
  const deadline = asked.deadline ?? hub.patience.answer;
  return await deadlined(hub, deadline, asked.signal, async (signal) => {
    const response = await ask(hub, url, url.href, { ...asked, signal }, accepted);
    return { value: parsed(url, await textOf(response, MAX_JSON.bytes)), response };
  });
}

/** A request with a body in JSON. */
export function posting(value: unknown, type = 'application/json'): Asked {
  return { method: 'POST', headers: { 'content-type': type, accept: type }, body: () => JSON.stringify(value) };
}

function parsed(url: URL, text: string): unknown {
  try {
    return parseJson(text, MAX_JSON.values);
  } catch (error) {
    if (error instanceof JsonError) throw badAnswer(url.href, error.message, 'JSON');
    throw error;
  }
}

/** The text of an answer of at most `most` bytes. @throws HubError if there are more. */
async function textOf(response: Response, most: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.length;
    if (bytes > most) throw badAnswer(response.url, `more than ${most} bytes`, 'a short answer');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

/**
 * Runs `work` with a signal that aborts after `ms`, unless that is false, and with those of the caller and of `also`. Network errors become Passing.
 * @throws Passing, what `work` throws, or the reason of the caller's signal.
 */
export async function deadlined<T>(
  hub: Hub,
  ms: number | false,
  also: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = ms === false ? undefined : setTimeout(() => late.abort(), ms);
  try {
    return await work(AbortSignal.any([late.signal, hub.signal, also].filter((one) => one !== undefined)));
  } catch (error) {
    hub.signal?.throwIfAborted();
    if (error instanceof PalmError || error instanceof Passing) throw error;
    if (late.signal.aborted) throw new Passing(`nothing within ${Number(ms) / 1000} s`);
    throw passing(error);
  } finally {
    clearTimeout(timer);
  }
}

/** A network error of `fetch`, which hides the reason in its cause. */
export function passing(error: unknown): Passing {
  const { message, cause } = error as Error;
  return new Passing(printable((cause as Error | undefined)?.message || message));
}

function retryAfter(response: Response): number {
  const seconds = Number(response.headers.get('retry-after'));
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0;
}

/** An answer that breaks the hub's protocol. */
export function badAnswer(argument: string, received: string, expected: string): HubError {
  const fix = 'Check HF_ENDPOINT: something other than the hub may be answering.';
  return new HubError({ reason: 'bad-answer', argument, received, expected, fix });
}
