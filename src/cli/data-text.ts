/** What `palm data inspect` prints, at most 80 columns wide. */
import type { Inspection, TokenSpan } from '../data/inspect.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { GREEN, GREY, RESET, visible, WIDTH, wrap } from './columns.ts';
import { type Row, table } from './table.ts';

const BAR = 40;
/** Columns of an example, beside its margin and what marks its ends. */
const TEXT_WIDTH = WIDTH - 14;
/** Lines of a prompt, kept from its end, and of a target, kept from its beginning. */
const LINES = 3;

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
  const lines = wrap(visible(text), TEXT_WIDTH, 0);
  const kept = target ? lines.slice(0, LINES) : lines.slice(-LINES);
  const more = kept.length < lines.length ? '…' : '';
  if (target) kept.push(`${kept.pop()}${more}${ended ? '⏎eos' : ''}`);
  else kept[0] = `${more}${kept[0]}`;
  const [on, off] = color ? [target ? GREEN : GREY, RESET] : ['', ''];
  return kept.map((line, i) => `${(i > 0 ? '' : target ? 'target' : 'prompt').padEnd(6)} │ ${on}${line}${off}`);
}

function shortPath(path: string): string {
  return path.length <= 60 ? path : `…${path.slice(-59)}`;
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
