/** `--dry-run`: prints the memory a run would need, instead of training. */
import { OutOfMemoryError } from '../errors.ts';
import { type MemoryItem, type MemoryPlan, sum } from '../models/memory-items.ts';

/** Prints `plan` as a table of item, size and formula. */
export function printPlan({ always, moments, totalBytes }: MemoryPlan): void {
  const max = Math.max(...moments.map(({ items }) => sum(items)));
  const parts = moments.map(({ name, items }) => {
    return section(`while ${name}${sum(items) === max ? ' (peak)' : ''}`, items);
  });
  const total = {
    what: 'total',
    bytes: totalBytes,
    how: 'tensors; Node.js, libtorch and the data are extra',
  };
  console.log([section('throughout', always), ...parts, line(total)].join('\n'));
}

/**
 * Checks, before anything is allocated, that what a run holds throughout fits in the CPU's memory. Temporary memory is
 * not counted, as smaller batches need less of it.
 * @throws OutOfMemoryError if it does not fit.
 */
export function checkFits({ always, totalBytes }: MemoryPlan, device: string): void {
  if (device !== 'cpu') return;
  const [requested, available] = [sum(always), process.availableMemory()];
  if (requested <= available) return;
  throw new OutOfMemoryError({
    argument: 'memory',
    received: `a run that needs ${readable(requested)} throughout and ${readable(totalBytes)} at its peak`,
    expected: `at most the ${readable(available)} available`,
    fix: 'Use a smaller model; --dry-run shows where the memory goes.',
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
