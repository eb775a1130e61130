/** Servers under load: `palm serve` and llama.cpp's, as processes that are watched from outside. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** Longest wait for a server to listen, in milliseconds. */
const LIMIT = 2 * 60 * 1000;
const PALM = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export class Server {
  #child;
  #ended;
  errors = '';
  printed = '';
  /** Where it answers; known once it listens. */
  url;

  constructor(command, args, threads) {
    this.#child = spawn(command, args, { env: { ...process.env, OMP_NUM_THREADS: String(threads) } });
    this.#ended = once(this.#child, 'exit');
    this.#child.stdout.setEncoding('utf8').on('data', (text) => {
      this.printed += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.errors = (this.errors + text).slice(-100_000);
    });
  }

  /** `palm serve` of a file. `more` are further options of the command. */
  static async palm(path, { slots, threads, maxLength, more = [] }) {
    const sizes = ['--slots', slots, '--maxLength', maxLength, '--max-connections', 4096, '--port', 0];
    const server = new Server(process.execPath, [PALM, 'serve', path, ...[...sizes, ...more].map(String)], threads);
    const address = () => /^http\S+(?=\/v1 has)/m.exec(server.printed)?.[0];
    await server.#until(() => address() !== undefined);
    server.url = address();
    return server;
  }

  /** llama.cpp's server, with a slot for each client. */
  static async llama(program, gguf, { slots, threads, maxLength }) {
    const port = await freePort();
    const sizes = {
      '--parallel': slots,
      '--ctx-size': slots * maxLength,
      '--threads': threads,
      '--threads-batch': threads,
    };
    const quiet = ['--no-webui', '--log-disable', '--cache-ram', '0', '--host', '127.0.0.1', '--port', String(port)];
    const args = ['--model', gguf, ...Object.entries(sizes).flat().map(String), ...quiet];
    const server = new Server(program, args, threads);
    server.url = `http://127.0.0.1:${port}`;
    const answers = () =>
      fetch(`${server.url}/health`).then(
        ({ ok }) => ok,
        () => false,
      );
    await server.#until(answers);
    return server;
  }

  async #until(ready) {
    const late = performance.now() + LIMIT;
    while (!(await ready())) {
      if (!this.runs || performance.now() > late) {
        await this.stop();
        throw new Error(`${this.#child.spawnargs.join(' ')} does not listen: ${this.errors.slice(-1000)}`);
      }
      await delay(50);
    }
  }

  get runs() {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid() {
    return this.#child.pid;
  }

  /** Processor seconds that each of its threads has taken, by the thread's id. */
  threadSeconds() {
    const seconds = (id) => Number(readFileSync(`/proc/${this.pid}/task/${id}/schedstat`, 'utf8').split(' ')[0]) / 1e9;
    return Object.fromEntries(readdirSync(`/proc/${this.pid}/task`).map((id) => [id, seconds(id)]));
  }

  /** Bytes of memory that it holds. */
  residentBytes() {
    return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))[1]);
  }

  /** Files and sockets that it has open. */
  openFiles() {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** The sum of a number of GET /metrics over its labels. */
  async metric(name) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  async stop() {
    if (this.runs) this.#child.kill('SIGTERM');
    await this.#ended;
  }
}

async function freePort() {
  const socket = createServer().listen(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}
