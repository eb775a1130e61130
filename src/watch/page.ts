/** The page about runs that are going on, or have ended: the whole of it in HTML, for browsers with scripts and without. */
import { formatCount, formatDuration, formatNumber } from '../metrics/format.ts';
import { MOST_BUCKETS, type Series as Drawn } from '../report/chart.ts';
import { escapeHtml } from '../report/escape.ts';
import { figureOf, keyOf } from '../report/page.ts';
import { labelOf, tableOf } from '../report/tables.ts';
import { answersSection } from './answers.ts';
import { healthyRange, panelsOf, warnings } from './panels.ts';
import type { Series } from './series.ts';
import { linkTo, MOST_RUNS, type ShownRun, type View } from './view.ts';
import type { RunFacts, WatchedRun } from './watched-run.ts';
import type { TrialFacts, Watcher } from './watcher.ts';

/** The content of the page, which its script exchanges for a newer one. */
export async function pageContent(watcher: Watcher, view: View): Promise<string> {
  return [
    `<header><h1>${escapeHtml(titleOf(view))}</h1>${statusOf()}</header>`,
    '<main>',
    runsSection(watcher, view),
    curvesSection(view),
    await answersSection(view),
    '</main>',
  ].join('\n');
}

/** The title of the page, which says how far the runs are. */
export function titleOf({ runs }: View): string {
  const [first, ...others] = runs.map(({ run }) => run.facts());
  if (first === undefined) return 'Watch: no runs yet';
  if (others.length > 0) return `Watch: ${[first, ...others].map(({ name }) => name).join(', ')}`;
  return `${first.name}: ${progressOf(first)}`;
}

/** Where the script tells whether news arrive; without one it stays as it is. */
function statusOf(): string {
  return '<p class="soft" id="live" role="status">reload the page for news</p>';
}

function progressOf({ state, step, steps }: RunFacts): string {
  if (state === 'waiting') return 'waiting for the run to begin';
  return `step ${step}${steps === undefined ? '' : ` of ${steps}`}, ${state}`;
}

function runsSection(watcher: Watcher, view: View): string {
  const trials = watcher.trials();
  const keys = [...new Set([...trials.values()].flatMap(({ parameters }) => Object.keys(parameters)))];
  const choice = watcher.runs.length > 1;
  const head = ['run', 'state', 'step', 'time left', 'tokens/s', 'checkpoint', 'best step'];
  const rows = watcher.runs.map((run, i) => {
    const facts = run.facts();
    const shown = view.runs.find((each) => each.run === run);
    const trial = watcher.isSweep ? trialCells(trials.get(run.folder), keys) : [];
    const cells = [
      ...factCells(facts, view.several ? shown : undefined),
      ...trial,
      ...(choice ? [choiceOf(view, run, labelOf(i))] : []),
    ];
    return { cells };
  });
  const more = watcher.isSweep ? [...keys, 'reached'].map(escapeHtml) : [];
  const table = tableOf([...head, ...more, ...(choice ? ['curves'] : [])], rows, 'numbers');
  const problems = watcher.runs.flatMap((run) => run.facts().problems.map((text) => `${run.name}: ${text}`));
  const told = problems.map((text) => `<p class="warning">${escapeHtml(text)}</p>`).join('');
  return `<section aria-label="Runs">${table}${told}</section>`;
}

function factCells(facts: RunFacts, shown: ShownRun | undefined): string[] {
  const { name, state, step, steps, remaining, tokensPerSecond, checkpoint, best } = facts;
  const letter = shown === undefined ? '' : keyOf(shown.label, shown.place);
  const dash = (value: number | undefined, format: (value: number) => string) =>
    value === undefined ? '—' : format(value);
  return [
    `${letter}${escapeHtml(name)}`,
    `<span class="state ${state}">${state}</span>`,
    `${step}${steps === undefined ? '' : ` of ${steps}`}`,
    dash(remaining, formatDuration),
    dash(tokensPerSecond, formatCount),
    dash(checkpoint, String),
    best === undefined ? '—' : `${best.step} (${escapeHtml(best.metric)})`,
  ];
}

function trialCells(trial: TrialFacts | undefined, keys: readonly string[]): string[] {
  const values = keys.map((key) => trial?.parameters[key]);
  const texts = values.map((value) => (value === undefined ? '—' : escapeHtml(JSON.stringify(value))));
  const { value, failed } = trial ?? {};
  return [...texts, failed === undefined ? (value === undefined ? '—' : formatNumber(value)) : 'failed'];
}

/** A link that adds a run to those that are drawn, or leaves it out. */
function choiceOf(view: View, run: WatchedRun, label: string): string {
  const others = view.runs.filter((each) => each.run !== run);
  const isShown = others.length < view.runs.length;
  if (isShown && others.length === 0) return 'shown';
  if (!isShown && others.length === MOST_RUNS) return `${MOST_RUNS} at most`;
  const runs = isShown ? others : [...others, { run, label, place: others.length }];
  const link = escapeHtml(linkTo({ ...view, runs, answer: undefined }));
  return `<a href="${link}">${isShown ? 'hide' : 'show'}<span class="unseen"> ${escapeHtml(run.name)}</span></a>`;
}

function curvesSection(view: View): string {
  const series = view.runs.map(({ run }) => run.series);
  const names = [...new Set(series.flatMap((each) => [...each.keys()]))];
  if (names.length === 0) return '<section><h2>Curves</h2><p class="soft">No steps yet.</p></section>';
  const told = series.map((each) => warnings(each));
  const isStill = (name: string) =>
    !told.some((each) => each.has(name)) && series.every((each) => isConstant(each, name));
  const still = names.filter(isStill);
  const panels = panelsOf(names.filter((name) => !still.includes(name))).map(({ title, metrics }) => {
    const figures = metrics.map((name) => figureFor(view, name, told));
    return `<section class="panel"><h3>${escapeHtml(title)}</h3><div class="grid-of-charts">${figures.join('\n')}</div></section>`;
  });
  const values = still.map((name) => `${escapeHtml(name)} ${valueIn(series, name)}`).join(', ');
  return [
    '<section><h2>Curves</h2>',
    `<p class="soft">Steps: ${stepLinks(view)}. Shaded is what is usually healthy.</p>`,
    ...panels,
    values && `<p class="soft">Did not change: ${values}.</p>`,
    '</section>',
  ].join('\n');
}

/** Links to later parts of the curves. */
function stepLinks(view: View): string {
  const last = Math.max(...view.runs.map(({ run }) => run.facts().step));
  const parts: [string, number | undefined][] = [
    ['all', undefined],
    ['the last half', Math.floor(last / 2)],
    ['the last tenth', Math.floor(last * 0.9)],
  ];
  const shown = view.from === undefined ? 'all' : `from ${view.from}`;
  const links = parts.map(([text, from]) => `<a href="${escapeHtml(linkTo({ ...view, from }))}">${text}</a>`);
  return `<b>${shown}</b> (${links.join(', ')})`;
}

function figureFor(view: View, name: string, told: readonly ReadonlyMap<string, string>[]): string {
  const sentences = view.runs.flatMap(({ label }, i) => {
    const sentence = told[i]?.get(name);
    if (sentence === undefined) return [];
    return [`<p class="warning">${view.runs.length > 1 ? `${label}: ` : ''}${escapeHtml(sentence)}</p>`];
  });
  const query = escapeHtml(linkTo({ ...view, answer: undefined }));
  const file = `/panels/${encodeURIComponent(name)}`;
  const links = ['svg', 'csv'].map((kind) => {
    const spoken = `<span class="unseen"> of ${escapeHtml(name)}</span>`;
    return `<a download href="${escapeHtml(file)}.${kind}${query}">${kind.toUpperCase()}${spoken}</a>`;
  });
  const foot = `${sentences.join('')}<p class="files">${links.join(' ')}</p>`;
  const several = view.runs.length > 1;
  const id = `chart-${encodeURIComponent(name)}`;
  return figureOf(name, drawnOf(view, name), id, { several, healthy: healthyRange(name), tellsPlot: true, foot });
}

/** The curves of a metric in a view. */
export function drawnOf({ runs, from }: View, name: string): Drawn[] {
  return runs.flatMap(({ run, label, place }): Drawn[] => {
    const series = run.series.get(name);
    if (series === undefined) return [];
    const curve = series.curve(MOST_BUCKETS, from);
    const { best } = run.facts();
    const value = best?.metric === name ? series.valueAt(best.step) : undefined;
    return [{ label, index: place, curve, best: best && value !== undefined ? { step: best.step, value } : undefined }];
  });
}

function isConstant(series: ReadonlyMap<string, Series>, name: string): boolean {
  const { count, marks } = series.get(name) ?? {};
  return count === undefined || (count > 1 && marks?.low.value === marks?.high.value);
}

function valueIn(all: readonly ReadonlyMap<string, Series>[], name: string): string {
  const value = all.map((each) => each.get(name)?.marks?.last.value).find((found) => found !== undefined);
  return value === undefined || value === null ? 'not finite' : formatNumber(value);
}
