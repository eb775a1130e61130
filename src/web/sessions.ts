/** Who has shown a key and is known by a cookie since: sessions in memory, which end with the server. */
import { createHash, randomBytes } from 'node:crypto';

const HOUR_MS = 3_600_000;
/** A session ends when it is not used for so long, and after so long anyway. */
const IDLE_MS = 12 * HOUR_MS;
const WHOLE_MS = 14 * 24 * HOUR_MS;
const MOST = 1000;

export class Sessions {
  readonly #now: () => number;
  /** By the hash of the cookie; those used last are last. */
  readonly #sessions = new Map<string, { began: number; used: number }>();

  /** `now` is a clock in milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Begins a session and returns the value of its cookie. */
  begin(): string {
    const cookie = randomBytes(32).toString('base64url');
    const now = this.#now();
    this.#sessions.set(hashOf(cookie), { began: now, used: now });
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size > MOST) this.#sessions.delete(oldest as string);
    return cookie;
  }

  /** Whether a cookie is that of a session, which goes on by this. */
  has(cookie: string): boolean {
    const hash = hashOf(cookie);
    const session = this.#sessions.get(hash);
    if (session === undefined) return false;
    this.#sessions.delete(hash);
    const now = this.#now();
    if (now - session.used > IDLE_MS || now - session.began > WHOLE_MS) return false;
    this.#sessions.set(hash, { ...session, used: now });
    return true;
  }
}

function hashOf(cookie: string): string {
  return createHash('sha256').update(cookie).digest('hex');
}
