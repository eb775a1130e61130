/** Dumps the context of each step with a non-finite gradient to a file, for debugging. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../files/folder.ts';
import type { StepMetrics } from '../metrics/metrics.ts';

const ROWS = 20;

interface Part {
  state?: () => unknown;
}

/** Writes anomalies/step-000123.json into the run directory. */
export class Anomalies {
  readonly #folder: string;
  readonly #parts: [string, Part | undefined][];
  #rows: StepMetrics[] = [];
  /** The states before the next step, which determine its data. */
  #before: unknown;

  constructor(out: string, parts: object) {
    this.#folder = join(out, 'anomalies');
    this.#parts = Object.entries(parts) as [string, Part | undefined][];
    this.#before = this.#states();
  }

  /** Records a finished step, and writes a dump if it was skipped. */
  watch(row: StepMetrics): void {
    this.#rows = [...this.#rows.slice(1 - ROWS), row];
    if (Number(row.skipped ?? 0) > 0) {
      const name = `step-${String(row.step).padStart(6, '0')}.json`;
      makeFolder(this.#folder);
      const dump = { step: row.step, before: this.#before, metrics: this.#rows };
      writeFileSync(join(this.#folder, name), `${JSON.stringify(dump, null, 2)}\n`);
    }
    this.#before = this.#states();
  }

  #states(): unknown {
    return Object.fromEntries(this.#parts.map(([name, part]) => [name, part?.state?.()]));
  }
}
