import { type Context, createContext, Script } from 'node:vm';

const call = new Script('run()');
let context: Context | undefined;

/** CPU time of this thread in milliseconds; undefined if unavailable. */
export type WorkClock = () => number | undefined;

let clockInUse: WorkClock = () => undefined;

/**
 * Measures work with `clock` from now on. If the clock returns undefined, the CPU time of the whole process is used.
 */
export function measureWork(clock: WorkClock): void {
  clockInUse = clock;
}

function worked(): number {
  const { user, system } = process.cpuUsage();
  return clockInUse() ?? (user + system) / 1000;
}

/**
 * Runs `work` in a vm context with a timeout, which can interrupt even a regular expression; a timer or promise could
 * not. The timeout is in wall-clock time, so if it expires before `work` has used `milliseconds` of CPU time, because
 * the machine slept or was busy, `work` is restarted with twice the timeout. Costs a thread, about 0.1 ms.
 * @param work may be restarted at any point, so it must be safe to run twice
 * @throws DeadlineError if `work` takes more than `milliseconds`.
 * @throws whatever `work` throws.
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

/** Thrown when work took too long and was interrupted. */
export class DeadlineError extends Error {}
