/** What the tables hold, as objects: every row is checked when it is read. */
import * as z from 'zod';
import { FileError } from '../../errors.ts';
import type { Database, Value } from './database.ts';
import { parametersSchema, requestSchema } from './parameters.ts';

const flag = z.literal([0, 1]).transform((value) => value === 1);

/** A column that holds JSON. */
function json<S extends z.ZodType>(schema: S) {
  const parsed = z.string().transform((text, context): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      context.addIssue('is not JSON');
      return z.NEVER;
    }
  });
  return parsed.pipe(schema);
}
const ids = json(z.array(z.string()));

export const chatRow = z.object({
  id: z.string(),
  title: z.string(),
  /** Whether it may be used for training. */
  training: flag,
  parameters: json(parametersSchema),
  /** The message with which the thread that is shown ends. */
  leaf: z.string().nullable(),
  created_at: z.string(),
});
export type Chat = z.output<typeof chatRow>;

const said = { id: z.string(), chat: z.string(), parent: z.string().nullable(), text: json(z.string()) };
export const userRow = z.object({ ...said, role: z.literal('user') });
export const answerRow = z.object({
  ...said,
  role: z.literal('assistant'),
  parent: z.string(),
  /** What the answers that were asked for at once share. */
  turn: z.string(),
  /** Where among them it is shown, from 0. */
  place: z.number().int(),
  model: z.string(),
  fingerprint: z.string(),
  request: json(requestSchema),
  /** Which of the answers of its model it is. */
  sample: z.number().int(),
  state: z.enum(['in_progress', 'complete', 'stopped', 'failed', 'lost']),
  finish: z.enum(['stop', 'length']).nullable(),
  tokens: z.number().int(),
  /** Of all its tokens, in the distributions that they were drawn from. */
  log_prob: z.number(),
});
export const messageRow = z.discriminatedUnion('role', [userRow, answerRow]);
export type UserMessage = z.output<typeof userRow>;
export type Answer = z.output<typeof answerRow>;
export type Message = z.output<typeof messageRow>;

export const voteRow = z.object({ message: z.string(), value: z.literal([-1, 0, 1]) });
export type Vote = z.output<typeof voteRow>['value'];

export const pickRow = z.object({ turn: z.string(), chosen: z.string(), inferior: ids, shown: ids, blind: flag });
export type Pick = z.output<typeof pickRow>;

export const mutationRow = z.object({ request: z.string(), response: z.string() });

/** The rows that a query gives. @throws FileError for one that this program could not have written */
export function read<S extends z.ZodType>(
  database: Database,
  schema: S,
  sql: string,
  ...values: Value[]
): z.output<S>[] {
  return database.all(sql, ...values).map((row) => {
    const result = schema.safeParse(row);
    if (result.success) return result.data;
    const [issue] = result.error.issues;
    const received = `a row whose ${issue?.path.join('.')} is wrong: ${issue?.message}`;
    const fix = 'Put back a copy of the folder that was made before, or choose another one.';
    throw new FileError({ argument: database.path, received, expected: 'rows that palm-rlhf wrote', fix });
  });
}
