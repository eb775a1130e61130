/** The HTTP interface of the page about runs. It only reads: no route changes anything. */
import { type Context, Hono } from 'hono';
import { chart } from '../report/chart.ts';
import type { Bucket } from '../report/curve.ts';
import { escapeHtml } from '../report/escape.ts';
import { STYLE } from '../report/style.ts';
import { access, type AccessOptions } from '../web/access.ts';
import { ApiError, noRoute, refusal } from '../web/api-error.ts';
import { type Assets, assetRoutes } from '../web/assets.ts';
import { eventStream, type ServerEvent } from '../web/events.ts';
import { pageShell } from '../web/page.ts';
import { drawnOf, pageContent, titleOf } from './page.ts';
import { healthyRange, panelsOf, warnings } from './panels.ts';
import { type ShownRun, type View, viewOf, wholeNumber } from './view.ts';
import type { Watcher } from './watcher.ts';

export interface WatchOptions extends Omit<AccessOptions, 'open'> {
  /** The script and the style sheet of the page. */
  assets: Assets;
  /** Told of errors that the page does not explain. */
  onError(error: unknown): void;
}

/** What is answered without a key: nothing of the runs. */
const OPEN = ['GET /', 'GET /health', 'GET /assets/*'];
/** Buckets of a metric in a response, unless it says how many. */
const DEFAULT_BUCKETS = 1000;
const MOST_ASKED = 16_384;
/** Answers in a response. */
const MOST_SAMPLES = 1000;

/** The application: hand its `fetch` to a server. */
export function watchApp(watcher: Watcher, options: WatchOptions): Hono {
  const app = new Hono();
  const pages = new Pages(watcher);
  app.use(access({ ...options, open: OPEN }));
  app.get('/health', (context) => context.json({ status: 'ok' }));
  app.route('/', assetRoutes(styled(options.assets)));
  app.get('/', async (context) => {
    // Without a key the page is empty; its script shows the key and fetches the rest.
    const locked = options.keys.length > 0;
    const view = locked ? undefined : viewIn(context, watcher);
    const content = view === undefined ? LOCKED : await pages.content(view, context.req.url);
    const title = view === undefined ? 'Watch' : titleOf(view);
    return context.html(
      pageShell({ title: escapeHtml(title), name: 'watch', body: `<div id="page">${content}</div>` }),
    );
  });
  app.get('/page', async (context) => {
    const view = viewIn(context, watcher);
    return context.json({ title: titleOf(view), content: await pages.content(view, context.req.url) });
  });
  app.get('/panels/:file', (context) => panelFile(context, viewIn(context, watcher)));
  app.get('/api/run', (context) => context.json(runsObject(viewIn(context, watcher))));
  app.get('/api/metrics', (context) => context.json(metricsObject(context, viewIn(context, watcher))));
  app.get('/api/samples', async (context) => context.json(await samplesObject(viewIn(context, watcher))));
  app.get('/events', (context) => {
    return eventStream(context, events(watcher, context.req.raw.signal), { failed: () => [] });
  });
  app.notFound(noRoute);
  app.onError((error, context) => {
    if (error instanceof ApiError) return refusal(context, error);
    options.onError(error);
    return refusal(context, new ApiError(500, 'something went wrong here; the terminal of palm watch says what'));
  });
  return app;
}

const LOCKED =
  '<main><h1>Watch</h1><p id="live" role="status">This page needs its key: open the address that palm watch printed, with scripts on.</p></main>';

/** The style sheet of reports, which draw the same curves, before that of the page. */
function styled(assets: Assets): Assets {
  return new Map([...assets].map(([name, text]) => [name, name.endsWith('.css') ? `${STYLE}\n${text}` : text]));
}

function viewIn(context: Context, watcher: Watcher): View {
  return viewOf(new URL(context.req.url).searchParams, watcher.runs);
}

/** Contents of pages, each made once for all who look while nothing is new. */
class Pages {
  readonly #watcher: Watcher;
  #version = -1;
  #made = new Map<string, Promise<string>>();

  constructor(watcher: Watcher) {
    this.#watcher = watcher;
  }

  content(view: View, url: string): Promise<string> {
    if (this.#version !== this.#watcher.version) this.#made = new Map();
    this.#version = this.#watcher.version;
    const { search } = new URL(url);
    const made = this.#made.get(search) ?? pageContent(this.#watcher, view);
    if (this.#made.size < MOST_KEPT) this.#made.set(search, made);
    return made;
  }
}

const MOST_KEPT = 20;

/** News as events: what happened, and how far the runs are. */
async function* events(watcher: Watcher, signal: AbortSignal): AsyncGenerator<ServerEvent> {
  const all = watcher.news(signal);
  yield { event: 'hello', data: '{}' };
  for await (const news of all) {
    const steps = watcher.runs.map((run) => run.facts().step);
    for (const event of news) yield { event, data: JSON.stringify({ steps }) };
  }
}

function runsObject({ runs }: View) {
  return {
    runs: runs.map(({ run, label }) => {
      const { series, config } = run;
      return {
        label,
        ...run.facts(),
        config: Object.fromEntries(config),
        panels: panelsOf([...series.keys()]),
        warnings: Object.fromEntries(warnings(series)),
      };
    }),
  };
}

function metricsObject(context: Context, { runs, from }: View) {
  const query = new URL(context.req.url).searchParams;
  const buckets = wholeNumber(query, 'buckets') ?? DEFAULT_BUCKETS;
  const to = wholeNumber(query, 'to');
  if (buckets < 1 || buckets > MOST_ASKED)
    throw new ApiError(400, `buckets must be from 1 to ${MOST_ASKED}`, { param: 'buckets' });
  const curves = ({ run }: ShownRun) =>
    [...run.series].map(([name, series]) => [name, series.curve(buckets, from, to).parts] as const);
  return { runs: runs.map((shown) => ({ label: shown.label, metrics: Object.fromEntries(curves(shown)) })) };
}

/** The last answers of the runs; or, if one is asked for, the whole of it with its tokens. */
async function samplesObject({ runs, answer }: View) {
  if (answer !== undefined) {
    const run = runs.find(({ label }) => label === answer.label)?.run;
    const known = run?.samples.all[answer.index];
    const sample = known && (await run?.sample(known));
    if (sample === undefined) throw new ApiError(404, 'there is no such answer', { param: 'answer' });
    return sample;
  }
  return {
    runs: runs.map(({ run, label }) => {
      const { all, prompts } = run.samples;
      const first = Math.max(0, all.length - MOST_SAMPLES);
      const samples = all.slice(first).map(({ step, prompt, score, kl, hasTokens }, i) => {
        return { answer: `${label}-${first + i}`, step, prompt: prompts[prompt], score, kl, hasTokens };
      });
      return { label, samples };
    }),
  };
}

/** A metric as a drawing or a table, to keep. */
function panelFile(context: Context, view: View): Response {
  const [, name = '', kind] = /^(.+)\.(svg|csv)$/.exec(context.req.param('file') ?? '') ?? [];
  const known = view.runs.some(({ run }) => run.series.has(name));
  if (!known) throw new ApiError(404, `there is no metric ${JSON.stringify(name)}, or it is neither .svg nor .csv`);
  const type = kind === 'svg' ? 'image/svg+xml' : 'text/csv; charset=utf-8';
  const file = `${name.replace(/[^\w.-]/g, '_')}.${kind}`;
  const headers = { 'Content-Type': type, 'Content-Disposition': `attachment; filename="${file}"` };
  return context.body(kind === 'svg' ? drawing(view, name) : csv(view, name), 200, headers);
}

function drawing(view: View, name: string): string {
  const svg = chart(name, drawnOf(view, name), 'chart', { healthy: healthyRange(name), style: STYLE });
  return `<?xml version="1.0" encoding="UTF-8"?>\n${svg.replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" ')}\n`;
}

/** A row for each bucket. Up to 16,384 steps each has a bucket of its own. */
function csv({ runs, from }: View, name: string): string {
  const rows = runs.flatMap(({ run, label }) => {
    const pieces = run.series.get(name)?.pieces(from) ?? [];
    return pieces.filter((piece) => piece.mean !== null).map((piece) => rowOf(label, piece as Bucket));
  });
  return `${['run,step,mean,least,greatest,values', ...rows].join('\n')}\n`;
}

function rowOf(label: string, { step, mean, min, max, count }: Bucket): string {
  return [label, step, mean, min, max, count].join(',');
}
