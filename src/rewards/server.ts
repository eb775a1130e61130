/** Rewards over HTTP: POST { answers: [{ prompt, response, meta }] } gives { scores }. docs/rewards.md describes the protocol. */
import { setTimeout as delay } from 'node:timers/promises';
import { ArgumentError, printable, RewardError } from '../errors.ts';
import type { TextAnswer, TextReward } from './text-reward.ts';

/** How a server is asked. */
export interface ServerOptions {
  /** Max seconds for one try. */
  timeout: number;
  /** Further headers, such as `authorization`. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** Seconds to wait before each further try. */
  pauses?: readonly number[] | undefined;
}

/** Two further tries. */
const PAUSES = [1, 4];
/** Far more than a number for each answer takes. */
const MAX_BYTES = 16 * 2 ** 20;

/** Whether a reward names a server. */
export function isUrl(source: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(source);
}

/**
 * The reward that the server at `url` gives. A try that fails for want of a connection, by a timeout or with a status of 429 or
 * 5xx is repeated twice; nothing else is, and no score is ever made up.
 * @throws ArgumentError unless it is https, or http to this machine.
 */
export function serverReward(url: string, options: ServerOptions): TextReward {
  checkUrl(url);
  const { pauses = PAUSES } = options;
  return async (answers, signal) => {
    for (let failures = 0; ; failures++) {
      const answer = await tryOnce(url, answers, signal, options);
      if ('scores' in answer) return answer.scores;
      const pause = answer.again ? pauses[failures] : undefined;
      if (pause === undefined) throw failed(url, answer.received, answers.length);
      await delay(pause * 1000, undefined, { signal });
    }
  };
}

type Try = { scores: readonly number[] } | { received: string; again: boolean };

async function tryOnce(url: string, answers: TextAnswer[], signal: AbortSignal, options: ServerOptions): Promise<Try> {
  const body = JSON.stringify({ answers: answers.map(({ prompt, response, meta }) => ({ prompt, response, meta })) });
  const limit = AbortSignal.timeout(Math.ceil(options.timeout * 1000));
  try {
    const headers = { 'content-type': 'application/json', ...options.headers };
    // A redirect could lead to a place that the rule for addresses excludes.
    const init = {
      method: 'POST',
      headers,
      body,
      redirect: 'error' as const,
      signal: AbortSignal.any([signal, limit]),
    };
    const response = await fetch(url, init);
    const text = await readText(response);
    if (!response.ok) {
      const received = `status ${response.status}${text === '' ? '' : `: ${printable(text)}`}`;
      return { received, again: response.status === 429 || response.status >= 500 };
    }
    return readScores(text);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof RewardError) throw error;
    if (limit.aborted) return { received: `nothing within ${options.timeout} s`, again: true };
    const { message, cause } = error as Error;
    return { received: printable((cause as Error | undefined)?.message || message), again: true };
  }
}

async function readText(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.length;
    if (bytes > MAX_BYTES) throw failed(response.url, `more than ${MAX_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function readScores(text: string): Try {
  try {
    const { scores } = Object(JSON.parse(text)) as { scores?: unknown };
    if (Array.isArray(scores)) return { scores };
  } catch {
    // Not JSON: reported like any other answer without scores.
  }
  return { received: printable(text), again: false };
}

function failed(url: string, received: string, count?: number): RewardError {
  const expected = `{ scores }${count === undefined ? '' : ` with ${count} numbers`}, as JSON`;
  return new RewardError({ argument: url, received, expected, fix: 'Check the server. Nothing has been trained on.' });
}

function checkUrl(url: string): void {
  const { protocol, hostname, username, password } = parsed(url);
  const local = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
  const secret = username + password !== '';
  if ((protocol === 'https:' || (protocol === 'http:' && local)) && !secret) return;
  throw new ArgumentError({
    argument: 'reward',
    received: secret ? 'a URL with a name or password' : printable(url),
    expected: 'https://…, or http:// to this machine (localhost, 127.0.0.1 or [::1])',
    fix: 'Answers would otherwise cross the network in the clear, and anyone on the way could change the scores.',
  });
}

function parsed(url: string): Pick<URL, 'protocol' | 'hostname' | 'username' | 'password'> {
  try {
    return new URL(url);
  } catch {
    return { protocol: '', hostname: '', username: '', password: '' };
  }
}
