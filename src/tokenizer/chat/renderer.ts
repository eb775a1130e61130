/**
 * Renders templates in a process of its own. A template is code from a file: one that fills the memory ends its process,
 * not ours. (A worker thread would not do: V8 ends the whole process where one large allocation exceeds the limit of a
 * thread.) The process is started when needed, serves all templates, and ends when idle for a while.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { packagePath } from '../../package.ts';
import { type Answer, type Fault, LIMITS, type Rendered, type Rendering } from './protocol.ts';

/** Compiled, also for the sources: a process of its own cannot run TypeScript. */
const PROGRAM = packagePath('dist/tokenizer/chat/rendering-process.js');
/** How long the process may keep silent: it measures its own time, so this is for one that is stuck. */
const SILENCE = 20_000;
const IDLE = 5000;

interface Pending {
  rendering: Rendering;
  settle: (result: Rendered) => void;
}

class Renderer {
  private process: ChildProcess | undefined;
  private readonly pending = new Map<number, Pending>();
  private nextId = 0;
  private timer: NodeJS.Timeout | undefined;

  render(rendering: Rendering): Promise<Rendered> {
    return new Promise((settle) => {
      const id = this.nextId++;
      this.pending.set(id, { rendering, settle });
      this.send(id, rendering);
      if (this.pending.size === 1) this.wait();
    });
  }

  private send(id: number, rendering: Rendering): void {
    this.process ??= this.start();
    hold(this.process, true);
    this.process.send({ id, ...rendering });
  }

  private start(): ChildProcess {
    const { NODE_OPTIONS: _, ...env } = process.env;
    const started = fork(PROGRAM, { execArgv: [`--max-old-space-size=${LIMITS.memory}`], env, stdio: SILENT });
    started.on('message', (answer) => this.answered(answer as Answer));
    started.once('exit', (code, signal) => this.ended(started, faultOfExit(code, signal)));
    started.once('error', ({ message }) => this.ended(started, { kind: 'failed', message }));
    return started;
  }

  private answered({ id, ...result }: Answer): void {
    const { settle } = this.pending.get(id) as Pending;
    this.pending.delete(id);
    settle(result);
    this.wait();
  }

  /** Waits for the next answer, or for the next request. */
  private wait(): void {
    clearTimeout(this.timer);
    const current = this.process;
    if (current === undefined) return;
    if (this.pending.size > 0) this.timer = setTimeout(() => this.kill(current), SILENCE);
    else {
      hold(current, false);
      this.timer = setTimeout(() => this.end(), IDLE).unref();
    }
  }

  private end(): void {
    this.process?.disconnect();
    this.process = undefined;
  }

  private kill(process: ChildProcess): void {
    this.ended(process, { kind: 'time', message: `no answer for ${SILENCE / 1000} seconds` });
    process.kill('SIGKILL');
  }

  /** A process that ended failed at the oldest request; the others go to the next process. */
  private ended(process: ChildProcess, fault: Fault): void {
    if (process !== this.process) return;
    this.process = undefined;
    clearTimeout(this.timer);
    const [first, ...others] = [...this.pending];
    if (first === undefined) return;
    const [id, { settle }] = first;
    this.pending.delete(id);
    for (const [other, { rendering }] of others) this.send(other, rendering);
    this.wait();
    settle({ fault });
  }
}

const SILENT: ('ignore' | 'ipc')[] = ['ignore', 'ignore', 'ignore', 'ipc'];

/** Whether our process stays alive for `other`. */
function hold(other: ChildProcess, held: boolean): void {
  for (const handle of [other, other.channel]) held ? handle?.ref() : handle?.unref();
}

/** V8 aborts where the heap is full; the system kills where its memory is. */
function faultOfExit(code: number | null, signal: NodeJS.Signals | null): Fault {
  const full = code === 134 || signal === 'SIGABRT' || signal === 'SIGKILL';
  if (full) return { kind: 'memory', message: `more than ${LIMITS.memory} MiB of memory` };
  return { kind: 'failed', message: `the process that renders it ended with ${signal ?? code}` };
}

const renderer = new Renderer();

/** Renders a template in the process that all templates share. */
export function renderApart(rendering: Rendering): Promise<Rendered> {
  return renderer.render(rendering);
}
