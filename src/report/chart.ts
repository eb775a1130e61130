/** One metric of several runs as an SVG drawing. */
import { formatNumber } from '../metrics/format.ts';
import type { Bucket, Curve, Point } from './curve.ts';
import { escapeHtml } from './escape.ts';
import { linearScale, logScale, type Scale } from './scale.ts';

/** The curve of one run. */
export interface Series {
  /** The letter of the run, written at the end of its curve. */
  label: string;
  /** Its place among the runs, which gives color and dashes. */
  index: number;
  curve: Curve;
  /** The step that was best by this metric, with its value; undefined for other metrics. */
  best?: Point | undefined;
}

/** What a drawing may show besides curves. */
export interface ChartOptions {
  /** The range of values to shade; either end may be infinite. */
  healthy?: readonly [low: number, high: number] | undefined;
  /** A style sheet, for a drawing that is a file of its own. */
  style?: string | undefined;
  /** Whether an attribute says where the plot is, and which steps it has, for a script. */
  tellsPlot?: boolean;
}

const WIDTH = 420;
const HEIGHT = 220;
const LEFT = 54;
const RIGHT = 20;
const TOP = 12;
const BOTTOM = 30;
/** The most buckets of a curve that a drawing has room for. */
export const MOST_BUCKETS = 160;
/** Curves with at most so many points show each of them. */
const DOTS = 40;

/** A drawing of `series` with axes, for an HTML page that has the colors; `id` is unique in the page. */
export function chart(
  name: string,
  series: readonly Series[],
  id: string,
  { healthy, style = '', tellsPlot = false }: ChartOptions = {},
): string {
  const buckets = series.flatMap(({ curve }) => curve.parts.flat());
  const steps = series.flatMap(({ curve }) => curve.span);
  const x = linearScale(Math.min(...steps), Math.max(...steps), 4);
  const y = valueScale(name, buckets);
  const place = placing(x, y);
  const edges = [LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM, x.low, x.high];
  const plot = tellsPlot ? ` data-plot="${edges.join(' ')}"` : '';
  const drawn = series.map((each) => lines(each, place) + bestRing(each, place));
  const labels = series.length < 2 ? [] : endLabels(series, place);
  return [
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="${id}-title ${id}-desc"${plot}>`,
    `<title id="${id}-title">${escapeHtml(name)}</title>`,
    `<desc id="${id}-desc">${escapeHtml(series.map(described).join(' '))}</desc>`,
    style && `<style>${style}</style>`,
    healthy === undefined ? '' : shade(healthy, y, place),
    axes(x, y, place),
    ...drawn,
    ...labels,
    '</svg>',
  ].join('');
}

interface Place {
  x(step: number): string;
  y(value: number): string;
}

function placing(x: Scale, y: Scale): Place {
  const fixed = (value: number) => String(Math.round(value * 10) / 10);
  return {
    x: (step) => fixed(LEFT + x.at(step) * (WIDTH - LEFT - RIGHT)),
    y: (value) => fixed(HEIGHT - BOTTOM - y.at(value) * (HEIGHT - TOP - BOTTOM)),
  };
}

/** Losses and norms that span more than a factor of ten get a logarithmic axis. */
function valueScale(name: string, buckets: readonly Bucket[]): Scale {
  const min = buckets.reduce((least, bucket) => Math.min(least, bucket.min), Number.POSITIVE_INFINITY);
  const max = buckets.reduce((most, bucket) => Math.max(most, bucket.max), Number.NEGATIVE_INFINITY);
  if (buckets.length === 0) return linearScale(0, 1);
  if (/loss$|norm$/i.test(name) && min > 0 && max / min > 10) return logScale(min, max);
  const margin = (max - min) * 0.04;
  return linearScale(min - margin, max + margin);
}

function axes(x: Scale, y: Scale, place: Place): string {
  const right = WIDTH - RIGHT;
  const bottom = HEIGHT - BOTTOM;
  const rows = y.ticks.map(({ value, label }) => {
    const at = place.y(value);
    return `<path class="grid" d="M${LEFT} ${at}H${right}"/><text class="tick" x="${LEFT - 7}" y="${at}" dy="4" text-anchor="end">${label}</text>`;
  });
  const columns = x.ticks
    .filter(({ value }) => Number.isInteger(value))
    .map(({ value, label }) => {
      const at = place.x(value);
      return `<path class="axis" d="M${at} ${bottom}v4"/><text class="tick" x="${at}" y="${bottom + 17}" text-anchor="middle">${label}</text>`;
    });
  const note = y.log ? `<text class="tick" x="${right}" y="${TOP}" dy="2" text-anchor="end">log scale</text>` : '';
  return `${rows.join('')}<path class="axis" d="M${LEFT} ${bottom}H${right}"/>${columns.join('')}${note}`;
}

/** The part of a range of values that lies between the ends of the axis. */
function shade([low, high]: readonly [number, number], y: Scale, place: Place): string {
  const [from, to] = [Math.max(low, y.low), Math.min(high, y.high)];
  if (!(from < to)) return '';
  const [top, bottom] = [Number(place.y(to)), Number(place.y(from))];
  return `<rect class="healthy" x="${LEFT}" y="${top}" width="${WIDTH - LEFT - RIGHT}" height="${(bottom - top).toFixed(1)}"/>`;
}

/** The line of the means; where a bucket holds several values, a band from their minimum to their maximum. */
function lines({ index, curve: { parts, count } }: Series, place: Place): string {
  const at = ({ step }: Bucket, value: number) => `${place.x(step)} ${place.y(value)}`;
  const shapes = parts.map((part) => {
    const wide = part.some(({ count }) => count > 1) && part.length > 1;
    const upper = part.map((bucket) => at(bucket, bucket.max));
    const lower = part.map((bucket) => at(bucket, bucket.min)).reverse();
    const band = wide ? `<path class="band" d="M${[...upper, ...lower].join('L')}Z"/>` : '';
    const line =
      part.length > 1 ? `<path class="line" d="M${part.map((bucket) => at(bucket, bucket.mean)).join('L')}"/>` : '';
    const shown = count <= DOTS || part.length === 1 ? part : [];
    const points = shown.map(({ step, mean }) => `<circle cx="${place.x(step)}" cy="${place.y(mean)}" r="2.2"/>`);
    return band + line + points.join('');
  });
  return `<g class="run run-${index}">${shapes.join('')}</g>`;
}

/** A ring around the best point of a curve. */
function bestRing({ best, index }: Series, place: Place): string {
  if (best === undefined || best.value === null) return '';
  return `<circle class="best run-${index}" cx="${place.x(best.step)}" cy="${place.y(best.value)}" r="5"/>`;
}

/** The letters of the runs at the ends of their curves, moved apart where they would touch: down, and up again at the axis. */
function endLabels(series: readonly Series[], place: Place): string[] {
  const ends = series
    .flatMap(({ curve: { parts }, label, index }) => {
      const last = parts.at(-1)?.at(-1);
      return last === undefined ? [] : [{ label, index, x: Number(place.x(last.step)), y: Number(place.y(last.mean)) }];
    })
    .sort((a, b) => a.y - b.y);
  const near = (some: typeof ends, x: number) => some.filter((other) => Math.abs(other.x - x) < 14);
  ends.forEach((end, i) => {
    end.y = Math.max(end.y, ...near(ends.slice(0, i), end.x).map(({ y }) => y + 11));
  });
  for (const [i, end] of [...ends.entries()].reverse())
    end.y = Math.min(end.y, HEIGHT - BOTTOM, ...near(ends.slice(i + 1), end.x).map(({ y }) => y - 11));
  return ends.map(({ label, index, x, y }) => {
    return `<text class="end run-${index}" x="${x + 4}" y="${y}" dy="4">${escapeHtml(label)}</text>`;
  });
}

/** The curve in words. */
function described({ label, curve: { marks }, best }: Series): string {
  if (marks === undefined) return `Run ${label}: no finite value.`;
  const { first, last, low, high } = marks;
  const said = ({ step, value }: Point) => `${formatNumber(value ?? Number.NaN)} at step ${step}`;
  const marked = best === undefined ? '' : ` The best step, which is marked, is ${best.step}.`;
  return `Run ${label}: ${said(first)}, ${said(last)}; lowest ${said(low)}, highest ${said(high)}.${marked}`;
}
