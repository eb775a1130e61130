/** A server under load, seen from outside: how fast it says that it is well, what its threads take, and who else takes the processor. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { percentile, splitTime } from './numbers.mjs';

/** How often /health is asked, in milliseconds, whether or not the last answer has come. */
const HEALTH_MS = 25;
/** What counts for an answer that does not come. */
const MISSING_MS = 60_000;

/** The process of the clients. */
export class Driver {
  #child = spawn(process.execPath, [fileURLToPath(new URL('driver.mjs', import.meta.url))], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  #lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();

  /** What the clients saw. @throws Error where they cannot go on */
  async ask(what) {
    this.#child.stdin.write(`${JSON.stringify(what)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the driver ended');
    const reply = JSON.parse(value);
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply;
  }

  async end() {
    this.#child.stdin.end();
    await once(this.#child, 'exit');
  }
}

/** Asks GET /health until it is stopped. @returns a function that stops, and gives the milliseconds until each answer */
function askHealth({ url }) {
  const agent = new Agent({ keepAlive: true });
  const answers = [];
  const ask = () =>
    new Promise((resolve) => {
      const sent = performance.now();
      const ended = () => resolve(performance.now() - sent);
      get(`${url}/health`, { agent, timeout: MISSING_MS }, (response) => response.resume().on('end', ended))
        .on('error', () => resolve(MISSING_MS))
        .on('timeout', () => resolve(MISSING_MS));
    });
  const asking = setInterval(() => answers.push(ask()), HEALTH_MS);
  return async () => {
    clearInterval(asking);
    const times = await Promise.all(answers);
    agent.destroy();
    return times;
  };
}

function busySeconds() {
  return cpus().reduce((sum, { times: { user, nice, sys } }) => sum + (user + nice + sys) / 1000, 0);
}

/**
 * Lets the clients of `driver` ask a server. @returns what they saw; `health`, the 99th percentile in milliseconds; the processor seconds
 * of the parts of the server; `others`, the cores that other processes kept busy.
 */
export async function underLoad(server, driver, { threads, health = true, ...what }) {
  const stop = health ? askHealth(server) : undefined;
  const [before, busy, began, own] = [server.threadSeconds(), busySeconds(), performance.now(), process.cpuUsage()];
  const seen = await driver.ask({ ...what, url: server.url });
  const times = await stop?.();
  const split = splitTime(before, server.threadSeconds(), { main: server.pid, threads });
  const { user, system } = process.cpuUsage(own);
  const known = split.http + split.engine + split.rest + seen.driver + (user + system) / 1e6;
  const wall = (performance.now() - began) / 1000;
  const others = Math.max(0, busySeconds() - busy - known) / wall;
  return { ...seen, split, others, ...(times && { health: percentile(times, 99) }) };
}
