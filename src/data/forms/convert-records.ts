/** The records of some files in another form. */
import { DataError } from '../../errors.ts';
import type { Paths } from '../records.ts';
import type { Skipped } from '../row.ts';
import { converts, rowsAs } from './convert.ts';
import type { DataObject } from './fields.ts';
import { checkGives, type FormOptions, type FormResult, readForms, readKind } from './read.ts';
import type { RowKind } from './rows.ts';
import { OASST, type Writer, writerOf, writeTree } from './write.ts';

/**
 * The records of `paths` in the form `to`, in order, and what gives none as `{ skipped }`. Nothing else is lost: fields
 * without a place in the other form are kept under their names. One record is in memory at a time, except where ratings
 * become rankings.
 * @throws as readForms does
 * @throws ArgumentError for a form that cannot be written
 * @throws DataError for files whose form cannot become it
 */
export async function* convertRecords(
  paths: Paths,
  to: string,
  options: FormOptions = {},
): AsyncGenerator<{ record: DataObject } | { skipped: Skipped }> {
  if (OASST.includes(to)) {
    for await (const result of readForms(paths, options)) yield* treeRecords(result, to);
    return;
  }
  const writer = writerOf(to);
  for await (const result of readForms(paths, options)) {
    checkGives(result.form, writer.kind, result.record.place);
    if (gathers(result, writer)) return yield* together(paths, writer, options);
    yield* rowRecords(result, writer);
  }
}

function* treeRecords({ form, record }: FormResult, to: string): Generator<{ record: DataObject }> {
  if (!OASST.includes(form.name)) {
    const received = `the form ${form.name}`;
    throw new DataError({ argument: record.place, received, expected: `one of ${OASST.join(', ')}` });
  }
  for (const written of writeTree(to, record.value)) yield { record: written };
}

/** Whether a row of the writer depends on several records. */
function gathers({ form }: FormResult, { kind }: Writer): boolean {
  const ranked: readonly RowKind[] = ['ranking', 'pair', 'label'];
  return form.gives.includes('rating') && ranked.includes(kind);
}

async function* together(
  paths: Paths,
  { kind, write }: Writer,
  options: FormOptions,
): AsyncGenerator<{ record: DataObject } | { skipped: Skipped }> {
  const { rows, skipped } = await readKind(kind, paths, options);
  for (const each of skipped) yield { skipped: each };
  for (const { row } of rows) yield { record: write(row) };
}

function* rowRecords(
  result: FormResult,
  { kind, write }: Writer,
): Generator<{ record: DataObject } | { skipped: Skipped }> {
  const { place } = result.record;
  if ('skip' in result) return yield { skipped: { place, reason: result.skip } };
  const { rows, left } = rowsAs(kind, result.rows);
  for (const { row } of rows) yield { record: write(row) };
  for (const skipped of left) yield { skipped };
  if (result.rows.some(({ row }) => converts(row.kind, kind))) return;
  yield { skipped: { place, reason: `it gives no row of the kind ${kind}` } };
}
