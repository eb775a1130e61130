/** Bodies of requests: JSON, of a size that is bounded. */
import type { Context, MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { ApiError } from './api-error.ts';

/** Refuses bodies of more bytes. */
export function limitBody(bytes: number): MiddlewareHandler {
  const tooLarge = () => {
    throw new ApiError(413, `the body is larger than ${bytes} bytes`);
  };
  return bodyLimit({ maxSize: bytes, onError: tooLarge });
}

/** @throws ApiError unless the body is JSON, and is said to be */
export async function jsonBody(context: Context): Promise<unknown> {
  // A form of another site can send text, but not this type.
  if (!/^application\/json\b/i.test(context.req.header('content-type') ?? '')) {
    throw new ApiError(415, 'the content-type must be application/json');
  }
  const text = await context.req.text();
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(400, 'the body is not JSON');
  }
}
