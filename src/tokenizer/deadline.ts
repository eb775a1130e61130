import { type Context, createContext, Script } from 'node:vm';

const call = new Script('run()');
let context: Context | undefined;

/**
 * What `work` returns, unless that takes more than `milliseconds`: then it is ended, wherever it is. A timer could not do that,
 * nor a promise: a regular expression gives nothing back before it has matched. Costs a thread, so about 0.1 ms.
 * @throws DeadlineError when the time is over, and what `work` throws.
 */
export function withDeadline<T>(milliseconds: number, work: () => T): T {
  let result: T | undefined;
  context ??= createContext({});
  context.run = () => {
    result = work();
  };
  try {
    call.runInContext(context, { timeout: Math.ceil(milliseconds) });
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT' ? new DeadlineError() : error;
  } finally {
    context.run = undefined;
  }
  return result as T;
}

/** Work that was ended because it took too long. */
export class DeadlineError extends Error {}
