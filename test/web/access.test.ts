/** Keys, sessions, and requests that pages of other sites make. */
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { access } from '../../src/web/access.ts';
import type { ApiError } from '../../src/web/api-error.ts';
import { Sessions } from '../../src/web/sessions.ts';

const HOURS = 3_600_000;
const HOSTS = new Set(['localhost:80']);

function made({ keys = ['right', 'other'], origins = [] as string[] } = {}) {
  let now = 0;
  const app = new Hono();
  app.use(access({ keys, open: ['GET /health', 'GET /assets/*'], hosts: () => HOSTS, origins, now: () => now }));
  for (const path of ['/health', '/assets/a.js', '/secret', '/v1/models'])
    app.all(path, (context) => context.text(path));
  const ask = (method: string, path: string, headers: Record<string, string> = {}) =>
    app.request(path, { method, headers });
  return { app, ask, wait: (milliseconds: number) => (now += milliseconds) };
}

describe('keys', () => {
  it('are needed by every route that is not named as open, also by those that do not exist', async () => {
    const { app, wait } = made();
    const routes = [...app.routes.map(({ path }) => path), '/nothing', '/health/../secret', '/Health', '/assets'];
    for (const path of new Set(routes.filter((path) => path !== '/*'))) {
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD']) {
        const { status } = await app.request(path, { method });
        const open = method === 'GET' && (path === '/health' || path.startsWith('/assets/'));
        expect([method, path, status]).toEqual([method, path, open ? 200 : 401]);
        wait(60_000);
      }
    }
  });

  it('may be any of those that are known', async () => {
    const { ask } = made();
    for (const key of ['right', 'other']) {
      expect((await ask('GET', '/secret', { authorization: `Bearer ${key}` })).status).toBe(200);
    }
    for (const key of ['rightly', 'righ', '', 'RIGHT']) {
      const answer = await ask('GET', '/secret', { authorization: `Bearer ${key}` });
      expect([key, answer.status]).toEqual([key, 401]);
      expect(((await answer.json()) as ApiError['body']).error.code).toBe('invalid_api_key');
    }
    expect((await ask('GET', '/secret', { authorization: 'Basic right' })).status).toBe(401);
  });

  it('that are wrong six times in a minute have to wait, and right ones do not', async () => {
    const { ask, wait } = made();
    const wrong = () => ask('GET', '/secret', { authorization: 'Bearer wrong' });
    for (let i = 0; i < 5; i++) expect((await wrong()).status).toBe(401);
    const sixth = await wrong();
    expect([sixth.status, sixth.headers.get('retry-after')]).toEqual([429, '60']);
    expect((await ask('GET', '/secret', { authorization: 'Bearer right' })).status).toBe(200);
    wait(61_000);
    expect((await wrong()).status).toBe(401);
  });

  it('are not needed where there are none', async () => {
    const { ask } = made({ keys: [] });
    expect((await ask('POST', '/secret')).status).toBe(200);
  });
});

describe('sessions', () => {
  it('begin with a key and then need only the cookie, which scripts cannot read', async () => {
    const { ask } = made();
    expect((await ask('POST', '/session')).status).toBe(401);
    const begun = await ask('POST', '/session', { authorization: 'Bearer right' });
    const cookie = begun.headers.get('set-cookie') as string;
    expect(cookie).toMatch(/^session-80=[\w-]{43}; .*HttpOnly/);
    expect(cookie).toMatch(/SameSite=Strict/);
    const [pair] = cookie.split(';') as [string];
    expect((await ask('GET', '/secret', { cookie: pair })).status).toBe(200);
    expect((await ask('GET', '/secret', { cookie: `${pair}x` })).status).toBe(401);
    const again = await ask('POST', '/session', { authorization: 'Bearer right', cookie: pair });
    expect(again.headers.get('set-cookie')).not.toContain(pair);
  });

  it('end when they are not used for 12 hours, and after 14 days', () => {
    let now = 0;
    const sessions = new Sessions(() => now);
    const [idle, busy] = [sessions.begin(), sessions.begin()];
    for (let hours = 6; hours <= 14 * 24; hours += 6) {
      now = hours * HOURS;
      expect([hours, sessions.has(busy)]).toEqual([hours, true]);
    }
    expect(sessions.has(idle)).toBe(false);
    now += HOURS;
    expect(sessions.has(busy)).toBe(false);
    expect(sessions.has('')).toBe(false);
  });

  it('are kept for a thousand at most', () => {
    const sessions = new Sessions(() => 0);
    const first = sessions.begin();
    for (let i = 0; i < 1000; i++) sessions.begin();
    expect(sessions.has(first)).toBe(false);
  });
});

describe('pages of other sites', () => {
  const foreign = [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: 'http://localhost:81' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site', origin: 'http://localhost:80' },
  ] as Record<string, string>[];

  it.each(foreign)('cannot change anything, with a key or without one: %o', async (headers) => {
    for (const keys of [[], ['right']]) {
      const { ask } = made({ keys });
      const authorization = 'Bearer right';
      expect((await ask('POST', '/secret', { ...headers, authorization })).status).toBe(403);
      expect((await ask('POST', '/session', { ...headers, authorization })).status).toBe(403);
      expect((await ask('DELETE', '/secret', { ...headers, authorization })).status).toBe(403);
    }
  });

  it('get no permission to read, unless they are named', async () => {
    const { ask } = made({ keys: [], origins: ['https://good.example'] });
    for (const origin of ['https://evil.example', 'https://good.example.evil']) {
      const { headers } = await ask('GET', '/secret', { origin });
      expect([...headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
    const origin = 'https://good.example';
    const answer = await ask('POST', '/secret', { origin, 'sec-fetch-site': 'cross-site' });
    expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([200, origin]);
    expect(answer.headers.get('access-control-allow-credentials')).toBe(null);
    const asked = await ask('OPTIONS', '/secret', { origin, 'access-control-request-method': 'POST' });
    expect([asked.status, asked.headers.get('access-control-allow-headers')]).toEqual([
      204,
      'authorization, content-type',
    ]);
  });

  it('are not the pages of this server, nor programs', async () => {
    const { ask } = made({ keys: [] });
    const own: Record<string, string> = { origin: 'http://localhost:80', 'sec-fetch-site': 'same-origin' };
    for (const headers of [own, {}]) {
      expect((await ask('POST', '/secret', headers)).status).toBe(200);
    }
  });
});

it('every response has the headers that keep pages from doing anything else', async () => {
  const { ask } = made();
  for (const path of ['/health', '/secret', '/nothing']) {
    const { headers } = await ask('GET', path);
    expect(headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self'/);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cache-control')).toBe('no-store');
  }
});
