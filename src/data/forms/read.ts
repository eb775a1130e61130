/** Reads files of any format and form as rows, which are still text. */
import { checkKinds, type Kind, optional, TEXT } from '../../checks/kinds.ts';
import { checkOptions } from '../../checks/options.ts';
import { DataError } from '../../errors.ts';
import { type DataRecord, type FieldMap, type Paths, parseMap, pathsOf, readRecords } from '../records.ts';
import type { Skipped } from '../row.ts';
import { nothingUsable } from '../rows.ts';
import { converts, type PlacedRow, rowsAs } from './convert.ts';
import { checkForm, formNamed, formOf, unknownForm } from './detect.ts';
import { faultIn, isObject, WrongField } from './fields.ts';
import type { RowKind, RowOf } from './rows.ts';
import type { Form } from './table.ts';

/** How rows are read, where they do not say it themselves. */
export interface FormOptions {
  /** The form of the files, instead of the one that their first rows have. */
  form?: string | undefined;
  /** New names of fields: `{ chosen: 'better' }` reads what a file calls `better` as `chosen`. */
  map?: FieldMap | undefined;
}

const FIELD_MAP: Kind = {
  is: (value) => isObject(value) && Object.values(value).every((name) => typeof name === 'string'),
  words: 'an object of names by names',
};

/** Checks the options of the function `argument`. @throws ArgumentError */
export function checkFormOptions(options: FormOptions, argument: string): void {
  checkOptions(options, ['form', 'map'], argument);
  checkKinds(`${argument} options`, options, { form: optional(TEXT), map: optional(FIELD_MAP) });
}

/** The options that a configuration has as text. */
export function formOptions({ form, map }: { form?: string | undefined; map?: string | undefined }): FormOptions {
  return { form, map: map === undefined ? undefined : parseMap(map) };
}

/** What a record gave: rows, or the reason why none. */
export type FormResult = { record: DataRecord; form: Form } & ({ rows: PlacedRow[] } | { skip: string });

/**
 * Reads the records of some files and what they give, in order. The first record of each file decides its form.
 * @throws FileError if a file cannot be read.
 * @throws DataError naming file and line for a first record of no known form, a later one of another form, or a field
 * with a value that no row may have.
 */
export async function* readForms(paths: Paths, options: FormOptions = {}): AsyncGenerator<FormResult> {
  for (const path of pathsOf(paths)) yield* readOne(path, pathsOf(paths).length === 1, options);
}

async function* readOne(path: string, alone: boolean, { form: name, map }: FormOptions): AsyncGenerator<FormResult> {
  let form = name === undefined ? undefined : formNamed(name);
  let first: string | undefined;
  const gathered: DataRecord[] = [];
  for await (const found of readRecords(path, map)) {
    const record = alone ? found : { ...found, at: found.place };
    form ??= formOf(record.value);
    if (form === undefined) throw unknownForm(record.place, record.value);
    checkForm(form, record.value, record.place, name === undefined ? first : undefined);
    first ??= record.place;
    if (form.gather === undefined) yield read(form, record);
    else gathered.push(record);
  }
  if (form?.gather === undefined) return;
  for (const { place, value } of form.gather(gathered)) yield read(form, { path, place, at: place, value });
}

function read(form: Form, record: DataRecord): FormResult {
  try {
    const found = form.read(record.value);
    if ('skip' in found) return { record, form, skip: found.skip };
    const fault = found.use.map(faultIn).find(Boolean);
    if (fault !== undefined) return { record, form, skip: fault };
    const { place, at } = record;
    return { record, form, rows: found.use.map((row) => ({ place, at, row })) };
  } catch (error) {
    if (!(error instanceof WrongField)) throw error;
    const { received, expected } = error;
    throw new DataError({ argument: record.place, received, expected, cause: error });
  }
}

/** The rows of one kind in some files. */
export interface RowsOfKind<K extends RowKind> {
  rows: PlacedRow<RowOf<K>>[];
  skipped: Skipped[];
  /** The form of each file that has a record. */
  forms: { path: string; form: Form }[];
}

/**
 * Reads all rows of kind `to`, converting those that lose nothing by it.
 * @throws as readForms does
 * @throws FileError if no row is usable
 * @throws DataError for a file whose form cannot give such rows
 */
export async function readKind<K extends RowKind>(
  to: K,
  paths: Paths,
  options: FormOptions = {},
): Promise<RowsOfKind<K>> {
  const all: PlacedRow[] = [];
  const skipped: Skipped[] = [];
  const forms = new Map<string, Form>();
  for await (const result of readForms(paths, options)) {
    const { record, form } = result;
    if (!forms.has(record.path)) checkGives(form, to, record.place);
    forms.set(record.path, form);
    if ('skip' in result) skipped.push({ place: record.place, reason: result.skip });
    else all.push(...result.rows);
  }
  const { rows, left } = rowsAs(to, all);
  skipped.push(...left);
  if (rows.length === 0) throw nothingUsable(paths, skipped);
  return { rows, skipped, forms: [...forms].map(([path, form]) => ({ path, form })) };
}

/** The first record of each file, and its form if it is known. @throws FileError, DataError as readRecords does */
export async function firstForms(
  paths: Paths,
  { form, map }: FormOptions,
): Promise<{ record: DataRecord; form: Form | undefined }[]> {
  const found = [];
  for (const path of pathsOf(paths)) {
    for await (const record of readRecords(path, map)) {
      found.push({ record, form: form === undefined ? formOf(record.value) : formNamed(form) });
      break;
    }
  }
  return found;
}

/** @throws DataError if no row of this form can be, or become, one of kind `to` */
export function checkGives(form: Form, to: RowKind, place: string): void {
  if (form.gives.some((kind) => converts(kind, to))) return;
  throw new DataError({
    argument: place,
    received: `the form ${form.name}, which gives rows of the kind ${form.gives.join(', ')}`,
    expected: `rows of the kind ${to}, or of one that becomes it without loss`,
    fix: 'Use data of another form; docs/data.md lists them.',
  });
}
