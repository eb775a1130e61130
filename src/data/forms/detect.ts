/** Which form a record has, and whether the next records have it too. */
import { ArgumentError, DataError, nearest, printable } from '../../errors.ts';
import { type DataObject, fieldAt } from './fields.ts';
import { FORM_NAMES, FORMS, type Form } from './table.ts';

/** The first form that fits `record`; undefined if none does. */
export function formOf(record: DataObject): Form | undefined {
  return FORMS.find((form) => lacks(form, record).length === 0 && (form.looks?.(record) ?? true));
}

/** The form with this name. @throws ArgumentError if there is none */
export function formNamed(name: string): Form {
  const found = FORMS.find((form) => form.name === name);
  if (found !== undefined) return found;
  const near = nearest(name, FORM_NAMES);
  const fix = near === undefined ? undefined : `Did you mean ${near}?`;
  throw new ArgumentError({
    argument: 'form',
    received: printable(name),
    expected: `one of ${FORM_NAMES.join(', ')}`,
    ...(fix && { fix }),
  });
}

/** The fields that `form` needs and `record` has not, or has with another kind of value. */
export function lacks({ needs }: Form, record: DataObject): string[] {
  return Object.entries(needs)
    .filter(([path, { is }]) => !is(fieldAt(record, path)))
    .map(([path]) => path);
}

/** What is named besides the forms that share a field with the record. */
const COMMON = ['preference', 'prompt-completion', 'messages'];

/** The error for a first record that no form fits, with the three nearest. */
export function unknownForm(place: string, record: DataObject): DataError {
  const scored = FORMS.map((form) => {
    const missing = lacks(form, record);
    return { form, missing, present: Object.keys(form.needs).length - missing.length };
  });
  const alike = scored.filter(({ present }) => present > 0);
  alike.sort((a, b) => b.present - b.missing.length - (a.present - a.missing.length));
  const common = scored.filter(({ form, present }) => present === 0 && COMMON.includes(form.name));
  const near = [...alike, ...common].slice(0, 3).map(({ form, missing }) => {
    return `${form.name} lacks ${missing.map((path) => wanted(form, record, path)).join(' and ')}`;
  });
  return new DataError({
    argument: place,
    received: `a row with ${keysOf(record)}`,
    expected: 'a form of feedback that is known',
    fix: `The nearest: ${near.join('; ')}. Rename fields with --map chosen=better, or see docs/data.md.`,
  });
}

/**
 * Checks that `record` has the form of the first record at `first`.
 * @throws DataError naming the field that is missing, or the one that makes it another form.
 */
export function checkForm(form: Form, record: DataObject, place: string, first: string | undefined): void {
  const [missing] = lacks(form, record);
  const because = first === undefined ? `the form ${form.name}` : `the form ${form.name}, as ${first} has`;
  if (missing !== undefined) {
    const received = `a row in which ${wanted(form, record, missing)} is missing`;
    const has =
      fieldAt(record, missing) === undefined ? received : `a row in which ${printable(missing)} is no such value`;
    const fix = 'Make all rows of a file alike, or split it.';
    throw new DataError({
      argument: place,
      received: has,
      expected: `${because}: ${wanted(form, record, missing)}`,
      fix,
    });
  }
  if (first === undefined) return;
  const other = FORMS.slice(0, FORMS.indexOf(form)).find(
    (earlier) => !earlier.looks && lacks(earlier, record).length === 0,
  );
  const extra = other && Object.keys(other.needs).find((path) => !Object.hasOwn(form.needs, path));
  if (other === undefined || extra === undefined) return;
  const fix = `Make all rows of a file alike, or name the form with --form ${form.name}.`;
  const received = `a row with ${printable(extra)}, the form ${other.name}`;
  throw new DataError({ argument: place, received, expected: because, fix });
}

function wanted({ needs }: Form, record: DataObject, path: string): string {
  const words = needs[path]?.words ?? '';
  return fieldAt(record, path) === undefined ? printable(path) : `${printable(path)} as ${words}`;
}

/** The keys of a record, shortened. */
export function keysOf(record: DataObject): string {
  const keys = Object.keys(record);
  if (keys.length === 0) return 'no keys';
  const shown = keys.slice(0, 12).map((key) => printable(key));
  return `the keys ${shown.join(', ')}${keys.length > 12 ? ` and ${keys.length - 12} more` : ''}`;
}
