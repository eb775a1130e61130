/** Measures workloads in all systems, turn by turn, in one run, and writes the results: see README.md. */
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { COMPARED, compareWithBefore, missingIn, showComparison, writeComparison } from './before.mjs';
import { describe, showWorkload, writeReports } from './report.mjs';
import { takeTurns, withFiles } from './turns.mjs';
import { systems, units, workloads } from './workloads.mjs';

/** How far losses may be from those of the reference, relatively: what rounding explains. */
const TOLERANCE = { float32: 1e-4, bfloat16: 2e-2 };

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cpu' },
    pairs: { type: 'string' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string' },
    before: { type: 'string' },
  },
});
const { device } = options;
const before = options.before && resolve(options.before);
const [pairs, threads] = [Number(options.pairs ?? (before ? 9 : 5)), Number(options.threads)];
const table = workloads[device.split(':')[0]];
const only = options.only?.split(',');

/** Measures one workload. @returns the record that is stored. */
async function measure(name, folder) {
  const workload = await withFiles({ ...table[name], name, device, threads, seed: 1 }, folder);
  const ids = workload.systems.filter((id) => only?.includes(id) ?? true);
  const loadBefore = loadavg()[0];
  const rows = before === undefined ? await againstPeers(ids, workload) : await againstBefore(ids, workload);
  return { date: new Date().toISOString(), pairs, threads, loadBefore, loadAfter: loadavg()[0], rows };
}

async function againstPeers(ids, workload) {
  const rows = ids.map((id) => ({ system: id, runs: [] }));
  // Without turns where the systems do not fit into memory together.
  for (const group of workload.alone ? rows.map((row) => [row]) : [rows]) await takeTurns(group, workload, { pairs });
  compare(rows, workload);
  return rows;
}

function againstBefore(ids, workload) {
  return compareWithBefore(before, workload, { ids: ids.filter((id) => id.startsWith('ours')), pairs });
}

/** Gives rows their values, and marks those whose first losses, or likeliest tokens in float32, are not those of the reference. */
function compare(rows, workload) {
  const { reference: judge = 'pytorch-default' } = workload;
  const reference = rows.find(({ system, losses, greedy }) => system === judge && (losses ?? greedy));
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

const all = Object.keys(table ?? {}).filter((name) => before === undefined || COMPARED.test(name));
const names = positionals.length > 0 ? positionals : all;
const unknown = [...names.filter((name) => !(name in (table ?? {}))), ...(only ?? []).filter((id) => !(id in systems))];
if (unknown.length > 0 || table === undefined || !(pairs >= 1) || !(threads >= 1)) {
  console.error(`${unknown.join(', ') || 'an option'} is unknown. Workloads: ${Object.keys(table ?? {}).join(' ')}`);
  console.error(`Systems: ${Object.keys(systems).join(' ')}`);
  process.exit(2);
}
const missing = before === undefined ? [] : missingIn(before);
if (missing.length > 0) {
  console.error(`--before ${before} has no ${missing.join(', no ')}: give it a checkout that is built`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'palm-benchmark-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1)); // the systems end with their input
for (const name of names) {
  const record = await measure(name, folder);
  if (before === undefined) {
    showWorkload(name, table[name], record);
    writeReports(device.split(':')[0], describe(device), { [name]: record });
  } else {
    showComparison(name, table[name], record);
    writeComparison(device.split(':')[0], before, describe(device), name, record);
  }
  if (record.rows.some(({ agrees, falls }) => agrees === false || falls)) process.exitCode = 1;
}
