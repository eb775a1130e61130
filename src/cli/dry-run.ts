/** What a run would hold in memory, told instead of training. */
import { OutOfMemoryError } from '../errors.ts';
import { type MemoryItem, type MemoryPlan, sum } from '../models/memory-plan.ts';

/** Prints `plan` as a table: what, how much, and how it is computed. */
export function printPlan({ always, moments, totalBytes }: MemoryPlan): void {
  const most = Math.max(...moments.map(({ items }) => sum(items)));
  const parts = moments.map(({ name, items }) => {
    return section(`while ${name}${sum(items) === most ? ', when it holds the most' : ''}`, items);
  });
  const total = {
    what: 'in all',
    bytes: totalBytes,
    how: 'tensors; what Node.js, libtorch and the data take is extra',
  };
  console.log([section('all the time', always), ...parts, line(total)].join('\n'));
}

/**
 * @throws OutOfMemoryError where what a run holds from its beginning to its end does not fit on the CPU: before any of it is made.
 * What it holds for a while it can make do without, with smaller batches.
 */
export function checkFits({ always, totalBytes }: MemoryPlan, device: string): void {
  if (device !== 'cpu') return;
  const [requested, available] = [sum(always), process.availableMemory()];
  if (requested <= available) return;
  throw new OutOfMemoryError({
    argument: 'memory',
    received: `a run that holds ${readable(requested)} from beginning to end, and ${readable(totalBytes)} at most`,
    expected: `at most the ${readable(available)} that are left`,
    fix: 'Use a smaller model; --dry-run tells what takes how much.',
    requested,
    available,
  });
}

function section(title: string, items: readonly MemoryItem[]): string {
  return `${title}\n${items.map((item) => `  ${line(item, 24)}\n`).join('')}`;
}

function line({ what, bytes, how }: MemoryItem, width = 26): string {
  return `${what.padEnd(width)}${readable(bytes).padStart(10)}  ${how}`;
}

function readable(bytes: number): string {
  const mebibytes = bytes / 2 ** 20;
  return mebibytes < 1024 ? `${mebibytes.toFixed(1)} MiB` : `${(mebibytes / 1024).toFixed(1)} GiB`;
}
