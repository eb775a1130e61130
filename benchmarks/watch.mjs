/**
 * How long `palm watch` needs to show a long run, and how much memory. `node benchmarks/watch.mjs [steps] [rounds]` writes a run of a
 * million steps with 25 metrics into a temporary folder, and opens it in a fresh process each round: from its start until the page
 * has the last step of both files. Each round also looks at every byte of the metrics, for comparison. It prints a line for each round, and writes results/watch.json with their medians.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const [steps, rounds] = [Number(process.argv[2] ?? 1_000_000), Number(process.argv[3] ?? 5)];
const NAMES = [
  ...['score', 'reward', 'kl', 'responseLength', 'eosShare', 'repetition', 'agreement', 'gradNorm', 'learningRate'],
  ...['skipped', 'epochs', 'firstLogRatio', 'samplerGap', 'policyLoss', 'valueLoss', 'entropy', 'approxKl'],
  ...[
    'clipFraction',
    'valueClipFraction',
    'explainedVariance',
    'klWeight',
    'scoreStd',
    'zeroStdShare',
    'score.heldOut',
  ],
  'loss',
];

/** Numbers from 0 to 1, always the same. */
let state = 1;
function random() {
  state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
  return state / 2 ** 31;
}

/** Numbers as training writes them: float32 with all digits, and some whole ones. */
function metricsAt(step) {
  const values = NAMES.map((name) => [
    name,
    name === 'skipped' ? 0 : name === 'epochs' ? 4 : Math.fround(random() - 0.4),
  ]);
  return { step, ...Object.fromEntries(values) };
}

function write(path, rowAt) {
  const file = openSync(path, 'w');
  for (let step = 1, text = ''; step <= steps; step++) {
    text += `${JSON.stringify(rowAt(step))}\n`;
    if (text.length < 2 ** 22 && step < steps) continue;
    writeSync(file, text);
    text = '';
  }
  closeSync(file);
  return statSync(path).size;
}

/** Processor seconds of looking at every byte of the metrics once: what nothing can do without. */
function scan(folder) {
  const file = openSync(join(folder, 'metrics.jsonl'));
  const buffer = Buffer.alloc(2 ** 22);
  const began = process.cpuUsage();
  let commas = 0;
  for (let read = readSync(file, buffer); read > 0; read = readSync(file, buffer))
    for (let i = 0; i < read; i++) if (buffer[i] === 44) commas++;
  closeSync(file);
  if (commas !== steps * NAMES.length) throw new Error(`${commas} commas`);
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1e6;
}

/** Opens the run in a process of its own. */
async function open(folder) {
  const command = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
  const began = performance.now();
  const child = spawn(process.execPath, [command, 'watch', folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  const url = String(await new Promise((resolve) => child.stdout.once('data', resolve))).trim();
  const address = performance.now();
  const told = async () => (await (await fetch(`${url}/api/run`)).json()).runs[0];
  while (true) {
    const { step, tokensPerSecond } = await told();
    if (step === steps && tokensPerSecond === steps % 1000) break;
    await setTimeout(50);
  }
  const page = await (await fetch(url)).text();
  if (!page.includes(`step ${steps}`)) throw new Error('the page does not have the last step');
  const whole = performance.now();
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
  child.kill('SIGTERM');
  await new Promise((resolve) => child.once('exit', resolve));
  return {
    addressSeconds: (address - began) / 1000,
    wholeSeconds: (whole - began) / 1000,
    processorSeconds: (Number(stat[11]) + Number(stat[12])) / 100,
    peakMegabytes: Number(/VmHWM:\s+(\d+)/.exec(status)[1]) / 1024,
  };
}

const folder = mkdtempSync(join(tmpdir(), 'palm-watch-'));
try {
  const bytes = write(join(folder, 'metrics.jsonl'), metricsAt);
  const timing = write(join(folder, 'timing.jsonl'), (step) => ({
    step,
    seconds: random(),
    tokensPerSecond: step % 1000,
  }));
  const found = [];
  for (let round = 0; round < rounds; round++) {
    found.push({ scanProcessorSeconds: scan(folder), ...(await open(folder)), load: loadavg()[0] });
    console.log(JSON.stringify(found.at(-1)));
  }
  const median = (name) => found.map((round) => round[name]).sort((a, b) => a - b)[Math.floor(rounds / 2)];
  const medians = Object.fromEntries(Object.keys(found[0]).map((name) => [name, Number(median(name).toFixed(2))]));
  const best = Number(Math.min(...found.map(({ wholeSeconds }) => wholeSeconds)).toFixed(2));
  const machine = `${cpus()[0].model}, ${availableParallelism()} cores, Node.js ${process.version}`;
  const result = {
    machine,
    date: new Date().toISOString().slice(0, 10),
    steps,
    metrics: NAMES.length,
    bytes,
    timingBytes: timing,
  };
  const text = JSON.stringify({ ...result, medians, bestWholeSeconds: best, rounds: found }, null, 2);
  writeFileSync(new URL('results/watch.json', import.meta.url), `${text}\n`);
  console.log(text);
} finally {
  rmSync(folder, { recursive: true });
}
