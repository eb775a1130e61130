/** Errors as OpenAI's clients read them. */
import { DataError } from '../errors.ts';
import { Overloaded } from './scheduler.ts';

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

/** What went wrong, as a client is told; nothing of an error that is not meant for it. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof Overloaded) return new ApiError(429, error.message, { retryAfter: error.retryAfter });
  if (error instanceof DataError) return new ApiError(400, error.message, { param: 'messages' });
  return new ApiError(500, 'the server failed to answer; its log says why');
}
