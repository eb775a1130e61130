/** This build against an earlier one, pair by pair: which rows have become slower. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { aligned, disturbance, median, number, rounded } from './report.mjs';
import { takeTurns } from './turns.mjs';
import { systems, units } from './workloads.mjs';

/** What is compared unless workloads are named. */
export const COMPARED = /^(train|decode|ppo)-(?!smollm2)/;
/** A row falls where its speed, as a share of before, lies below this with all of its interval. */
const FLOOR = 0.98;
/** In bfloat16 gradients are summed in float32 since 0.1.0, which costs time. */
const FLOOR_BFLOAT16_TRAINING = 0.95;

/** What `checkout` lacks of a build of this package with its benchmarks. */
export function missingIn(checkout) {
  const needed = ['dist/index.js', 'build/Release', 'benchmarks/systems/palm-rlhf.mjs'];
  return needed.filter((path) => !existsSync(join(checkout, path)));
}

/**
 * Our systems in a workload that has its files. Of each, three processes take turns: the build `before`, this one, and that
 * before once more, whose ratio to the first says what the machine alone does to a ratio.
 */
export async function compareWithBefore(before, workload, { ids, pairs }) {
  const rows = [];
  for (const system of ids) {
    const builds = [before, undefined, before].map((checkout) => ({ system, checkout, runs: [] }));
    await takeTurns(builds, workload, { pairs, alternating: true });
    rows.push(rowOf(system, builds, workload));
  }
  return rows;
}

function rowOf(system, builds, { unit, kind }) {
  const error = builds.find((build) => build.error !== undefined)?.error;
  if (error !== undefined) return { system, error };
  const { value, less } = units[unit];
  const [before, now, again] = builds.map(({ runs }) => runs.map(value));
  const ratios = (ours) => ours.map((mine, i) => (less ? before[i] / mine : mine / before[i]));
  const [speed, control] = [now, again].map((values) => summary(ratios(values)));
  const floor = kind === 'train' && systems[system].precision === 'bfloat16' ? FLOOR_BFLOAT16_TRAINING : FLOOR;
  const falls = speed.interval && speed.interval[1] < floor;
  return {
    system,
    before: median(before),
    now: median(now),
    speed,
    control,
    floor,
    falls,
    otherCores: disturbance(builds[1]),
  };
}

function summary(ratios) {
  return { median: median(ratios), interval: medianInterval(ratios), ratios };
}

/**
 * Bounds of the median at 95 % or a little more, from the order of independent values alone, as the sign test has them: for 9
 * the second and the eighth. Fewer than 6 have none.
 */
function medianInterval(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const { length } = sorted;
  let [cut, tail, chance] = [0, 0, 0.5 ** length]; // chance: that `cut` of so many fair coins show heads
  while (tail + chance <= 0.025) {
    tail += chance;
    cut++;
    chance *= (length - cut + 1) / cut;
  }
  return cut === 0 ? undefined : [sorted[cut - 1], sorted[length - cut]];
}

/** Prints what a workload gave. Ratios above 1: this build is faster. */
export function showComparison(name, { unit }, { rows, pairs, loadBefore, loadAfter }) {
  const load = `load ${loadBefore.toFixed(1)} before, ${loadAfter.toFixed(1)} after`;
  console.log(`\n${name} (${units[unit].unit}; ${pairs} pairs; ${load})`);
  const header = ['system', 'before', 'now', 'speed ×', '95 % interval', 'control ×', '95 % interval', ''];
  console.log(aligned([header, ...rows.map(cells)]));
}

function cells({ system, error, before, now, speed, control, floor, falls, otherCores }) {
  if (error !== undefined) return [system, '–', '–', '', '', '', '', `missing: ${error.slice(0, 80)}`];
  const verdict = falls ? `FALLS below ${floor}` : speed.interval ? 'holds' : 'too few pairs: 6 at least';
  const disturbed = otherCores > 0.2 ? `, others kept ${otherCores.toFixed(1)} cores busy` : '';
  const ratios = [speed, control].flatMap(({ median, interval }) => [
    median.toFixed(3),
    interval ? interval.map((bound) => bound.toFixed(3)).join(' … ') : '–',
  ]);
  return [system, number(before), number(now), ...ratios, verdict + disturbed];
}

/** Merges the rows of a workload into results/before-<device>.json, if that is of the same two builds. */
export function writeComparison(device, checkout, machine, name, { rows, ...circumstances }) {
  const path = new URL(`results/before-${device}.json`, import.meta.url);
  const here = fileURLToPath(new URL('..', import.meta.url));
  const builds = { machine, before: buildOf(checkout), now: buildOf(here) };
  const kept = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
  const same = JSON.stringify([kept.before, kept.now]) === JSON.stringify([builds.before, builds.now]);
  const workloads = same ? kept.workloads : {};
  workloads[name] ??= {};
  for (const { system, ...row } of rows) workloads[name][system] = { ...circumstances, ...row };
  const report = { ...builds, workloads };
  writeFileSync(path, `${JSON.stringify(report, rounded, 1)}\n`);
}

function buildOf(checkout) {
  const { version } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8'));
  const commit = execFileSync('git', ['-C', checkout, 'rev-parse', '--short=9', 'HEAD'], { encoding: 'utf8' }).trim();
  return { version, commit };
}
