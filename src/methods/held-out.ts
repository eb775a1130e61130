/** Reads the rows of a configuration, those that are held out included. */
import { paths } from '../config/fields.ts';
import { reading } from '../config/inputs.ts';
import { holdOutPrompts, type Split } from '../data/hold-out.ts';
import { type Paths, pathsOf } from '../data/records.ts';
import { nothingUsable } from '../data/rows.ts';
import type { Skipped } from '../data/row.ts';
import { cutRows, skippedRows } from './notices.ts';

/** The fields that name the files; `what` says what is in them, and `rows` how its rows are called. */
export function rowFiles(what: string, rows: string) {
  return {
    data: paths.describe(`files with ${what}; repeatable`),
    validation: paths.optional().describe(`files with held-out ${rows} (default: some prompts of data)`),
    ...reading,
  };
}

/** The fields of a configuration that name files, and say how many rows are held out. */
interface HoldingOut {
  data: Paths;
  validation?: Paths | undefined;
  validationFraction: number;
  seed: number;
}

/** Rows that were read from files, and statistics of them. */
export interface ReadRows<Row> {
  rows: Row[];
  groups: number[];
  cut: { prompts: number; responses: number };
  skipped: Skipped[];
}

/** The rows for which `uses` holds; the others are skipped for `reason`. @throws FileError if none is left */
export function usableRows<Row>(
  paths: Paths,
  { rows, groups, cut, skipped }: ReadRows<Row>,
  uses: (row: Row) => boolean,
  reason: string,
): ReadRows<Row> {
  const used = rows.map(uses);
  const others = used.filter((one) => !one).map(() => ({ place: pathsOf(paths).join(', '), reason }));
  const all = [...skipped, ...others];
  if (!used.includes(true)) throw nothingUsable(paths, all);
  return { rows: rows.filter((_, i) => used[i]), groups: groups.filter((_, i) => used[i]), cut, skipped: all };
}

/** Training and held-out rows, how many were used, skipped and truncated, and what to tell about them. */
export interface HeldOut<Row> {
  train: Row[];
  validation: Row[];
  counts: { heldOut: number; skipped: number; promptsCut: number; responsesCut: number };
  notices: string[];
  /** Tokens of the longest row. */
  longest: number;
}

/** Reads the files that `config` names with `read`, and holds out rows with `split`: by default, some prompts with all their rows. */
export async function readHoldingOut<Row>(
  config: HoldingOut,
  read: (paths: Paths) => Promise<ReadRows<Row>>,
  tokensOf: (row: Row) => number,
  split: (all: ReadRows<Row>) => Split<Row> = ({ rows, groups }) => {
    return holdOutPrompts(rows, groups, { fraction: config.validationFraction, seed: config.seed });
  },
): Promise<HeldOut<Row>> {
  const all = await read(config.data);
  const other = config.validation === undefined ? undefined : await read(config.validation);
  const { train, validation } = other ? { train: all.rows, validation: other.rows } : split(all);
  const { skipped, cut } = all;
  return {
    train,
    validation,
    counts: {
      heldOut: validation.length,
      skipped: skipped.length,
      promptsCut: cut.prompts,
      responsesCut: cut.responses,
    },
    notices: [...noticesOf(all), ...(other ? noticesOf(other) : [])],
    longest: [...train, ...validation].reduce((max, row) => Math.max(max, tokensOf(row)), 0),
  };
}

function noticesOf<Row>({ rows, skipped, cut }: ReadRows<Row>): string[] {
  return [...skippedRows(skipped), ...cutRows({ ...cut }, rows.length)];
}
