/** One step in all curves: a line through every drawing, and the values there. */
import { formatNumber } from '../../metrics/format.ts';

interface Bucket {
  step: number;
  mean: number;
}

interface Metrics {
  runs: { label: string; metrics: Record<string, Bucket[][]> }[];
}

/** The edges of a drawing's plot, in its units; report/chart.ts draws them. */
interface Plot {
  svg: SVGSVGElement;
  name: string;
  left: number;
  right: number;
  top: number;
  bottom: number;
  first: number;
  last: number;
}

const SVG = 'http://www.w3.org/2000/svg';
/** The step that is read; undefined for none. */
let step: number | undefined;
let metrics: Metrics | undefined;

/** Reads the step under the pointer, or that of the slider above the curves. */
export function followPointer(): void {
  document.addEventListener('pointermove', (event) => {
    const svg = (event.target as Element).closest?.('figure svg[data-plot]');
    if (svg === null || svg === undefined) return;
    const plot = plotOf(svg as SVGSVGElement);
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * plot.svg.viewBox.baseVal.width;
    const share = Math.min(1, Math.max(0, (x - plot.left) / (plot.right - plot.left)));
    void read(plot.first + share * (plot.last - plot.first));
  });
  document.addEventListener('input', (event) => {
    if ((event.target as Element).id === 'step-to-read') void read(Number((event.target as HTMLInputElement).value));
  });
}

/** Draws the line and the values again, after the page has changed. */
export function showReading(): void {
  metrics = undefined;
  const plots = allPlots();
  fitSlider(plots);
  if (step !== undefined) void read(step);
}

async function read(at: number): Promise<void> {
  step = Math.round(at);
  metrics ??= (await (
    await fetch(`/api/metrics${location.search}${location.search ? '&' : '?'}buckets=160`)
  ).json()) as Metrics;
  for (const plot of allPlots()) draw(plot, step);
  const slider = document.querySelector<HTMLInputElement>('#step-to-read');
  if (slider !== null && document.activeElement !== slider) slider.value = String(step);
}

function draw(plot: Plot, at: number): void {
  const { svg, name, left, right, top, bottom, first, last } = plot;
  let line = svg.querySelector('.crosshair');
  if (line === null) {
    line = document.createElementNS(SVG, 'path');
    line.setAttribute('class', 'crosshair');
    line.setAttribute('data-own', '');
    svg.append(line);
  }
  const x = left + ((at - first) / (last - first || 1)) * (right - left);
  line.setAttribute('d', x < left || x > right ? '' : `M${x.toFixed(1)} ${top}V${bottom}`);
  const values = (metrics as Metrics).runs.flatMap(({ label, metrics: own }) => {
    const near = nearest((own[name] ?? []).flat(), at);
    return near === undefined
      ? []
      : [`${(metrics as Metrics).runs.length > 1 ? `${label} ` : ''}${formatNumber(near.mean)}`];
  });
  const place = svg.parentElement?.querySelector('.files');
  if (place === null || place === undefined) return;
  let output = place.querySelector('output');
  if (output === null) {
    output = document.createElement('output');
    output.setAttribute('data-own', '');
    place.append(output);
  }
  output.textContent = values.length === 0 ? '' : `step ${at}: ${values.join(', ')}`;
}

function nearest(buckets: readonly Bucket[], at: number): Bucket | undefined {
  let best: Bucket | undefined;
  for (const bucket of buckets) if (Math.abs(bucket.step - at) < Math.abs((best?.step ?? Infinity) - at)) best = bucket;
  return best;
}

function allPlots(): Plot[] {
  return [...document.querySelectorAll<SVGSVGElement>('figure svg[data-plot]')].map(plotOf);
}

function plotOf(svg: SVGSVGElement): Plot {
  const [left, right, top, bottom, first, last] = (svg.dataset.plot ?? '').split(' ').map(Number) as [
    ...[number, number, number, number, number, number],
  ];
  const name = svg.querySelector('title')?.textContent ?? '';
  return { svg, name, left, right, top, bottom, first, last };
}

/** A slider above the curves, for those who use no pointer. */
function fitSlider(plots: readonly Plot[]): void {
  const [plot] = plots;
  const heading = document.querySelector('.panel');
  if (plot === undefined || heading === null) return;
  let slider = document.querySelector<HTMLInputElement>('#step-to-read');
  if (slider === null) {
    const label = document.createElement('label');
    label.className = 'reading';
    label.setAttribute('data-own', '');
    label.textContent = 'Read the curves at step ';
    slider = document.createElement('input');
    slider.type = 'range';
    slider.id = 'step-to-read';
    label.append(slider);
    heading.before(label);
  }
  slider.min = String(Math.min(...plots.map(({ first }) => first)));
  slider.max = String(Math.max(...plots.map(({ last }) => last)));
  if (step === undefined) slider.value = slider.max;
}
