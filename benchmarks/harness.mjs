/** Measures workloads in all systems, turn by turn, in one run, and writes the results: see README.md. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describe, showWorkload, writeReports } from './report.mjs';
import { System } from './systems/process.mjs';
import { systems, units, workloads } from './workloads.mjs';

/** Relative difference of losses from the Python library's that rounding explains. */
const TOLERANCE = { float32: 1e-4, bfloat16: 2e-2 };

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cpu' },
    pairs: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string' },
  },
});
const { device } = options;
const [pairs, threads] = [Number(options.pairs), Number(options.threads)];
const table = workloads[device.split(':')[0]];
const only = options.only?.split(',');

/** Measures one workload. @returns the record that is stored. */
async function measure(name, folder) {
  const workload = { ...table[name], name, device, threads, seed: 1 };
  await prepareFiles(workload, folder);
  const rows = workload.systems.filter((id) => only?.includes(id) ?? true).map((id) => ({ system: id, runs: [] }));
  const loadBefore = loadavg()[0];
  // Without turns where the systems do not fit into memory together.
  for (const group of workload.alone ? rows.map((row) => [row]) : [rows]) await measureGroup(group, workload);
  compare(rows, workload);
  return { date: new Date().toISOString(), pairs, threads, loadBefore, loadAfter: loadavg()[0], rows };
}

async function measureGroup(rows, workload) {
  const running = new Map();
  try {
    if (!workload.fresh) for (const row of rows) await attempt(row, () => begin(row, workload, running));
    for (let pair = 0; pair < pairs; pair++) {
      for (const row of rows) {
        if (row.error !== undefined || pair >= (workload.runs?.[row.system] ?? pairs)) continue;
        await attempt(row, async () => row.runs.push(await turn(row, workload, running)));
      }
    }
  } finally {
    for (const system of running.values()) await system.end();
  }
}

/** A system that fails is a row that says why. */
async function attempt(row, work) {
  try {
    await work();
  } catch (error) {
    console.error(`${row.system}: ${error.message}`);
    row.error = error.message.split('\n')[0];
  }
}

async function begin(row, workload, running) {
  const { program, mode } = systems[row.system];
  const system = new System(program, { threads, folder: workload.folder });
  running.set(row.system, system);
  const began = performance.now();
  const facts = await system.ask({ prepare: { ...workload, mode } });
  Object.assign(row, facts, { prepareSeconds: (performance.now() - began) / 1000 });
  return system;
}

/** One run of one system, in a process of its own where the workload says `fresh`. */
async function turn(row, workload, running) {
  if (!workload.fresh) return await watched(running.get(row.system));
  const began = performance.now();
  const system = await begin(row, workload, running);
  const seconds = (performance.now() - began) / 1000;
  const outcome = workload.kind === 'start' ? { seconds } : await watched(system);
  await system.end();
  running.delete(row.system);
  return outcome;
}

/** A run, with the number of cores that all other processes together kept busy meanwhile. */
async function watched(system) {
  const [began, busy] = [performance.now(), busySeconds()];
  const outcome = await system.ask({ run: true });
  const others = (busySeconds() - busy - outcome.cpuSeconds) / ((performance.now() - began) / 1000);
  return { ...outcome, otherCores: Math.max(0, others) };
}

function busySeconds() {
  return cpus().reduce((sum, { times: { user, nice, sys } }) => sum + (user + nice + sys) / 1000, 0);
}

/** Weights and tokens that all systems share; workloads of one model share them too. */
async function prepareFiles(workload, folder) {
  const { model } = workload;
  const file = (extension) => join(folder, `${model.name}.${extension}`);
  Object.assign(workload, { folder, weights: file('safetensors'), tokens: file('i32'), gguf: file('gguf') });
  if (!existsSync(workload.tokens)) writeFileSync(workload.tokens, randomTokens(2 ** 20, model.numTokens));
  if (!existsSync(workload.weights)) await writeWeights(workload);
  const python = process.env.PALM_PEERS && join(process.env.PALM_PEERS, 'venv/bin/python');
  if (!python || !workload.systems.includes('llama-cpp') || existsSync(workload.gguf)) return;
  const writer = fileURLToPath(new URL('systems/gguf-model.py', import.meta.url));
  execFileSync(python, [writer, workload.gguf, JSON.stringify(model)]);
}

async function writeWeights(workload) {
  const system = new System('palm-rlhf.mjs', { threads, folder: workload.folder });
  await system.ask({ prepare: { ...workload, kind: 'weights' } });
  await system.end();
}

/** Seeded tokens from 1: the Python library's default loss leaves 0 out. */
function randomTokens(count, numTokens) {
  let state = 1;
  return Int32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 1 + ((state >>> 8) % (numTokens - 1));
  });
}

/** Gives rows their values, and marks those whose first losses, or likeliest tokens in float32, are not the Python library's. */
function compare(rows, workload) {
  const reference = rows.find(({ system, losses, greedy }) => system === 'pytorch-default' && (losses ?? greedy));
  for (const row of reference ? rows : []) {
    const { precision } = systems[row.system];
    if (row.losses) {
      row.lossGap = Math.max(...row.losses.map((loss, i) => Math.abs(loss / reference.losses[i] - 1)));
      row.agrees = row.lossGap <= TOLERANCE[precision];
    } else if (row.greedy && precision === 'float32') {
      row.agrees = row.greedy.join() === reference.greedy.join();
    }
  }
  for (const row of rows) {
    row.values = row.runs.map(units[workload.unit].value);
    row.runs = row.runs.map(({ losses: _, ...run }) => run); // those of the first steps are kept
  }
}

const names = positionals.length > 0 ? positionals : Object.keys(table ?? {});
const unknown = [...names.filter((name) => !(name in (table ?? {}))), ...(only ?? []).filter((id) => !(id in systems))];
if (unknown.length > 0 || table === undefined || !(pairs >= 1) || !(threads >= 1)) {
  console.error(`${unknown.join(', ') || 'an option'} is unknown. Workloads: ${Object.keys(table ?? {}).join(' ')}`);
  console.error(`Systems: ${Object.keys(systems).join(' ')}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'palm-benchmark-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1)); // the systems end with their input
for (const name of names) {
  const record = await measure(name, folder);
  showWorkload(name, table[name], record);
  writeReports(device.split(':')[0], describe(device), { [name]: record });
  if (record.rows.some(({ agrees }) => agrees === false)) process.exitCode = 1;
}
