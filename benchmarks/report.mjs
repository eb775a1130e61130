/** From runs to tables: medians, ratios, the JSON that is kept and the Markdown that is read. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { claims, units, workloads } from './workloads.mjs';

/** The machine that measures, as `palm doctor` sees it. */
export function describe(device) {
  const doctor = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
  const { cpu, libtorch } = JSON.parse(
    execFileSync(process.execPath, [doctor, 'doctor', '--json'], { encoding: 'utf8' }),
  );
  return {
    cpu: `${cpu.model} (${cpu.features.join(' ')})`,
    cores: `${cpu.cores} cores`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    ...(device !== 'cpu' && { gpu: gpuName() }),
    libtorch: `libtorch ${libtorch.version}+${libtorch.variant}`,
  };
}

function gpuName() {
  const query = ['--query-gpu=name,driver_version,clocks.sm,power.draw,temperature.gpu', '--format=csv,noheader'];
  return execFileSync('nvidia-smi', query, { encoding: 'utf8' }).trim();
}

/** Merges what was just measured into results/<device>.json, then writes results/<device>.md from all of it. */
export function writeReports(device, machine, measured) {
  const path = (extension) => new URL(`results/${device}.${extension}`, import.meta.url);
  const kept = existsSync(path('json')) ? JSON.parse(readFileSync(path('json'), 'utf8')) : { workloads: {} };
  const report = { machine, workloads: { ...kept.workloads, ...measured } };
  writeFileSync(path('json'), `${JSON.stringify(report, rounded, 1)}\n`);
  writeFileSync(path('md'), markdown(device, report));
}

export function rounded(_, value) {
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;
}

/** Prints what a workload gave, its first losses side by side. */
export function showWorkload(name, workload, record) {
  console.log(
    `\n${name} (${units[workload.unit].unit}; load ${record.loadBefore.toFixed(1)} before, ${record.loadAfter.toFixed(1)} after)`,
  );
  console.log(aligned(rowsOf(workload, record)));
  for (const { system, losses } of record.rows) {
    if (losses) console.log(`  losses ${system.padEnd(20)} ${losses.map((loss) => loss.toFixed(6)).join('  ')}`);
  }
}

/** A workload as a table of strings, ratios against each of our own rows: above 1 we are faster, or need less. */
function rowsOf(workload, { rows }) {
  const columns = columnsOf(workload, rows);
  const missing = (row) => [row.system, '–', ...columns.slice(2, -1).map(() => ''), `missing: ${short(row.error)}`];
  const cells = (row) => columns.map(([, cell]) => cell(row));
  return [columns.map(([header]) => header), ...rows.map((row) => (row.values.length > 0 ? cells(row) : missing(row)))];
}

/** Headers, each with the cell that a row has under it. */
function columnsOf({ unit, batch, length }, rows) {
  const { less } = units[unit];
  const ours = rows.filter(({ system, values }) => system.startsWith('ours') && values.length > 0);
  const compared = ours.length < rows.length ? ours : [];
  const throughput = ({ values }) => number((1000 * batch * length) / median(values));
  return [
    ['system', ({ system }) => system],
    ['median', ({ values }) => number(median(values))],
    ['±', ({ values }) => (values.length > 1 ? number(deviation(values)) : '–')],
    ...(unit === 'train' ? [['tokens/s', throughput]] : []),
    ...compared.map((mine) => [`${mine.system} ×`, (row) => ratio(median(mine.values), median(row.values), less)]),
    ['runs', ({ values }) => String(values.length)],
    ['CPU s / s', busy],
    ['MiB', memory],
    ['notes', (row) => notes(row, rows)],
  ];
}

function busy({ runs }) {
  return runs[0]?.cpuSeconds === undefined ? '' : median(runs.map((run) => run.cpuSeconds / run.seconds)).toFixed(1);
}

function memory({ runs }) {
  const peaks = runs.map(({ peakBytes }) => peakBytes).filter((bytes) => bytes !== undefined);
  return peaks.length === 0 ? '' : Math.round(Math.max(...peaks) / 2 ** 20).toString();
}

function notes({ system, values, agrees, firstSeconds, threads, error, runs }, rows) {
  const said = [];
  const products = rows.find((row) => row.system === system.replace('ours', 'products'));
  if (system.startsWith('ours') && products?.values.length > 0)
    said.push(`${number(median(values) / median(products.values))} × its products`);
  const compiling = firstSeconds - median(runs.map(({ seconds, steps }) => seconds / steps));
  if (agrees !== undefined) said.push(agrees ? 'agrees' : 'DISAGREES');
  if (compiling > 5) said.push(`compiled in ${compiling.toFixed(0)} s`);
  if (threads !== undefined) said.push(`${threads} ${threads === 1 ? 'thread' : 'threads'}`);
  if (disturbance({ runs }) > 0.2) said.push(`others kept ${disturbance({ runs }).toFixed(1)} cores busy`);
  if (error !== undefined) said.push(`stopped: ${short(error)}`);
  return said.join(', ');
}

/** Cores that other processes kept busy in the middle one of a row's runs. */
export function disturbance({ runs }) {
  return median(runs.map(({ otherCores = 0 }) => otherCores));
}

function short(text) {
  return text.split('\n')[0].slice(0, 80);
}

function ratio(mine, theirs, less) {
  return number(less ? theirs / mine : mine / theirs);
}

export function number(value) {
  return value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** Median absolute deviation from the median. */
function deviation(values) {
  const middle = median(values);
  return median(values.map((value) => Math.abs(value - middle)));
}

export function aligned(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function markdown(device, { machine, workloads: measured }) {
  const kinds = workloads[device];
  const names = Object.keys(kinds).filter((name) => name in measured);
  const versions = Object.assign({}, ...names.flatMap((name) => measured[name].rows.map((row) => row.versions)));
  return [
    `# Measured on ${device === 'cpu' ? 'the CPU' : 'CUDA'}`,
    Object.values(machine).join(' · '),
    Object.entries(versions)
      .map((entry) => entry.join(' '))
      .join(' · '),
    'Written by `benchmarks/run`. Ratios above 1: we are faster, or need less. ± is the median absolute deviation.',
    '## Claims',
    grid(claimRows(device, measured)),
    ...names.flatMap((name) => [
      `## ${name}`,
      caption(kinds[name], measured[name]),
      grid(rowsOf(kinds[name], measured[name])),
    ]),
  ]
    .join('\n\n')
    .concat('\n');
}

function caption(workload, { date, threads, loadBefore, loadAfter }) {
  const load = `load ${loadBefore.toFixed(1)} before, ${loadAfter.toFixed(1)} after`;
  return `${units[workload.unit].unit}, ${threads} threads, ${date.slice(0, 10)}, ${load}.`;
}

/** Our best row against the best of the peers that a claim names. */
function claimRows(device, measured) {
  const rows = claims[device]
    .filter(({ workload }) => workload in measured)
    .map(({ workload, ours, peers, goal }) => {
      const { less } = units[workloads[device][workload].unit];
      const [mine, theirs] = [best(measured[workload].rows, ours, less), best(measured[workload].rows, peers, less)];
      if (!mine || !theirs) return [workload, ours.join(', '), peers.join(', '), 'not measured', `≥ ${goal} ×`];
      const busy = mine.busy || theirs.busy ? ', on a busy machine' : '';
      return [workload, mine.system, theirs.system, `${ratio(mine.value, theirs.value, less)} ×${busy}`, `≥ ${goal} ×`];
    });
  return [['workload', 'ours', 'the fastest of', 'ratio', 'goal'], ...rows];
}

function best(rows, ids, less) {
  const candidates = rows
    .filter(({ system, values, agrees }) => ids.includes(system) && values.length > 0 && agrees !== false)
    .map((row) => ({ system: row.system, value: median(row.values), busy: disturbance(row) > 0.2 }));
  return candidates.sort((a, b) => (less ? a.value - b.value : b.value - a.value))[0];
}

function grid([header, ...rows]) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}
