/** Threads that are stopped and processes that end in the middle of native work: with their own exit code, never by a signal. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { device } from '../device.ts';
import { record, times } from './report.ts';

const TIMES = times(2, 20);
const PROMISE = 'Threads and processes may end in the middle of native work';
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'palm-process-'));
afterAll(() => rmSync(folder, { recursive: true }));
vi.setConfig({ testTimeout: 900_000 });

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs a module in a process of its own to its end, for which it has a minute. */
function inProcess(code: string): Promise<Ended> {
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], { cwd: root });
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text) => {
    stdout += text;
  });
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout: stdout.trim(), stderr });
    });
  });
}

const MODEL = `
  const { PaLM } = await import('./src/models/palm.ts');
  const { ActorCritic } = await import('./src/models/actor-critic.ts');
  const palm = new PaLM({ numTokens: 64, dim: 128, depth: 3, heads: 2, dimHead: 32, device: '${device}' });
  const tokens = Array.from({ length: 8 }, (_, row) => Array.from({ length: 128 }, (_, t) => (row * t) % 64));
  const file = ${JSON.stringify(join(folder, 'model'))};`;

/** Work that goes on for ever; it calls \`busy\` whenever something native has just been started. */
const WORK = {
  backward: `${MODEL}
    async function work(busy) {
      for (;;) {
        const loss = await palm.loss(tokens);
        const pass = loss.backward();
        busy();
        await pass;
        loss.dispose();
      }
    }`,
  rollout: `${MODEL}
    const actorCritic = new ActorCritic(palm);
    async function work(busy) {
      for (;;) {
        const pass = actorCritic.rollout({ prompts: [[1, 2], [3]], maxNewTokens: 300, reference: true });
        busy();
        (await pass).dispose();
      }
    }`,
  load: `${MODEL}
    await palm.save(file);
    async function work(busy) {
      for (;;) {
        const pass = PaLM.load(file, { device: '${device}' });
        busy();
        (await pass).dispose();
      }
    }`,
};

/** A program that starts workers which do \`work\`, waits until \`count\` of them are busy, and then \`delay\` milliseconds. */
function withWorkers(work: string, count: number, delay: number): string {
  const code = JSON.stringify(`
    (await import('tsx/esm/api')).register();
    const { parentPort } = await import('node:worker_threads');
    ${work}
    await work(() => parentPort.postMessage('busy'));`);
  return `
    import { once } from 'node:events';
    import { Worker } from 'node:worker_threads';
    const workers = Array.from({ length: ${count} }, () => new Worker(${code}, { eval: true }));
    for (const worker of workers) worker.on('error', (error) => { throw error; });
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    await new Promise((resolve) => setTimeout(resolve, ${delay}));`;
}

const TRAINS = `
  const loss = await palm.loss(tokens);
  await loss.backward();
  console.log(await loss.item() > 0);`;

/** Milliseconds into the work, another number each time and the same in every run of the tests. */
function delays(seed: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: TIMES }, () => random.int(150));
}

describe.each(Object.entries(WORK))('a worker in the middle of a %s', (name, work) => {
  it('is terminated, and the main thread goes on training', async () => {
    for (const delay of delays(1)) {
      const ended = await inProcess(`${withWorkers(work, 1, delay)}
        const codes = await Promise.all(workers.map((worker) => worker.terminate()));
        ${MODEL} ${TRAINS}
        console.log(codes.join());`);
      expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'true\n1' });
    }
    record({
      promise: PROMISE,
      fault: `worker.terminate() in the middle of a ${name}`,
      times: TIMES,
      outcome: 'the main thread goes on training; exit code 0',
    });
  });
});

describe('several workers', () => {
  it('work side by side and are terminated together, beside a main thread that trains', async () => {
    for (const delay of delays(2)) {
      const ended = await inProcess(`${withWorkers(WORK.backward, 3, delay)}
        ${MODEL}
        const both = (async () => { ${TRAINS} })();
        await Promise.all([both, ...workers.map((worker) => worker.terminate())]);`);
      expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'true' });
    }
    record({
      promise: PROMISE,
      fault: 'three workers terminated at once while they and the main thread train',
      times: TIMES,
      outcome: 'the main thread goes on training; exit code 0',
    });
  });

  it('are left behind by a main thread that exits first', async () => {
    for (const delay of delays(3)) {
      const leaving = await inProcess(`${withWorkers(WORK.backward, 2, delay)} process.exit(7);`);
      expect(leaving).toMatchObject({ code: 7, signal: null, stderr: '' });
      const ended = await inProcess(
        `${withWorkers(WORK.rollout, 2, delay)} for (const worker of workers) worker.unref();`,
      );
      expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' });
    }
    record({
      promise: PROMISE,
      fault: 'the main thread exits while two workers train or sample',
      times: 2 * TIMES,
      outcome: 'its own exit code',
    });
  });
});

describe.each(Object.entries(WORK))('a process in the middle of a %s', (name, work) => {
  it.each([
    ['process.exit', 'process.exit(7)', 7, /^$/],
    ['an uncaught exception', "throw new Error('mine')", 1, /mine/],
    ['an unhandled rejection', "Promise.reject(new Error('mine'))", 1, /mine/],
  ])('ends by %s', async (fault, end, code, said) => {
    for (const delay of delays(4)) {
      const ended = await inProcess(`${work}
        let first = true;
        await work(() => {
          if (first) setTimeout(() => { ${end}; }, ${delay});
          first = false;
        });`);
      expect(ended).toMatchObject({ code, signal: null, stdout: '' });
      expect(ended.stderr).toMatch(said);
    }
    record({
      promise: PROMISE,
      fault: `${fault} in the middle of a ${name}`,
      times: TIMES,
      outcome: `exit code ${code}`,
    });
  });
});
