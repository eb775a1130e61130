/** The method that data is for, where a recipe names none. */
import { type FormOptions, firstForms, formOptions } from '../data/forms/read.ts';
import type { RowKind } from '../data/forms/rows.ts';
import { isText } from '../data/passages.ts';
import { pathsOf, type Paths } from '../data/records.ts';
import { ArgumentError, ConfigError } from '../errors.ts';
import type { methods } from '../methods.ts';

export type MethodName = keyof typeof methods;

/** The method for rows of a kind, where there is one that needs nothing else. */
const BY_KIND: Readonly<Partial<Record<RowKind, MethodName>>> = {
  text: 'pretrain',
  turns: 'sft',
  completion: 'sft',
  pair: 'dpo',
  ranking: 'dpo',
  rating: 'dpo',
  label: 'kto',
  steps: 'process-reward',
};

/**
 * The method for some settings: PPO with a reward, ILQL for responses with rewards, else the one of BY_KIND for the first row of
 * the first file.
 * @throws ConfigError without data.
 * @throws ArgumentError for data that several methods or none could use.
 * @throws FileError, DataError for data that cannot be read.
 */
export async function methodOfData(settings: Readonly<Record<string, unknown>>): Promise<MethodName> {
  if (settings.reward !== undefined) return 'ppo';
  const { data } = settings;
  if (data === undefined) {
    const fix = 'Add a line such as `method: dpo`, or --data.';
    throw new ConfigError({ argument: 'train', received: 'neither method, reward nor data', expected: 'one', fix });
  }
  const found = await kindOf(data as Paths, formOptions(settings));
  if (found.method !== undefined) return found.method;
  throw new ArgumentError({
    argument: 'train.method',
    received: `nothing, and ${found.what} in ${pathsOf(data as Paths)[0]}`,
    expected: 'the name of a method',
    fix: 'Add a line such as `method: rft`, or a reward.',
  });
}

async function kindOf(data: Paths, options: FormOptions): Promise<{ method?: MethodName | undefined; what: string }> {
  const [path] = pathsOf(data) as [string];
  if (await isText(path, options)) return { method: 'pretrain', what: 'text' };
  const [first] = await firstForms(path, options);
  if (first?.form === undefined) return { what: 'no rows of a known form' };
  const [kind] = first.form.gives as [RowKind];
  const rewarded = kind === 'completion' && Object.hasOwn(first.record.value, 'reward');
  return { method: rewarded ? 'ilql' : BY_KIND[kind], what: `rows of the form ${first.form.name}` };
}
