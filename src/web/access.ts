/**
 * Who may ask for what. Where there are keys, every route needs one unless it is named here as open, also one that is added later.
 * Requests that change something must not come from a page of another site.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Context, MiddlewareHandler } from 'hono';
import { getCookie, setCookie } from 'hono/cookie';
import { ApiError, refusal } from './api-error.ts';
import { Sessions } from './sessions.ts';

export interface AccessOptions {
  /** Any of them is enough; none are needed where there are none. */
  keys: readonly string[];
  /** What is answered without a key, as in `GET /health`; a path that ends in * stands for all that begin so. */
  open: readonly string[];
  /** The Host headers of this server, whose own pages may change things. */
  hosts: () => ReadonlySet<string>;
  /** Other sites, as in https://example.org, whose pages may ask as programs do. */
  origins: readonly string[];
  /** Milliseconds. */
  now: () => number;
}

/** Where a page shows its key to get a cookie. */
export const SESSION_PATH = '/session';
/** Wrong keys of one address in a minute, after which it is told to wait. */
const MOST_FAILURES = 5;
const MINUTE_MS = 60_000;

/** Headers of every response. */
const HEADERS: Readonly<Record<string, string>> = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/** The middleware that lets requests pass, and answers those to SESSION_PATH itself. */
export function access(options: AccessOptions): MiddlewareHandler {
  const gate = new Gate(options);
  return async (context, next) => {
    for (const [name, value] of Object.entries(HEADERS)) context.header(name, value);
    context.header('Cache-Control', 'no-store');
    const answered = gate.check(context);
    if (answered !== undefined) return answered;
    await next();
  };
}

class Gate {
  readonly #options: AccessOptions;
  readonly #keys: readonly Buffer[];
  readonly #sessions: Sessions;
  readonly #failures: Failures;

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#keys = options.keys.map(digest);
    this.#sessions = new Sessions(options.now);
    this.#failures = new Failures(options.now);
  }

  /** A response instead of that of the route; undefined lets the request pass. */
  check(context: Context): Response | undefined {
    const { method, path } = context.req;
    const origin = context.req.header('origin');
    if (origin !== undefined && this.#options.origins.includes(origin)) {
      allowOrigin(context, origin);
      if (method === 'OPTIONS') return context.body(null, 204);
    }
    const changes = method !== 'GET' && method !== 'HEAD';
    if (changes && this.#isForeign(context)) {
      return refusal(context, new ApiError(403, 'pages of other sites may not ask this server: see --cors-origin'));
    }
    const asked = `${method} ${path}`;
    if (asked === `POST ${SESSION_PATH}`) return this.#begin(context);
    if (this.#options.open.some((open) => matches(open, asked))) return undefined;
    return this.#isKnown(context) ? undefined : this.#unknown(context);
  }

  /** Whether a page of another site asks; programs send neither header. */
  #isForeign(context: Context): boolean {
    const { origins, hosts } = this.#options;
    const origin = context.req.header('origin');
    if (origin !== undefined && origins.includes(origin)) return false;
    const site = context.req.header('sec-fetch-site') ?? 'none';
    if (site !== 'none' && site !== 'same-origin') return true;
    return origin !== undefined && !hosts().has(origin.replace(/^https?:\/\//, '').toLowerCase());
  }

  #isKnown(context: Context): boolean {
    return (
      this.#keys.length === 0 ||
      this.#hasKey(context) ||
      this.#sessions.has(getCookie(context, cookieOf(context)) ?? '')
    );
  }

  #hasKey(context: Context): boolean {
    const [, given] = /^Bearer (.+)$/i.exec(context.req.header('authorization') ?? '') ?? [];
    if (given === undefined) return false;
    const hash = digest(given);
    // All are compared, so that the time says nothing about which one is near.
    return this.#keys.filter((key) => timingSafeEqual(key, hash)).length > 0;
  }

  #unknown(context: Context): Response {
    const wait = this.#failures.add(addressOf(context));
    if (wait > 0) return refusal(context, new ApiError(429, 'too many wrong keys', { retryAfter: wait }));
    const said = context.req.header('authorization') === undefined ? 'this server needs a key' : 'the key is wrong';
    const message = `${said}: Authorization: Bearer KEY`;
    return refusal(context, new ApiError(401, message, { code: 'invalid_api_key' }));
  }

  #begin(context: Context): Response {
    if (this.#keys.length > 0 && !this.#hasKey(context)) return this.#unknown(context);
    const secure = new URL(context.req.url).protocol === 'https:';
    setCookie(context, cookieOf(context), this.#sessions.begin(), {
      httpOnly: true,
      sameSite: 'Strict',
      path: '/',
      secure,
    });
    return context.json({ status: 'ok' });
  }
}

/** Wrong keys by address, in the last minute. */
class Failures {
  readonly #now: () => number;
  readonly #times = new Map<string, number[]>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Counts one, and returns the seconds to wait if there are too many. */
  add(address: string): number {
    const now = this.#now();
    for (const [other, times] of this.#times) if (now - (times.at(-1) as number) > MINUTE_MS) this.#times.delete(other);
    const times = (this.#times.get(address) ?? []).filter((time) => now - time <= MINUTE_MS);
    if (times.length >= MOST_FAILURES) return Math.max(1, Math.ceil((MINUTE_MS - (now - (times[0] as number))) / 1000));
    this.#times.set(address, [...times, now]);
    return 0;
  }
}

function allowOrigin(context: Context, origin: string): void {
  context.header('Access-Control-Allow-Origin', origin);
  context.header('Access-Control-Allow-Headers', 'authorization, content-type');
  context.header('Access-Control-Allow-Methods', 'GET, POST, OPTIONS');
  context.header('Cross-Origin-Resource-Policy', 'cross-origin');
  context.header('Vary', 'Origin');
}

function matches(open: string, asked: string): boolean {
  return open.endsWith('*') ? asked.startsWith(open.slice(0, -1)) : asked === open;
}

/** Cookies are shared by all ports of a machine, so their name has the port. */
function cookieOf(context: Context): string {
  return `session-${new URL(context.req.url).port || '80'}`;
}

function addressOf(context: Context): string {
  const { incoming } = (context.env ?? {}) as { incoming?: { socket?: { remoteAddress?: string } } };
  return incoming?.socket?.remoteAddress ?? '';
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
