/** Errors as OpenAI's clients read them. */
import type { Context } from 'hono';

/** A refusal with an HTTP status. Clients retry 408, 409, 429 and everything from 500 on, and give up at once otherwise. */
export class ApiError extends Error {
  readonly status: number;
  readonly type: string;
  /** The field at fault. */
  readonly param: string | null;
  readonly code: string | null;
  /** Seconds. */
  readonly retryAfter: number | undefined;

  constructor(
    status: number,
    message: string,
    {
      param = null,
      code = null,
      retryAfter,
    }: { param?: string | null; code?: string | null; retryAfter?: number } = {},
  ) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.type = status === 429 ? 'rate_limit_error' : status < 500 ? 'invalid_request_error' : 'server_error';
    this.param = param;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** The body of the response. */
  get body() {
    const { message, type, param, code } = this;
    return { error: { message, type, param, code } };
  }
}

/** The response to a request for which there is no route. */
export function noRoute(context: Context): Response {
  return refusal(context, new ApiError(404, `there is no ${context.req.method} ${context.req.path}`));
}

/** The response that says why a request is refused. */
export function refusal(context: Context, { status, body, retryAfter }: ApiError): Response {
  if (retryAfter !== undefined) context.header('Retry-After', `${retryAfter}`);
  return context.json(body, status as 400);
}
