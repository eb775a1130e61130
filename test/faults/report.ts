/**
 * The tests of this folder inject faults. `npm test` does a part of them; `npm run test:faults` does all, and what each records
 * here becomes a row of the table in docs/reliability.md.
 */
import { appendFileSync } from 'node:fs';

/** How often to do something: `few` times in `npm test`, `all` times in `npm run test:faults`. */
export function times(few: number, all: number): number {
  return process.env.PALM_FAULTS === 'all' ? all : few;
}

/** What was promised, which fault was injected how often, and what came of it. Call it after the assertions. */
export interface FaultRow {
  promise: string;
  fault: string;
  times: number;
  outcome: string;
}

/** Puts a row into the table, where one is being made. */
export function record(row: FaultRow): void {
  const path = process.env.PALM_FAULTS_REPORT;
  if (path !== undefined) appendFileSync(path, `${JSON.stringify(row)}\n`);
}
