/** Errors of a request, as its client is told of them. */
import { DataError } from '../errors.ts';
import { ApiError } from '../web/api-error.ts';
import { Overloaded } from './scheduler.ts';

/** What went wrong, as a client is told; nothing of an error that is not meant for it. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof Overloaded) return new ApiError(429, error.message, { retryAfter: error.retryAfter });
  if (error instanceof DataError) return new ApiError(400, error.message, { param: 'messages' });
  return new ApiError(500, 'the server failed to answer; its log says why');
}
