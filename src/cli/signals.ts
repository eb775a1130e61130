/**
 * Signal handling of training commands. SIGINT and SIGTERM stop the run after the current step, or in the middle of a
 * rollout, which changes no state; SIGUSR2 does the same and counts as success; SIGUSR1 saves and continues. A second
 * SIGINT, or a step longer than the grace period of 25 s, ends the process at once and keeps the last checkpoint.
 */
import { constants } from 'node:os';

/** Orchestrators kill a process that is still running after 30 s. */
const GRACE_MS = 25_000;

/** Listens from construction to disposal. */
export class StopSignals implements Disposable {
  readonly #stop = new AbortController();
  readonly #listeners: readonly [NodeJS.Signals, () => void][];
  #grace: NodeJS.Timeout | undefined;

  constructor(save: () => void) {
    this.#listeners = [
      ['SIGINT', () => this.#end('SIGINT')],
      ['SIGTERM', () => this.#end('SIGTERM')],
      ['SIGUSR2', () => this.#end('SIGUSR2')],
      ['SIGUSR1', save],
    ];
    for (const [signal, listener] of this.#listeners) process.on(signal, listener);
  }

  /** Aborted by the first stop signal; the reason is a Stopped. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#grace);
    for (const [signal, listener] of this.#listeners) process.off(signal, listener);
  }

  #end(signal: NodeJS.Signals): void {
    if (this.#stop.signal.aborted) {
      if (signal === 'SIGINT') process.exit(exitCode(signal));
      return;
    }
    console.error(`${signal}: stopping after this step${signal === 'SIGINT' ? ' (Ctrl-C again to quit now)' : ''}`);
    this.#grace = setTimeout(() => {
      console.error('the step takes too long: quitting without the work since the last checkpoint');
      process.exit(exitCode(signal));
    }, GRACE_MS).unref();
    this.#stop.abort(new Stopped(signal));
  }
}

/** Why a run stopped before its last step. */
export class Stopped extends Error {
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`stopped by ${signal}`);
    this.exitCode = exitCode(signal);
  }
}

/** A shell's exit code for a process killed by the signal; 0 for SIGUSR2, which asks the run to pause. */
function exitCode(signal: NodeJS.Signals): number {
  return signal === 'SIGUSR2' ? 0 : 128 + constants.signals[signal];
}
