/**
 * How a dialogue becomes text for a tokenizer without a chat template: as in hh-rlhf, `\n\nHuman: …\n\nAssistant: …`.
 * The only place that says so.
 */
import type { Row } from '../row.ts';
import type { Asked, Role, Turn } from './rows.ts';

const MARKERS: Readonly<Record<Role, string>> = {
  system: '\n\nSystem:',
  user: '\n\nHuman:',
  assistant: '\n\nAssistant:',
  tool: '\n\nTool:',
};

/** A part of a rendered text, and whether a model is to learn it. */
export interface Span {
  text: string;
  target: boolean;
}

/** The text of a prompt, which ends where the response begins, or the reason why there is none. */
export function renderPrompt(prompt: Asked): Row<string> {
  if (typeof prompt === 'string') return { use: prompt };
  const marked = prompt.map(({ content }) => markerIn(content)).find(Boolean);
  if (marked !== undefined) return { skip: said(marked) };
  return { use: `${prompt.map(({ role, content }) => `${MARKERS[role]} ${content}`).join('')}${MARKERS.assistant}` };
}

/** The text of a response to `prompt`, as it continues the text of the prompt. */
export function renderResponse(prompt: Asked, response: string): Row<string> {
  if (typeof prompt === 'string') return { use: response };
  const marked = markerIn(response);
  return marked === undefined ? { use: ` ${response}` } : { skip: said(marked) };
}

/** The text of a dialogue in spans: what the assistant says, without its marker, is a target unless its `train` is false. */
export function renderTurns(turns: readonly Turn[]): Row<Span[]> {
  const marked = turns.map(({ content }) => markerIn(content)).find(Boolean);
  if (marked !== undefined) return { skip: said(marked) };
  const spans = turns.flatMap(({ role, content, train }): Span[] => [
    { text: MARKERS[role], target: false },
    { text: ` ${content}`, target: role === 'assistant' && train !== false },
  ]);
  return { use: spans };
}

function markerIn(text: string): string | undefined {
  return Object.values(MARKERS).find((marker) => text.includes(marker));
}

function said(marker: string): string {
  return `a message contains ${JSON.stringify(marker)}, which begins a message in the transcript`;
}
