/** The answers in a report: the last ones of every run, and earlier ones to unfold. */
import { formatNumber } from '../metrics/format.ts';
import { escapeHtml } from './escape.ts';
import type { ReportRun } from './read.ts';
import { labelOf } from './tables.ts';

type Shown = ReportRun['samples'][number];

/** The most earlier steps that a run shows; of more, evenly spaced ones. */
const MOST_STEPS = 12;

/** The answers of all runs that have any. */
export function samplesSection(runs: readonly ReportRun[]): string {
  const parts = runs.map((run, i) => ofRun(run, runs.length > 1 ? `Run ${labelOf(i)}: ` : '')).filter(Boolean);
  return parts.length === 0 ? '' : `<section><h2>Answers during training</h2>${parts.join('\n')}</section>`;
}

function ofRun({ name, samples }: ReportRun, label: string): string {
  const steps = [...new Set(samples.map(({ step }) => step))];
  const last = steps.at(-1);
  if (last === undefined) return '';
  const at = (step: number) =>
    samples
      .filter((sample) => sample.step === step)
      .map(pair)
      .join('');
  const before = spaced(steps.slice(0, -1)).reverse();
  const earlier = before.map((step) => `<h4>Step ${step}</h4><div class="samples">${at(step)}</div>`).join('');
  return [
    `<h3>${label}${escapeHtml(name)}, step ${last}</h3><div class="samples">${at(last)}</div>`,
    earlier && `<details><summary>Earlier answers</summary>${earlier}</details>`,
  ].join('');
}

/** Of many items, twelve that are evenly spaced, the first and the last among them. */
export function spaced<T>(items: readonly T[]): T[] {
  if (items.length <= MOST_STEPS) return [...items];
  const every = (items.length - 1) / (MOST_STEPS - 1);
  return Array.from({ length: MOST_STEPS }, (_, i) => items[Math.round(i * every)] as T);
}

function pair({ prompt, response, score, kl }: Shown): string {
  const numbers = Object.entries({ score, kl })
    .filter((entry): entry is [string, number] => typeof entry[1] === 'number')
    .map(([name, value]) => `${name} ${formatNumber(value)}`);
  const said = (text: unknown) => escapeHtml(typeof text === 'string' ? text : JSON.stringify(text));
  return [
    `<article class="pair"><p class="prompt answer" dir="auto">${said(prompt)}</p>`,
    `<p class="answer" dir="auto">${said(response)}</p>`,
    numbers.length > 0 ? `<p class="numbers">${numbers.join(' · ')}</p>` : '',
    '</article>',
  ].join('');
}
