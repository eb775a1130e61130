/**
 * Jinja as Python renders chat templates: @huggingface/jinja, with what it does otherwise put right. Runs in a process of
 * its own (rendering-process.ts).
 */
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { formatDate } from './strftime.ts';

/** A parsed template. */
export type Program = Template['parsed'];

/** What a template says with `raise_exception`. */
export class RaisedError extends Error {}

/** Parses a template. @throws SyntaxError, RangeError */
export function parseTemplate(source: string): Program {
  const { parsed } = new Template(source);
  repairStrips(parsed);
  return parsed;
}

/**
 * Renders a template with the globals that transformers gives it. `now` is what `strftime_now` formats.
 * @throws RaisedError if the template raises an exception.
 * @throws Error for anything that it cannot compute.
 */
export function renderProgram(program: Program, variables: Readonly<Record<string, unknown>>, now: Date): string {
  const environment = new Environment();
  const all = { ...CONSTANTS, ...STRIPS, range, raise_exception: raise, strftime_now: formatter(now), ...variables };
  for (const [name, value] of Object.entries(all)) environment.set(name, value);
  return String(new Interpreter(environment).run(program).value);
}

const CONSTANTS = { true: true, True: true, false: false, False: false, none: null, None: null };

function raise(message: unknown): never {
  throw new RaisedError(String(message));
}

function formatter(now: Date) {
  return (format: unknown) => formatDate(now, String(format));
}

/** The limit of Jinja's sandbox, which transformers uses. */
const MAX_RANGE = 100_000;

function range(first: number, second?: number, step = 1): number[] {
  const [begin, end] = second === undefined ? [0, first] : [first, second];
  const length = Math.max(0, Math.ceil((end - begin) / step));
  if (!(length <= MAX_RANGE)) throw new Error(`range of ${length} numbers, more than ${MAX_RANGE}`);
  return Array.from({ length }, (_, i) => begin + i * step);
}

type Ends = { left: boolean; right: boolean };
const METHODS: Readonly<Record<string, Ends>> = {
  strip: { left: true, right: true },
  lstrip: { left: true, right: false },
  rstrip: { left: false, right: true },
};

/** No identifier of a template can be this name. */
const nameOf = (method: string) => `${method}()`;

const STRIPS = Object.fromEntries(
  Object.entries(METHODS).map(([method, ends]) => [
    nameOf(method),
    (text: unknown, characters?: unknown) => stripped(text, characters, ends),
  ]),
);

/** A node of a parsed template, of any kind. */
interface Node {
  type: string;
  value?: unknown;
  callee?: Node;
  args?: Node[];
  object?: Node;
  property?: Node;
  operand?: Node;
  filter?: Node;
}

/**
 * The library's `strip`, `lstrip` and `rstrip` ignore their argument, and they and the filter `trim` take JavaScript's white
 * space for Python's. Calls of them become calls of our functions.
 */
function repairStrips(program: unknown): void {
  const open: unknown[] = [program];
  while (open.length > 0) {
    const node = open.pop();
    if (typeof node !== 'object' || node === null) continue;
    repairNode(node as Node);
    const parts = node instanceof Map ? [...node.keys(), ...node.values()] : Object.values(node);
    for (const part of parts) open.push(part);
  }
}

function repairNode(node: Node): void {
  const { callee, filter } = node;
  if (node.type === 'CallExpression' && callee?.type === 'MemberExpression' && callee.property) {
    const method = String(callee.property.value);
    if (!['Identifier', 'StringLiteral'].includes(callee.property.type) || !Object.hasOwn(METHODS, method)) return;
    call(node, callee.property, method, [callee.object as Node, ...(node.args ?? [])]);
  } else if (node.type === 'FilterExpression' && filter?.type === 'Identifier' && filter.value === 'trim') {
    call(node, filter, 'strip', [node.operand as Node]);
  }
}

/** Makes `node` a call of one of STRIPS. */
function call(node: Node, name: Node, method: string, args: Node[]): void {
  name.type = 'Identifier';
  name.value = nameOf(method);
  Object.assign(node, { type: 'CallExpression', callee: name, args });
}

/** What Python's `str.isspace` holds for. */
function isSpace(character: string): boolean {
  return /\p{White_Space}/u.test(character) || (character >= '\x1c' && character <= '\x1f');
}

/** Python's `strip`: without the characters of `characters`, or white space, at these ends. */
function stripped(text: unknown, characters: unknown, { left, right }: Ends): string {
  if (typeof text !== 'string') throw new Error('strip of something that is not text');
  const set = typeof characters === 'string' ? new Set(characters) : undefined;
  const goes = (character: string) => (set ? set.has(character) : isSpace(character));
  const letters = Array.from(text);
  let begin = 0;
  let end = letters.length;
  while (left && begin < end && goes(letters[begin] as string)) begin++;
  while (right && end > begin && goes(letters[end - 1] as string)) end--;
  return letters.slice(begin, end).join('');
}
