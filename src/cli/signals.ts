/**
 * What a training command does when it is told to end. SIGINT and SIGTERM end it after the step that is being done, or in the
 * middle of a rollout, which changes nothing; SIGUSR2 does the same and counts as success; SIGUSR1 saves and goes on. A
 * second SIGINT, or a step that takes longer than the grace of 25 s, ends the process at once, with the last checkpoint.
 */
import { constants } from 'node:os';

/** Orchestrators kill what is still there after 30 s. */
const GRACE_MS = 25_000;

/** Listens from its making to its disposal. */
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

  /** Aborted by the first signal to end; its reason is a Stopped. */
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
    console.error(`${signal}: ending after this step${signal === 'SIGINT' ? '; again to end at once' : ''}`);
    this.#grace = setTimeout(() => {
      console.error('the step takes too long: what was done since the last checkpoint is lost');
      process.exit(exitCode(signal));
    }, GRACE_MS).unref();
    this.#stop.abort(new Stopped(signal));
  }
}

/** Why a run ended before its last step. */
export class Stopped extends Error {
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`stopped by ${signal}`);
    this.exitCode = exitCode(signal);
  }
}

/** That of a shell for a process that the signal killed; 0 for SIGUSR2, by which the run was asked to pause. */
function exitCode(signal: NodeJS.Signals): number {
  return signal === 'SIGUSR2' ? 0 : 128 + constants.signals[signal];
}
