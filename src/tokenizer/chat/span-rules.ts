/** How the parts of a text that the assistant wrote are found: decided once per template, by conversations of our own. */
import { DataError, FileError } from '../../errors.ts';
import { withKnownTags } from './known-templates.ts';
import { checkUnmarked, cutMarks, hasTags, type SpannedText, withMarks } from './marks.ts';
import type { ChatMessage } from './messages.ts';
import { spansByPrefixes, type Wanted } from './prefixes.ts';

/** The template's own tags, tags of ours in a template that we know, or the prefix rule. */
export type SpanRule = 'tags' | 'known template' | 'prefixes';

/** Renders messages with a template, as often as wanted. */
export type RenderSource = (source: string, wanted: readonly Wanted<ChatMessage>[]) => Promise<string[]>;

/** A rule, and what it finds in a conversation. */
export interface SpanReader {
  rule: SpanRule;
  read(messages: readonly ChatMessage[], render: RenderSource): Promise<SpannedText>;
}

/**
 * The rule for a template.
 * @throws FileError if it does not tell what the assistant wrote.
 */
export async function chooseRule(source: string, name: string, render: RenderSource): Promise<SpanReader> {
  const probes = await renderedProbes(source, name, render);
  const reader = await readerFor(source, name, render, probes);
  for (const probe of probes) {
    const problem = await problemWith(reader, probe, render);
    if (problem !== undefined) throw cannotTell(name, problem);
  }
  return reader;
}

async function readerFor(source: string, name: string, render: RenderSource, probes: Probe[]): Promise<SpanReader> {
  if (hasTags(source)) return byMarks('tags', withMarks(source));
  const known = withKnownTags(source);
  if (known !== undefined) return byMarks('known template', withMarks(known));
  return byPrefixes(source, await whiteSpaceAfter(source, name, render, probes));
}

function byMarks(rule: SpanRule, marked: string): SpanReader {
  return {
    rule,
    async read(messages, render) {
      checkUnmarked(JSON.stringify(messages));
      const [text = ''] = await render(marked, [{ messages, prompting: false }]);
      const cut = cutMarks(text);
      if (cut !== undefined) return cut;
      const expected = 'both tags in every turn of the assistant';
      throw new DataError({ argument: 'messages', received: 'a generation tag without its other half', expected });
    },
  };
}

function byPrefixes(source: string, after: string): SpanReader {
  const rule = 'prefixes';
  return {
    rule,
    read: (messages, render) => spansByPrefixes(messages, (wanted) => render(source, wanted), after),
  };
}

/** The white space that the template puts after what ends an answer, such as the newline after `<|im_end|>`. */
async function whiteSpaceAfter(source: string, name: string, render: RenderSource, probes: Probe[]): Promise<string> {
  try {
    for (const { messages } of probes) {
      const { text, spans } = await byPrefixes(source, '').read(messages, render);
      const { begin, end } = spans[0] ?? { begin: 0, end: 0 };
      const tail = text.slice(begin, end).split(FIRST)[1] ?? '';
      if (tail.trim() !== '') return tail.slice(tail.trimEnd().length);
    }
    return '';
  } catch (error) {
    if (error instanceof DataError) throw cannotTell(name, error.received ?? error.message);
    throw error;
  }
}

interface Probe {
  messages: ChatMessage[];
  text: string;
}

const FIRST = 'A first answer.';
const SECOND = 'A second\n\n  answer.';
const SYSTEM: ChatMessage = { role: 'system', content: 'An order.' };
const TURN: ChatMessage[] = [
  { role: 'user', content: 'A question?' },
  { role: 'assistant', content: FIRST },
];
const TURNS: ChatMessage[] = [
  ...TURN,
  { role: 'user', content: 'Another\nquestion?' },
  { role: 'assistant', content: SECOND },
];
/** Conversations of our own. A template may refuse the last, with its system message. */
export const PROBES = [TURN, TURNS, [SYSTEM, ...TURNS]];

/** The probes that the template accepts: some know no system message. @throws FileError if it accepts none */
async function renderedProbes(source: string, name: string, render: RenderSource): Promise<Probe[]> {
  const probes: Probe[] = [];
  let refusal: DataError | undefined;
  for (const messages of PROBES) {
    try {
      const [text = ''] = await render(source, [{ messages, prompting: false }]);
      probes.push({ messages, text });
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      refusal = error;
    }
  }
  if (probes.length > 0) return probes;
  throw cannotTell(name, `it refuses a question with its answer: ${refusal?.message}`);
}

/** What is wrong with the spans of a probe. */
async function problemWith(reader: SpanReader, { messages, text }: Probe, render: RenderSource) {
  const found = await reader.read(messages, render).catch((error: unknown) => {
    if (error instanceof DataError) return error;
    throw error;
  });
  if (found instanceof DataError) return found.received ?? found.message;
  if (found.text !== text) return 'its text is another with marks for the tags';
  const said = found.spans.map(({ begin, end }) => text.slice(begin, end));
  const answers = messages.filter(({ role }) => role === 'assistant').map(({ content }) => content as string);
  const [right, words] = reader.rule === 'prefixes' ? [areAnswers, 'begin with'] : [containAnswers, 'contain'];
  return right(said, answers) ? undefined : `${JSON.stringify(said)} does not ${words} ${JSON.stringify(answers)}`;
}

/** By prefixes, what comes before an answer would be the name of its role, or thoughts that nobody wrote. */
function areAnswers(said: readonly string[], answers: readonly string[]): boolean {
  return said.length === answers.length && said.every((span, i) => span.trimStart().startsWith(answers[i] as string));
}

/** By tags, there may be more than answers, such as empty thoughts or a token that ends the conversation. */
function containAnswers(said: readonly string[], answers: readonly string[]): boolean {
  const spans = [...said];
  return answers.every((answer) => {
    const found = spans.findIndex((span) => span.includes(answer));
    if (found >= 0) spans.splice(0, found + 1);
    return found >= 0;
  });
}

function cannotTell(name: string, problem: string): FileError {
  return new FileError({
    argument: name,
    received: `a template that does not tell what the assistant wrote (${problem})`,
    expected: 'one with {% generation %} tags, or whose text only grows with the conversation',
    fix: 'Put {% generation %} and {% endgeneration %} around what the assistant writes, with the token that ends its turn.',
  });
}
