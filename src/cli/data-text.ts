/** What `palm data inspect` prints, at most 80 columns wide. */
import type { Inspection, TokenSpan } from '../data/inspect.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type Row, table } from './table.ts';

const WIDTH = 80;
const BAR = 40;
/** Columns of an example, beside its margin and what marks its ends. */
const TEXT_WIDTH = WIDTH - 14;
/** Lines of a prompt, kept from its end, and of a target, kept from its beginning. */
const LINES = 3;
const GREY = '\x1b[90m';
const GREEN = '\x1b[32m';
const RESET = '\x1b[0m';

/** The report as text. With `color`, prompts are grey and targets green. */
export function inspectionText(
  found: Inspection,
  tokenizer: Pick<Tokenizer, 'decode' | 'eosToken'>,
  { color }: { color: boolean },
): string {
  const examples = found.examples.map((sequences, i) => {
    const shown = sequences.map((spans) => spans.flatMap((span) => spanLines(span, tokenizer, color)).join('\n'));
    return `example ${i + 1}\n${shown.join('\n\n')}`;
  });
  return [
    summary(found),
    ...section('skipped', skippedRows(found)),
    `length in tokens\n${bars(found)}`,
    ...examples,
  ].join('\n\n');
}

function summary(found: Inspection): string {
  const { files, kind, used, cut, tokens, prompts, contradicting } = found;
  const share = tokens.all === 0 ? 0 : (100 * tokens.targets) / tokens.all;
  const rows: Row[] = [
    ...files.flatMap(({ path, format, form, because }): Row[] => [
      ['file', shortPath(path)],
      ['form', `${form} (${format})`],
      ['because of', because.join(', ')],
    ]),
    ['rows', `${count(used)} of the kind ${kind}`],
    ['cut', cutText(cut)],
    ['prompts', `${count(prompts.distinct)} different, ${count(prompts.repeated)} rows repeat one`],
    ['contradicting', kind === 'pair' ? `${count(contradicting)} pairs` : undefined],
    ['tokens', count(tokens.all)],
    ['targets', kind === 'prompt' ? undefined : `${count(tokens.targets)} tokens, ${share.toFixed(1)} %`],
  ];
  return table(rows)
    .split('\n')
    .flatMap((line) => wrap(line, WIDTH, 15))
    .join('\n');
}

function cutText({ prompts, responses }: Inspection['cut']): string {
  if (prompts + responses === 0) return 'nothing';
  return `the start of ${count(prompts)} prompts, the end of ${count(responses)} responses`;
}

function skippedRows({ skipped }: Inspection): string[] {
  return skipped.flatMap(({ reason, count: rows, first }) => {
    return wrap(`${count(rows).padStart(9)}  ${reason}, first at ${shortPath(first)}`, WIDTH, 11);
  });
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`${title}\n${lines.join('\n')}`];
}

function bars({ lengths }: Inspection): string {
  const most = Math.max(1, ...lengths.map((bucket) => bucket.count));
  let from = 1;
  return lengths
    .map(({ upTo, count: sequences }) => {
      const range = `${from}–${upTo}`.padStart(13);
      from = upTo + 1;
      const bar = '█'.repeat(Math.ceil((BAR * sequences) / most));
      return `${range}  ${bar.padEnd(BAR)} ${count(sequences).padStart(9)}`;
    })
    .join('\n');
}

function spanLines(
  { tokens, target }: TokenSpan,
  tokenizer: Pick<Tokenizer, 'decode' | 'eosToken'>,
  color: boolean,
): string[] {
  const { eosToken } = tokenizer;
  const ended = target && eosToken !== undefined && tokens.at(-1) === eosToken;
  const text = tokenizer.decode(ended ? tokens.slice(0, -1) : tokens);
  const shown = text.replaceAll('\n', '↵').replace(/\p{Cc}/gu, '·');
  const lines = wrap(shown, TEXT_WIDTH, 0);
  const kept = target ? lines.slice(0, LINES) : lines.slice(-LINES);
  const more = kept.length < lines.length ? '…' : '';
  if (target) kept.push(`${kept.pop()}${more}${ended ? '⏎eos' : ''}`);
  else kept[0] = `${more}${kept[0]}`;
  const [on, off] = color ? [target ? GREEN : GREY, RESET] : ['', ''];
  return kept.map((line, i) => `${(i > 0 ? '' : target ? 'target' : 'prompt').padEnd(6)} │ ${on}${line}${off}`);
}

/** Characters that take two columns of a terminal, and those that take none. */
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f000}-\u{3fffd}]/u;
const NARROW = /[\p{M}\u200b-\u200f\u2060]/u;

function columnsOf(character: string): number {
  return WIDE.test(character) ? 2 : NARROW.test(character) ? 0 : 1;
}

/** Splits a line at most `width` columns wide, at a space where there is one; the next lines begin with `indent` spaces. */
function wrap(text: string, width: number, indent: number): string[] {
  const lines: string[] = [];
  let line = '';
  let columns = 0;
  for (const character of text) {
    line += character;
    columns += columnsOf(character);
    if (columns <= width) continue;
    const space = line.lastIndexOf(' ');
    const end = space > indent + width / 2 ? space : line.length - character.length;
    lines.push(line.slice(0, end));
    line = ' '.repeat(indent) + line.slice(end).replace(/^ /, '');
    columns = [...line].reduce((sum, one) => sum + columnsOf(one), 0);
  }
  return [...lines, line];
}

function shortPath(path: string): string {
  return path.length <= 60 ? path : `…${path.slice(-59)}`;
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
