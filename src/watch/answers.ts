/** The answers of runs: the same prompts over the steps, and the tokens of one answer colored by what was learned from them. */
import { formatNumber } from '../metrics/format.ts';
import type { Sample, SampleToken } from '../metrics/metrics.ts';
import { escapeHtml } from '../report/escape.ts';
import { spaced } from '../report/samples.ts';
import { tableOf } from '../report/tables.ts';
import { type KnownSample, textOf } from './sample-lines.ts';
import { linkTo, MEASURES, type Measure, type ShownRun, type View } from './view.ts';

/** Prompts of a run that are shown: those with the most answers. */
const MOST_PROMPTS = 6;
/** Shades of a token's color. */
const SHADES = 4;

/** What measures are called in a page. */
const NAMES: Readonly<Record<Measure, string>> = {
  logRatio: 'log-ratio to the reference',
  reward: 'reward',
  advantage: 'advantage',
};

/** An answer with its place in the file of its run. */
interface Placed {
  known: KnownSample;
  index: number;
}

/** The answers of all runs that have any, and the one that is asked for. */
export async function answersSection(view: View): Promise<string> {
  const parts = await Promise.all(view.runs.map((shown) => ofRun(view, shown)));
  if (parts.every((part) => part === '')) return '';
  return `<section><h2>Answers during training</h2>${await answerSection(view)}${parts.join('\n')}</section>`;
}

async function ofRun(view: View, shown: ShownRun): Promise<string> {
  const { all, prompts } = shown.run.samples;
  const groups = new Map<number, Placed[]>();
  for (const [index, known] of all.entries()) {
    const group = groups.get(known.prompt) ?? [];
    groups.set(known.prompt, group);
    group.push({ known, index });
  }
  const step = (group: readonly Placed[]) => group.at(-1)?.known.step ?? 0;
  const most = [...groups.values()].sort((a, b) => b.length - a.length || step(b) - step(a)).slice(0, MOST_PROMPTS);
  const articles = await Promise.all(most.map((group) => ofPrompt(view, shown, prompts, group)));
  if (articles.length === 0) return '';
  const title = view.runs.length > 1 ? `<h3>Run ${shown.label}: ${escapeHtml(shown.run.name)}</h3>` : '';
  return `${title}<div class="samples">${articles.join('\n')}</div>`;
}

async function ofPrompt(view: View, shown: ShownRun, prompts: readonly string[], group: Placed[]): Promise<string> {
  const [last, ...earlier] = spaced(group).reverse() as [Placed, ...Placed[]];
  const prompt = prompts[last.known.prompt] ?? '';
  const before = await Promise.all(earlier.map((each) => answerOf(view, shown, each)));
  const id = `earlier-${shown.label}-${last.known.prompt}`;
  const unfold = `<details id="${id}"><summary>Earlier answers, at ${earlier.length} of ${group.length - 1} steps</summary>${before.join('')}</details>`;
  return [
    `<article class="pair"><p class="prompt answer" dir="auto">${escapeHtml(prompt)}</p>`,
    await answerOf(view, shown, last),
    earlier.length > 0 ? unfold : '',
    '</article>',
  ].join('');
}

async function answerOf(view: View, { run, label }: ShownRun, { known, index }: Placed): Promise<string> {
  const sample = await run.sample(known);
  const numbers = Object.entries({ score: known.score, KL: known.kl }).flatMap(([name, value]) => {
    return value === undefined ? [] : [`${name} ${formatNumber(value)}`];
  });
  const link = escapeHtml(linkTo({ ...view, answer: { label, index } }));
  const spoken = `<span class="unseen"> of the answer at step ${known.step}</span>`;
  const tokens = known.hasTokens ? [`<a href="${link}#answer">tokens${spoken}</a>`] : [];
  return [
    `<p class="answer" dir="auto">${escapeHtml(textOf(sample?.response ?? 'no longer in the file'))}</p>`,
    `<p class="numbers">${[`step ${known.step}`, ...numbers, ...tokens].join(' · ')}</p>`,
  ].join('');
}

/** The answer that the address asks for, token by token. */
async function answerSection(view: View): Promise<string> {
  const { answer } = view;
  const shown = view.runs.find(({ label }) => label === answer?.label);
  const known = shown?.run.samples.all[answer?.index ?? -1];
  const sample = known && (await shown?.run.sample(known));
  if (answer === undefined) return '';
  const close = `<a href="${escapeHtml(linkTo({ ...view, answer: undefined }))}">close</a>`;
  if (known === undefined || sample?.tokens === undefined)
    return `<div id="answer" class="pair"><p>This answer is no longer in the file: ${close}.</p></div>`;
  return [
    `<div id="answer" class="pair"><h3>Tokens of the answer at step ${known.step}</h3>`,
    `<p class="prompt answer" dir="auto">${escapeHtml(textOf(sample.prompt))}</p>`,
    heatMap(view, sample.tokens),
    cutNote(sample),
    `<p class="numbers">${close}</p></div>`,
  ].join('');
}

function cutNote({ response, tokens = [] }: Sample): string {
  const shown = tokens.map(({ text }) => text ?? '').join('');
  const whole = typeof response === 'string' ? shown === response : response.length === tokens.length;
  return whole ? '' : `<p class="soft">The first ${tokens.length} tokens.</p>`;
}

/** Tokens with a color each, whose numbers are told when one is chosen, and a table of them. */
function heatMap(view: View, tokens: readonly SampleToken[]): string {
  const measures = MEASURES.filter((name) => tokens.some((token) => typeof token[name] === 'number'));
  const by = measures.includes(view.by) ? view.by : measures[0];
  if (by === undefined) return '<p class="soft">Nothing is known of these tokens.</p>';
  const most = Math.max(...tokens.map((token) => Math.abs(token[by] ?? 0)));
  const choices = measures.map((name) => {
    if (name === by) return `<b>${NAMES[name]}</b>`;
    return `<a href="${escapeHtml(linkTo({ ...view, by: name }))}#answer">${NAMES[name]}</a>`;
  });
  const cells = tokens.map((token, i) => {
    const spoken = escapeHtml(`${labelText(token)}: ${numbersOf(token, measures)}`);
    const shade = shadeOf(token[by], most);
    return `<span role="option" id="token-${i}" aria-selected="false" class="token ${shade}" aria-label="${spoken}" title="${spoken}">${escapeHtml(visible(token))}</span>`;
  });
  return [
    `<p>Colored by ${choices.join(', ')}: ${legend(most)}</p>`,
    `<div class="tokens answer" role="listbox" aria-label="Tokens: arrow keys tell their numbers" aria-orientation="horizontal" tabindex="0" dir="auto">${cells.join('')}</div>`,
    '<p class="numbers" id="token-numbers" aria-hidden="true"></p>',
    `<details id="all-tokens"><summary>All numbers in a table</summary>${tokenTable(tokens, measures)}</details>`,
  ].join('');
}

function legend(most: number): string {
  const ends = [`−${formatNumber(most)}`, '0', formatNumber(most)];
  const places = [-1, 0, 1].map((share) => shadeOf(share * (most || 1), most || 1));
  return ends.map((text, i) => `<span class="token ${places[i]}">${text}</span>`).join(' ');
}

/** The class of a value's color: below zero, above, or about zero. */
function shadeOf(value: number | undefined, most: number): string {
  if (typeof value !== 'number' || most === 0) return 'shade-0';
  const shade = Math.round((SHADES * Math.abs(value)) / most);
  return shade === 0 ? 'shade-0' : `${value < 0 ? 'below' : 'above'}-${shade}`;
}

function tokenTable(tokens: readonly SampleToken[], measures: readonly Measure[]): string {
  const rows = tokens.map((token, i) => {
    const numbers = measures.map((name) => (typeof token[name] === 'number' ? formatNumber(token[name]) : '—'));
    return { cells: [String(i + 1), `<code>${escapeHtml(labelText(token))}</code>`, String(token.id), ...numbers] };
  });
  return tableOf(['place', 'text', 'id', ...measures.map((name) => NAMES[name])], rows, 'numbers');
}

function numbersOf(token: SampleToken, measures: readonly Measure[]): string {
  const known = measures.filter((name) => typeof token[name] === 'number');
  return known.map((name) => `${NAMES[name]} ${formatNumber(token[name] as number)}`).join(', ');
}

/** The text of a token, or its id where it has none. */
function labelText({ id, text }: SampleToken): string {
  return text === undefined || text === '' ? `⟨${id}⟩` : visible({ id, text });
}

/** With signs for what cannot be seen. */
function visible({ id, text }: SampleToken): string {
  if (text === undefined) return `${id} `;
  return text === '' ? '·' : text.replaceAll('\n', '↵\n').replaceAll('\t', '→\t');
}
