/** What every JavaScript system shares: one JSON object a line on stdin, one a line on stdout. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/**
 * Answers {prepare: workload}, then {run: true} until stdin ends. `workloads[kind](workload)` gets everything ready,
 * warms up and gives {facts about that, a function that does one run and gives what it computed}.
 */
export async function serve(workloads, versions) {
  let run;
  let onCpu;
  for await (const line of createInterface({ input: process.stdin })) {
    const { prepare } = JSON.parse(line);
    try {
      let reply;
      if (prepare === undefined) reply = await measured(run, onCpu);
      else {
        const prepared = await workloads[prepare.kind](prepare);
        run = prepared.run;
        onCpu = prepare.device === 'cpu';
        reply = { ...prepared.facts, versions: versions() };
        // The peak counts anew: that of the runs alone, as compiling and loading need more, once.
        writeFileSync('/proc/self/clear_refs', '5');
      }
      process.stdout.write(`${JSON.stringify(reply)}\n`);
    } catch (error) {
      process.stdout.write(`${JSON.stringify({ error: String(error?.stack ?? error) })}\n`);
    }
  }
}

/** Wall and processor time of one run, and the memory that it had on the CPU, beside what it gave. */
async function measured(run, onCpu) {
  const cpu = process.cpuUsage();
  const began = performance.now();
  const outcome = await run();
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const peakBytes = onCpu ? residentPeak() : undefined;
  return { seconds, cpuSeconds: (user + system) / 1e6, peakBytes, ...outcome };
}

/** Most bytes of memory that this process has held at once. */
function residentPeak() {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
}

/** The seeded tokens that all systems read, as Int32Array batches of rows × length. */
export function readTokens({ tokens }, rows, length) {
  const flat = new Int32Array(new Uint8Array(readFileSync(tokens)).buffer);
  const size = rows * length;
  return Array.from({ length: Math.floor(flat.length / size) }, (_, i) => flat.slice(i * size, (i + 1) * size));
}

/** The rows of a batch, as plain arrays. */
export function rowsOf(batch, length) {
  return Array.from({ length: batch.length / length }, (_, i) => [...batch.subarray(i * length, (i + 1) * length)]);
}
