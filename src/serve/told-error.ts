/** Errors of a request, as its client is told of them. */
import type { Hono } from 'hono';
import { DataError } from '../errors.ts';
import { ApiError, refusal } from '../web/api-error.ts';
import type { ServerEvent } from '../web/events.ts';
import { Overloaded } from './scheduler.ts';

/** What went wrong, as a client is told; nothing of an error that is not meant for it. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof Overloaded) return new ApiError(429, error.message, { retryAfter: error.retryAfter });
  if (error instanceof DataError) return new ApiError(400, error.message, { param: 'messages' });
  return new ApiError(500, 'the server failed to answer; its log says why');
}

/** Answers what the routes of `app` throw; `onError` is told of what clients are not. */
export function answerErrors(app: Hono, onError: (error: unknown) => void): void {
  app.onError((error, context) => refusal(context, told(error, onError)));
}

/** The last event of a stream whose source fails; `onError` is told of what clients are not. */
export function lastEvents(error: unknown, onError: (error: unknown) => void): ServerEvent[] {
  return [{ data: JSON.stringify(told(error, onError).body) }];
}

function told(error: unknown, onError: (error: unknown) => void): ApiError {
  const answer = asApiError(error);
  if (answer.status >= 500) onError(error);
  return answer;
}
