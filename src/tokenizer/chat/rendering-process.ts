/** The process that renders templates, one after the other. renderer.ts starts and ends it. */
import { DeadlineError, withDeadline } from '../deadline.ts';
import { type Program, parseTemplate, RaisedError, renderProgram } from './jinja.ts';
import { type Fault, type FaultKind, LIMITS, type Rendered, type Rendering, type Request } from './protocol.ts';

/** Templates parsed last, by their source. */
const parsed = new Map<string, Program>();
const MOST_PARSED = 16;

// The library makes an error of every variable that is not defined, and catches it.
Error.stackTraceLimit = 0;

process.on('message', ({ id, ...rendering }: Request) => process.send?.({ id, ...render(rendering) }));
// An interrupt from the terminal reaches this process, too: whoever asked decides what becomes of it.
process.on('SIGINT', () => undefined);

function render({ source, variables, now }: Rendering): Rendered {
  try {
    const all = JSON.parse(variables) as Record<string, unknown>[];
    const date = new Date(now);
    const texts = withDeadline(LIMITS.time, () => all.map((each) => renderProgram(programOf(source), each, date)));
    const length = texts.reduce((sum, text) => sum + text.length, 0);
    if (length <= LIMITS.length) return { texts };
    return { fault: { kind: 'length', message: `a text of ${length} characters, more than ${LIMITS.length}` } };
  } catch (error) {
    return { fault: faultOf(error) };
  }
}

function programOf(source: string): Program {
  const known = parsed.get(source);
  if (known !== undefined) return known;
  const program = readTemplate(source);
  if (parsed.size >= MOST_PARSED) parsed.delete(parsed.keys().next().value as string);
  parsed.set(source, program);
  return program;
}

/** An error while a template is parsed. */
class TemplateSyntaxError extends Error {}

function readTemplate(source: string): Program {
  try {
    return parseTemplate(source);
  } catch (error) {
    throw new TemplateSyntaxError(wordsOf(error), { cause: error });
  }
}

function faultOf(error: unknown): Fault {
  const kinds: [new (...args: never[]) => Error, FaultKind][] = [
    [TemplateSyntaxError, 'syntax'],
    [RaisedError, 'raised'],
    [DeadlineError, 'time'],
  ];
  const kind = kinds.find(([type]) => error instanceof type)?.[1] ?? 'failed';
  return { kind, message: kind === 'time' ? `more than ${LIMITS.time} ms of processor time` : wordsOf(error) };
}

function wordsOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.startsWith('Maximum call stack') ? 'a recursion without end, or too deep' : message;
}
