/** The requests of the chat page, checked: what is wrong with one is told by the name of its field. */
import { createHash } from 'node:crypto';
import type { Context } from 'hono';
import * as z from 'zod';
import { isWellFormed } from '../../files/json.ts';
import { ApiError } from '../../web/api-error.ts';
import { jsonBody } from '../../web/body.ts';
import { messageText, parametersSchema } from './parameters.ts';
import type { Mutation } from './store.ts';

const id = z.string().min(1).max(64);
const title = z
  .string()
  .max(200)
  .refine((text) => text.trim() !== '', 'must not be empty')
  .refine((text) => !/\p{Cc}/u.test(text), 'must not have control characters')
  .refine(isWellFormed, 'must not have half a surrogate pair');

export const chatBody = z.strictObject({
  title: title.default('New chat'),
  training: z.boolean().default(true),
  parameters: parametersSchema.prefault({}),
});
export const changeBody = z.strictObject({
  title: title.optional(),
  training: z.boolean().optional(),
  parameters: parametersSchema.optional(),
  leaf: id.optional(),
});
/** A message behind an answer, or first; or one that is to be answered again. */
export const messageBody = z.union([
  z.strictObject({ parent: id.nullable(), text: messageText }),
  z.strictObject({ user: id }),
]);
export const voteBody = z.strictObject({ value: z.literal([-1, 0, 1]) });
export const pickBody = z.strictObject({ inferior: z.array(id).min(1).max(3).optional() });
export const emptyBody = z.strictObject({});

/** The body of a request, as `schema` reads it. @throws ApiError for one that it does not take */
export async function bodyOf<S extends z.ZodType>(context: Context, schema: S): Promise<z.output<S>> {
  const result = schema.safeParse(await jsonBody(context));
  if (result.success) return result.data;
  throw refused(result.error.issues[0]);
}

function refused(issue: z.core.$ZodIssue | undefined): ApiError {
  // Of alternatives, the first says what is wrong.
  if (issue?.code === 'invalid_union' && issue.errors[0]?.[0]) return refused(issue.errors[0][0]);
  const path = issue?.path.join('.') ?? '';
  if (path === '') return new ApiError(400, `the body is wrong: ${issue?.message}`);
  return new ApiError(400, `${path}: ${issue?.message}`, { param: path });
}

/** The key under which a change is made once, and a hash of the request; undefined for a request without one. */
export async function mutationOf(context: Context): Promise<Mutation | undefined> {
  const key = context.req.header('idempotency-key');
  if (key === undefined) return undefined;
  if (!/^[\x21-\x7e]{1,128}$/.test(key)) {
    throw new ApiError(400, 'Idempotency-Key must be 1 to 128 visible characters', { param: 'Idempotency-Key' });
  }
  const { method, path } = context.req;
  const request = createHash('sha256').update(`${method} ${path}\n${await context.req.text()}`);
  return { key, request: request.digest('hex') };
}
