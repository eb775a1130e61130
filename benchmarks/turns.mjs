/** Runs of systems that take turns, on the weights and tokens that they share. */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchSmollm2 } from '../scripts/fetch-smollm2.mjs';
import { System } from './systems/process.mjs';
import { systems } from './workloads.mjs';

/**
 * Lets the systems of `rows` take `pairs` turns at a workload: A, B, C, A, B, C, or where it is `alternating` A, B, C, C, B, A.
 * Each row gets its `runs`, and what the system told of getting ready, or the `error` that it stopped at.
 */
export async function takeTurns(rows, workload, { pairs, alternating = false }) {
  const running = new Map();
  try {
    if (!workload.fresh) for (const row of rows) await attempt(row, () => begin(row, workload, running));
    for (let pair = 0; pair < pairs; pair++) {
      for (const row of alternating && pair % 2 === 1 ? rows.toReversed() : rows) {
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
  const system = new System(program, { ...workload, checkout: row.checkout });
  running.set(row, system);
  const began = performance.now();
  const facts = await system.ask({ prepare: { ...workload, mode } });
  Object.assign(row, facts, { prepareSeconds: (performance.now() - began) / 1000 });
  return system;
}

/** One run of one system, in a process of its own where the workload says `fresh`. */
async function turn(row, workload, running) {
  if (!workload.fresh) return await watched(running.get(row));
  const began = performance.now();
  const system = await begin(row, workload, running);
  const seconds = (performance.now() - began) / 1000;
  const outcome = workload.kind === 'start' ? { seconds } : await watched(system);
  await system.end();
  running.delete(row);
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

/** The workload with its files in `folder`: weights and tokens that all systems share, and other workloads of one model too. */
export async function withFiles(workload, folder) {
  const { model } = workload;
  const file = (extension) => join(folder, `${model.name}.${extension}`);
  const full = { ...workload, folder, weights: file(model.real ? 'folder' : 'safetensors'), tokens: file('i32') };
  if (!existsSync(full.tokens)) writeFileSync(full.tokens, randomTokens(2 ** 20, model.numTokens));
  const source = model.real && (await fetchSmollm2());
  if (!existsSync(full.weights)) await ours(full, model.real ? { kind: 'folder', source } : { kind: 'weights' });
  return { ...full, gguf: ggufFiles(full, { source, file }) };
}

/** By mode, the GGUF files that llama.cpp reads in this workload; those that are missing are written. */
function ggufFiles({ model, systems: ids }, { source, file }) {
  const modes = ids.filter((id) => systems[id].program === 'llama-cpp.mjs').map((id) => systems[id].mode);
  const python = process.env.PALM_PEERS && join(process.env.PALM_PEERS, 'venv/bin/python');
  const write = (program, ...args) =>
    execFileSync(python, [fileURLToPath(new URL(`systems/${program}`, import.meta.url)), ...args]);
  const written = (mode) => {
    const path = file(`${mode}.gguf`);
    if (existsSync(path)) return path;
    if (model.real) write('gguf-variants.py', source, path, mode);
    else write('gguf-model.py', path, JSON.stringify(model));
    return path;
  };
  const isStored = (mode) => model.real && source.endsWith(`.${mode}.gguf`);
  return Object.fromEntries(python ? modes.map((mode) => [mode, isStored(mode) ? source : written(mode)]) : []);
}

async function ours(workload, request) {
  const system = new System('palm-rlhf.mjs', workload);
  await system.ask({ prepare: { ...workload, ...request } });
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
