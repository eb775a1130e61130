/**
 * Load on `palm serve`: `node benchmarks/load.mjs [streams] [clients] [beside]`, all three unless some are named. A run replaces what it
 * measures in results/load.json, row by row, and writes results/load.md from all rows.
 *
 *   streams   many streams at once, on as many slots and on fewer, beside `generate` with as many rows
 *   clients   clients that come and leave at random
 *   beside    SmolLM2-135M, side by side with llama.cpp's own server
 *
 * The last one needs PALM_PEERS (see README.md), and llama-server built below it. Its source comes inside the source distribution of the
 * Python package llama-cpp-python:
 *
 *   pip download --no-deps --no-binary :all: llama-cpp-python
 *   tar xf llama_cpp_python-*.tar.gz && mv llama_cpp_python-*\/vendor/llama.cpp $PALM_PEERS/llama.cpp && cd $PALM_PEERS/llama.cpp
 *   cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF
 *   cmake --build build --target llama-server -j2
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureBeside } from './load/beside.mjs';
import { measureCrowd } from './load/crowd.mjs';
import { markdown } from './load/report.mjs';
import { measureStreams } from './load/streams.mjs';
import { describe, rounded } from './report.mjs';

const list = (text) => text.split(',');
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    models: { type: 'string', default: 'small,mid' },
    dtypes: { type: 'string', default: 'bfloat16,float32' },
    streams: { type: 'string', default: '200' },
    slots: { type: 'string', default: '200,32' },
    clients: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '60' },
    beside: { type: 'string', default: '1,8,32' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    results: { type: 'string', default: 'load' },
  },
});
const [rounds, threads, streams, clients, seconds] = ['rounds', 'threads', 'streams', 'clients', 'seconds'].map(
  (name) => Number(options[name]),
);
const program = join(process.env.PALM_PEERS ?? '', 'llama.cpp/build/bin/llama-server');

const parts = {
  streams: (folder) => {
    const slots = list(options.slots).map(Number);
    const asked = { models: list(options.models), dtypes: list(options.dtypes), slots, streams, rounds, threads };
    return measureStreams(folder, asked);
  },
  clients: (folder) => measureCrowd(folder, { clients, seconds, slots: 200, threads }),
  beside: (folder) => {
    if (!existsSync(program))
      throw new Error(`there is no ${program}: the comment above this program says how it is built`);
    return measureBeside(folder, { program, clients: list(options.beside).map(Number), rounds, threads });
  },
};

const names = positionals.length > 0 ? positionals : Object.keys(parts);
const unknown = names.filter((name) => !(name in parts));
if (unknown.length > 0) {
  console.error(`${unknown.join(', ')}: no such part. There are ${Object.keys(parts).join(', ')}`);
  process.exit(2);
}

const path = (extension) => new URL(`results/${options.results}.${extension}`, import.meta.url);
const report = existsSync(path('json')) ? JSON.parse(readFileSync(path('json'), 'utf8')) : {};
const folder = mkdtempSync(join(tmpdir(), 'palm-load-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
/** Keeps a row, instead of an earlier one of the same measurement. */
function keep(name, row) {
  const keyOf = ({ model, dtype, slots, system, clients }) => JSON.stringify([model, dtype, slots, system, clients]);
  const others = (report[name] ?? []).filter((one) => keyOf(one) !== keyOf(row));
  report[name] = [...others, row];
  report.machine = describe('cpu');
  writeFileSync(path('json'), `${JSON.stringify(report, rounded, 1)}\n`);
  writeFileSync(path('md'), markdown(report));
}

for (const name of names) {
  let before = loadavg()[0];
  for await (const row of parts[name](folder)) {
    const after = loadavg()[0];
    keep(name, { ...row, date: new Date().toISOString(), threads: row.threads ?? threads, load: [before, after] });
    before = after;
  }
}
console.log(readFileSync(path('md'), 'utf8'));
