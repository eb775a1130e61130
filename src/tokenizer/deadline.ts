import { type Context, createContext, Script } from 'node:vm';

const call = new Script('run()');
let context: Context | undefined;

/** Milliseconds that this thread has worked, whatever the clock on the wall says; undefined where it cannot be told. */
export type WorkClock = () => number | undefined;

let clockInUse: WorkClock = () => undefined;

/** Measures work with `clock` from now on. Where that tells nothing, the work of all threads of the process counts. */
export function measureWork(clock: WorkClock): void {
  clockInUse = clock;
}

function worked(): number {
  const { user, system } = process.cpuUsage();
  return clockInUse() ?? (user + system) / 1000;
}

/**
 * What `work` returns, unless it works for more than `milliseconds`: then it is ended, wherever it is. A timer could not do
 * that, nor a promise: a regular expression gives nothing back before it has matched. Only a clock on the wall can end it; so
 * where that was fast, because the machine slept or others used it, `work` is begun again and has twice the time on the wall.
 * Costs a thread, so about 0.1 ms.
 * @param work is begun anew at will, so it changes nothing that a second time would miss
 * @throws DeadlineError when `milliseconds` are over, and what `work` throws.
 */
export function withDeadline<T>(milliseconds: number, work: () => T): T {
  for (let patience = Math.ceil(milliseconds); ; patience *= 2) {
    const begin = worked();
    try {
      return runFor(patience, work);
    } catch (error) {
      if ((error as NodeJS.ErrnoException | undefined)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      if (worked() - begin >= milliseconds) throw new DeadlineError();
    }
  }
}

function runFor<T>(milliseconds: number, work: () => T): T {
  let result: T | undefined;
  context ??= createContext({});
  context.run = () => {
    result = work();
  };
  try {
    call.runInContext(context, { timeout: milliseconds });
  } finally {
    context.run = undefined;
  }
  return result as T;
}

/** Work that was ended because it took too long. */
export class DeadlineError extends Error {}
