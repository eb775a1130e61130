/** A report of runs as one HTML page, which needs no script and no other file. */
import { formatDuration, formatNumber } from '../metrics/format.ts';
import { type ChartOptions, chart, MOST_BUCKETS, type Series } from './chart.ts';
import { curveOf, type Point } from './curve.ts';
import { escapeHtml } from './escape.ts';
import { grouped } from './groups.ts';
import type { ReportRun } from './read.ts';
import { samplesSection } from './samples.ts';
import { RUN_STYLES, STYLE } from './style.ts';
import { configurationSection, dataSection, labelOf, tableOf } from './tables.ts';

/** What a page may have besides its runs: another title, and HTML above them. */
interface Heading {
  title?: string;
  lead?: string;
}

/** The page that compares `runs`, of which there is at least one. */
export function reportPage(runs: readonly ReportRun[], { title: given, lead = '' }: Heading = {}): string {
  const title = given ?? `Report: ${runs.map(({ name }) => name).join(', ')}`;
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width,initial-scale=1">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    `<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>`,
    `<header><h1>${escapeHtml(title)}</h1></header><main>${lead}`,
    overview(runs),
    curves(runs),
    samplesSection(runs),
    configurationSection(runs),
    dataSection(runs),
    '</main></body></html>\n',
  ].join('\n');
}

/** Metrics in the table at the top. */
const MAIN = 3;

function overview(runs: readonly ReportRun[]): string {
  const names = [...new Set(runs.flatMap(({ metrics }) => [...metrics.keys()]))];
  const main = grouped(names)
    .flatMap(([, members]) => members)
    .slice(0, MAIN);
  const marksBest = runs.some(({ best }) => best !== undefined);
  const rows = runs.map(({ name, metrics, best }, i) => {
    const steps = [...metrics.values()].reduce((most, points) => Math.max(most, points.at(-1)?.step ?? 0), 0);
    const seconds = (metrics.get('seconds') ?? []).reduce((sum, { value }) => sum + (value ?? 0), 0);
    const speed = (metrics.get('tokensPerSecond') ?? []).map(({ value }) => value ?? 0);
    const mean = speed.length === 0 ? '' : formatNumber(speed.reduce((sum, value) => sum + value, 0) / speed.length);
    const results = main.map((metric) => lastOf(metrics.get(metric) ?? []));
    const bests = marksBest ? [best === undefined ? '—' : bestOf(best, metrics)] : [];
    return [
      `${key(i, runs.length)}${escapeHtml(name)}`,
      String(steps),
      ...results,
      ...bests,
      formatDuration(seconds),
      mean,
    ];
  });
  const last = main.map((metric) => escapeHtml(`last ${metric}`));
  const head = ['run', 'steps', ...last, ...(marksBest ? ['best step'] : []), 'time in steps', 'tokens/s'];
  return `<section aria-label="Runs">${tableOf(
    head,
    rows.map((cells) => ({ cells })),
    'numbers',
  )}</section>`;
}

/** As in `25: validationLoss 4.600`. */
function bestOf({ step, metric }: { step: number; metric: string }, metrics: ReportRun['metrics']): string {
  const value = metrics.get(metric)?.find((point) => point.step === step)?.value;
  return `${step}: ${escapeHtml(metric)} ${formatNumber(value ?? Number.NaN)}`;
}

/** The letter of a run beside a piece of its curve; nothing for a single run. */
function key(index: number, runs: number): string {
  return runs < 2 ? '' : keyOf(labelOf(index), index);
}

/** A letter beside a piece of the curve that is the `index`-th of a drawing. */
export function keyOf(label: string, index: number): string {
  const line = '<svg class="sample" viewBox="0 0 36 10" aria-hidden="true"><path class="line" d="M0 5H36"/></svg>';
  return `<span class="run-${index % RUN_STYLES}">${line}<b>${label}</b></span> `;
}

function curves(runs: readonly ReportRun[]): string {
  const names = [...new Set(runs.flatMap(({ metrics }) => [...metrics.keys()]))];
  const constant = names.filter((name) => isConstant(runs, name));
  const sections = grouped(names.filter((name) => !constant.includes(name))).map(([title, members]) => {
    const figures = members.map((name) => figure(runs, name, `chart-${names.indexOf(name)}`));
    return `<h3>${title}</h3><div class="grid-of-charts">${figures.join('\n')}</div>`;
  });
  const still = constant.map((name) => `${escapeHtml(name)} ${valueIn(runs, name)}`).join(', ');
  return [
    '<section><h2>Curves</h2>',
    '<p class="soft">Over steps. Where a curve has more steps than fit, the line is their mean, and the band goes from the least to the greatest.</p>',
    ...sections,
    still && `<p class="soft">Did not change: ${still}.</p>`,
    '</section>',
  ].join('\n');
}

function figure(runs: readonly ReportRun[], name: string, id: string): string {
  const series = runs.flatMap(({ metrics, best }, i): Series[] => {
    const points = metrics.get(name) ?? [];
    const marked = best?.metric === name ? points.find(({ step }) => step === best.step) : undefined;
    const curve = curveOf(points, MOST_BUCKETS);
    return points.length === 0 ? [] : [{ label: labelOf(i), index: i % RUN_STYLES, curve, best: marked }];
  });
  return figureOf(name, series, id, { several: runs.length > 1 });
}

/** What a figure may have besides its curves. */
export interface FigureOptions extends ChartOptions {
  /** Whether curves have letters, because there are several runs. */
  several: boolean;
  /** HTML below the drawing. */
  foot?: string;
}

/** A drawing below its name and the last values of its curves. */
export function figureOf(
  name: string,
  series: readonly Series[],
  id: string,
  { several, foot = '', ...options }: FigureOptions,
): string {
  const last = series.map(({ label, index, curve }) => {
    const value = curve.marks?.last.value ?? null;
    const text = value === null ? '—' : formatNumber(value);
    return !several
      ? `<span class="soft">last ${text}</span>`
      : `<span class="run-${index}"><b>${label}</b> ${text}</span>`;
  });
  return `<figure><figcaption><b>${escapeHtml(name)}</b>${last.join('')}</figcaption>${chart(name, series, id, options)}${foot}</figure>`;
}

function lastOf(points: readonly Point[]): string {
  const value = points.findLast((point) => point.value !== null)?.value;
  return value === undefined || value === null ? '—' : formatNumber(value);
}

function isConstant(runs: readonly ReportRun[], name: string): boolean {
  const values = runs.flatMap(({ metrics }) => metrics.get(name) ?? []).map(({ value }) => value);
  return values.length > 1 && values.every((value) => value === values[0]);
}

function valueIn(runs: readonly ReportRun[], name: string): string {
  const value = runs.map(({ metrics }) => metrics.get(name)?.[0]).find((point) => point !== undefined)?.value;
  return value === null || value === undefined ? 'not finite' : formatNumber(value);
}
