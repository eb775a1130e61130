/** The page about runs and its interface, as requests get them: what they show, what they refuse, and that nothing is changed. */
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { lock } from '../../src/files/lock.ts';
import { watchApp } from '../../src/watch/app.ts';
import { WatchedRun } from '../../src/watch/watched-run.ts';
import { Watcher } from '../../src/watch/watcher.ts';
import { appendSteps, HOSTILE, runFolder } from './run-folder.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-watch-'));
afterAll(() => rmSync(folder, { recursive: true }));
let count = 0;
const fresh = () => join(folder, `run-${++count}`);

async function watching(folders: readonly string[], keys: readonly string[] = []) {
  const watcher = new Watcher(folders);
  await watcher.advance();
  const errors: unknown[] = [];
  const app = watchApp(watcher, {
    ...{ keys, origins: [], hosts: () => new Set(['localhost']), now: () => 0 },
    assets: new Map([
      ['watch.js', '1;'],
      ['watch.css', '.a{}'],
    ]),
    onError: (error) => errors.push(error),
  });
  const text = async (path: string) => await (await app.request(path)).text();
  const json = async (path: string) => JSON.parse(await text(path));
  return { watcher, app, errors, text, json };
}

describe('the state of a run', () => {
  const stateOf = async (run: WatchedRun) => {
    const news = await run.advance();
    return [run.facts().state, news.has('state')];
  };

  it('is waiting, running while a process holds its lock, stopped, and ended once its model is there', async () => {
    const path = fresh();
    const run = new WatchedRun(path);
    expect(await stateOf(run)).toEqual(['waiting', false]);
    runFolder(path, 12);
    const unlock = await lock(join(path, 'checkpoints'));
    expect(await stateOf(run)).toEqual(['running', true]);
    expect(run.facts()).toMatchObject({ step: 12, steps: 40, remaining: 56, tokensPerSecond: 1012, checkpoint: 20 });
    expect(run.facts().best).toEqual({ step: 10, metric: 'score' });
    await unlock();
    expect(await stateOf(run)).toEqual(['stopped', true]);
    expect(run.facts().remaining).toBeUndefined();
    writeFileSync(join(path, 'model.safetensors'), '');
    expect(await stateOf(run)).toEqual(['ended', true]);
    writeFileSync(join(path, 'checkpoints', 'lock'), JSON.stringify({ pid: 2 ** 22 + 1, host: 'nowhere' }));
    expect((await stateOf(run))[0]).toBe('running');
    rmSync(path, { recursive: true });
    expect(await stateOf(run)).toEqual(['waiting', true]);
    expect(run.series.size).toBe(0);
  });

  it('tells what cannot be read, and goes on with the rest', async () => {
    const path = runFolder(fresh(), 3);
    appendFileSync(join(path, 'metrics.jsonl'), 'damaged\n');
    writeFileSync(join(path, 'config.json'), '{');
    rmSync(join(path, 'samples.jsonl'));
    mkdirSync(join(path, 'samples.jsonl'));
    const run = new WatchedRun(path);
    await run.advance();
    const { step, problems } = run.facts();
    expect(step).toBe(3);
    expect(problems.join(' ')).toMatch(/samples\.jsonl.*config\.json.*damaged, and left out: 1/s);
  });

  it('goes back with a run that is resumed from an earlier step', async () => {
    const path = runFolder(fresh(), 20);
    const run = new WatchedRun(path);
    await run.advance();
    expect(await run.advance()).toEqual(new Set());
    const first = run.samples.all[0];
    for (const file of ['metrics.jsonl', 'timing.jsonl', 'samples.jsonl']) truncateSync(join(path, file), 0);
    appendSteps(path, 0, 4);
    const news = await run.advance();
    expect([news.has('restart'), run.facts().step, run.samples.all.length]).toEqual([true, 4, 0]);
    expect(first && (await run.sample(first))).toBeUndefined();
  });
});

describe('the page', () => {
  it('has everything without a script: state, curves, what is not healthy, answers', async () => {
    const { text } = await watching([runFolder(fresh(), 30, { kl: 1 })]);
    const page = await text('/');
    expect(page).toContain('run-4: step 30 of 40, stopped');
    for (const title of [
      'Score and reward',
      'Distance from the reference',
      'Size of the updates',
      'Optimizer',
      'Speed',
    ])
      expect(page).toContain(`<h3>${title}</h3>`);
    expect(page).toContain('The policy is far from the reference');
    expect(page).toContain('<rect class="healthy"');
    expect(page).toContain('Did not change: epochs 4, ');
    expect(page).toContain('The best step, which is marked, is 10.');
    expect(page).toContain('burning bright 30');
    expect(page).toContain('step 30 · score 3 · KL 0.3000');
    expect(page).toContain('Earlier answers, at 5 of 5 steps');
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(page.match(/<[^>]* (style|on\w+)=|<style|<script(?! type="module" src="\/assets\/watch\.js")/)).toBe(null);
  });

  it('shows hostile names, prompts and answers as text', async () => {
    const path = runFolder(fresh(), 10, { response: HOSTILE });
    appendFileSync(
      join(path, 'metrics.jsonl'),
      `${[11, 12].map((step) => JSON.stringify({ step, [HOSTILE]: step })).join('\n')}\n`,
    );
    const { text } = await watching([path]);
    for (const page of [await text('/'), await text('/?answer=A-0'), await text('/page?answer=A-1')]) {
      expect(page).toContain('&lt;script&gt;');
      expect(['<script>', '<img', '\u001b'].filter((sign) => page.includes(sign))).toEqual([]);
    }
    const links = [...(await text('/')).matchAll(/href="(\/panels\/[^"]+\.svg\?)"/g)].map(([, link]) => link as string);
    const drawings = await Promise.all(
      links.map((link) => text(link.replaceAll('&amp;', '&').replaceAll('&#39;', "'"))),
    );
    expect(drawings.filter((svg) => svg.includes('&lt;script&gt;'))).toHaveLength(1);
    for (const svg of drawings) expect(svg.match(/<script|<img/)).toBe(null);
  });

  it('shows the tokens of an answer with their numbers, colored by any of them', async () => {
    const { text } = await watching([runFolder(fresh(), 10)]);
    const page = await text('/?answer=A-2');
    expect(page).toContain('Tokens of the answer at step 10');
    expect(page).toContain('<b>log-ratio to the reference</b>');
    expect(page).toContain('aria-label="u: log-ratio to the reference 0.8415, reward 0.1000, advantage 0.8000"');
    const shades = (html: string) => [...html.matchAll(/class="token ([^"]+)"/g)].map(([, shade]) => shade).slice(3);
    expect(shades(page).slice(0, 6)).toEqual(['shade-0', 'above-3', 'above-4', 'above-1', 'below-3', 'below-4']);
    expect(shades(await text('/?answer=A-2&by=advantage')).slice(0, 3)).toEqual(['above-3', 'above-2', 'above-1']);
    expect(await text('/?answer=A-99')).toContain('no longer in the file');
  });

  it('draws at most four runs at once, each with a letter, and the steps that are asked for', async () => {
    const { text, json, app } = await watching([5, 6, 7, 8, 9].map((steps) => runFolder(fresh(), steps)));
    const page = await text('/');
    expect(page.match(/4 at most/g)).toHaveLength(1);
    expect(page).toContain('href="?run=B&amp;run=C&amp;run=D">hide');
    expect((await json('/api/run')).runs.map(({ label, step }: Record<string, unknown>) => [label, step])).toEqual([
      ...[
        ['A', 5],
        ['B', 6],
        ['C', 7],
        ['D', 8],
      ],
    ]);
    expect((await json('/api/run?run=E&run=A')).runs.map(({ label }: Record<string, unknown>) => label)).toEqual([
      'E',
      'A',
    ]);
    const { runs } = await json('/api/metrics?run=E&from=4&to=8&buckets=2');
    expect(runs[0].metrics.kl.flat().map(({ count }: { count: number }) => count)).toEqual([3, 2]);
    for (const query of ['run=F', 'run=A&run=B&run=C&run=D&run=E', 'from=x', 'from=-1', 'answer=1', 'by=x', 'run='])
      expect([query, (await app.request(`/?${query}`)).status]).toEqual([query, 400]);
    expect((await app.request('/api/metrics?buckets=0')).status).toBe(400);
  });

  it('shows the runs of a sweep in a table, also those that begin later', async () => {
    const sweep = fresh();
    mkdirSync(sweep);
    const begin = { sweep: { version: '0.2.0', config: {}, settings: {} } };
    const reached = { trial: 1, repeat: 1, rung: 0, step: 10, value: 0.25, parameters: { lr: 0.01 } };
    const failed = { trial: 2, repeat: 1, rung: 0, failed: 'no memory', parameters: { lr: 1 } };
    writeFileSync(
      join(sweep, 'sweep.jsonl'),
      `${[begin, reached, failed].map((line) => JSON.stringify(line)).join('\n')}\n{"tri`,
    );
    runFolder(join(sweep, 'trial-001'), 10);
    const { text, watcher } = await watching([sweep]);
    expect(await text('/')).toMatch(/trial-001.*<td>0\.01<\/td><td>0\.2500<\/td>/s);
    runFolder(join(sweep, 'trial-002'), 2);
    await watcher.advance();
    expect(await text('/')).toMatch(/trial-002.*<td>1<\/td><td>failed<\/td>/s);
  });

  it('says that it waits for a run that is not there yet', async () => {
    const { text, json } = await watching([fresh()]);
    expect(await text('/')).toMatch(/waiting for the run to begin.*No steps yet/s);
    expect((await json('/api/run')).runs[0]).toMatchObject({ state: 'waiting', step: 0 });
  });
});

describe('the interface', () => {
  it('gives panels as drawings and tables to keep', async () => {
    const { app, text } = await watching([runFolder(fresh(), 10)]);
    const csv = await text('/panels/score.csv');
    expect(csv.split('\n').slice(0, 2)).toEqual([
      'run,step,mean,least,greatest,values',
      `A,1,${[1, 1, 1].map(() => Math.sin(1 / 9) + 1 / 20)},1`,
    ]);
    expect(csv.trim().split('\n')).toHaveLength(11);
    const svg = await app.request('/panels/kl.svg');
    expect(svg.headers.get('content-type')).toBe('image/svg+xml');
    expect(svg.headers.get('content-disposition')).toBe('attachment; filename="kl.svg"');
    expect(await svg.text()).toMatch(/^<\?xml .*<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" .*<style>.*<\/svg>\n$/s);
    for (const file of ['nothing.svg', 'score.png', '..%2Fconfig.json'])
      expect([file, (await app.request(`/panels/${file}`)).status]).toEqual([file, 404]);
  });

  it('gives answers, and the whole of one', async () => {
    const { json, app } = await watching([runFolder(fresh(), 10)]);
    const { samples } = (await json('/api/samples')).runs[0];
    expect(samples[2]).toEqual({ answer: 'A-2', step: 10, prompt: 'Tiger, tiger', score: 1, kl: 0.1, hasTokens: true });
    const sample = await json('/api/samples?answer=A-2');
    expect(sample.tokens[1]).toEqual({ id: 117, text: 'u', logRatio: Math.sin(1), reward: 0.1, advantage: 0.8 });
    expect((await app.request('/api/samples?answer=A-9')).status).toBe(404);
  });

  it('tells of news as they come', async () => {
    const path = runFolder(fresh(), 5);
    const { app, watcher } = await watching([path]);
    const leave = new AbortController();
    const response = await app.request(new Request('http://localhost/events', { signal: leave.signal }));
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let text = '';
    const until = async (pattern: RegExp) => {
      while (!pattern.test(text)) text += new TextDecoder().decode((await reader.read()).value);
      text = '';
    };
    await until(/^event: hello\n/);
    appendSteps(path, 5, 9);
    await watcher.advance();
    await until(/event: step\ndata: \{"steps":\[9\]\}\n\n/);
    appendSteps(path, 9, 10);
    await watcher.advance();
    await until(/event: sample\n/);
    truncateSync(join(path, 'metrics.jsonl'), 0);
    await watcher.advance();
    await until(/event: restart\n/);
    leave.abort();
    await reader.cancel();
  });

  it('changes nothing, whatever is asked for', async () => {
    const path = runFolder(fresh(), 5);
    const before = readdirSync(path, { recursive: true });
    const { app, errors } = await watching([path]);
    const paths = new Set(app.routes.map(({ path: route }) => route.replace('/*', '/').replace(':file', 'score.csv')));
    expect(paths.size).toBeGreaterThan(8);
    for (const route of paths) {
      if (route === '/events') continue;
      expect((await app.request(route)).status).toBeLessThan(500);
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
        expect([method, route, (await app.request(route, { method })).status]).toEqual([method, route, 404]);
    }
    expect(readdirSync(path, { recursive: true })).toEqual(before);
    expect(errors).toEqual([]);
  });

  it('shows nothing of the runs without a key, if there are keys', async () => {
    const { app } = await watching([runFolder(fresh(), 5)], ['right']);
    const paths = new Set(app.routes.map(({ path }) => path.replace(':file', 'score.csv')));
    for (const path of paths) {
      const open = ['/', '/*', '/health', '/assets/watch.js', '/assets/watch.css'].includes(path);
      const { status } = await app.request(path === '/*' ? '/' : path);
      expect([path, status === 200]).toEqual([path, open]);
    }
    const page = await (await app.request('/')).text();
    expect(page).toContain('needs its key');
    expect(page).not.toMatch(/run-\d|score/);
    const headers = { authorization: 'Bearer right' };
    expect(await (await app.request('/page', { headers })).json()).toMatchObject({
      title: expect.stringContaining('step 5'),
    });
  });
});
