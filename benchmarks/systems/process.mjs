/** A system under measurement: a process that lives for all of its runs and answers one JSON line with another. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Longest wait for an answer, in ms: compiling takes minutes. */
const LIMIT = 15 * 60 * 1000;

export class System {
  #child;
  #lines;
  #errors = '';

  /**
   * Starts a program of this folder, or of the same folder in another `checkout`.
   * @throws Error saying what is missing where the program cannot be started.
   */
  constructor(program, { threads, folder, checkout }) {
    const peers = process.env.PALM_PEERS;
    if (program !== 'palm-rlhf.mjs' && peers === undefined) throw new Error('PALM_PEERS names no folder of peers');
    const command = program.endsWith('.py') ? join(peers, 'venv/bin/python') : process.execPath;
    if (!existsSync(command)) throw new Error(`no ${program.endsWith('.py') ? 'venv' : 'node'} in the folder of peers`);
    const here = fileURLToPath(new URL('.', import.meta.url));
    const path = join(checkout === undefined ? here : join(checkout, 'benchmarks/systems'), program);
    // Warnings and progress bars of the peers go unseen unless they fail.
    // What torch.compile kept from earlier would hide how long it takes.
    const env = { OMP_NUM_THREADS: String(threads), TORCHINDUCTOR_CACHE_DIR: join(folder, 'inductor') };
    this.#child = spawn(command, [path], { env: { ...process.env, ...env } });
    this.#child.stdin.on('error', () => {}); // it died: `ask` says so
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-4000);
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** The answer to a request. @throws Error with what the program said when it fails. */
  async ask(request) {
    const timer = setTimeout(() => this.#child.kill(), LIMIT);
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#lines.next();
    clearTimeout(timer);
    if (done) throw new Error(this.#errors.trim().split('\n').at(-1) || 'it ended without an answer');
    const reply = JSON.parse(value);
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply;
  }

  /** Ends the process and waits for that. */
  async end() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin.end();
    await ended;
  }
}
