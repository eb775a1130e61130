/** The page of a model on the hub: what it is and what it was made from, in front matter that the hub reads. */
import { join } from 'node:path';
import { FileError } from '../errors.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { readWholeText } from '../files/regular-file.ts';
import { parseReference } from './names.ts';

/** The README.md of a repository called `repo` for the model or adapter in `folder`. */
export function modelCard(folder: string, repo: string): string {
  const adapter = settings(join(folder, 'adapter_config.json'));
  const base = asRepo(adapter?.base_model_name_or_path ?? settings(join(folder, 'config.json'))?._name_or_path);
  const front = [
    ...(base === undefined ? [] : [`base_model: ${base}`]),
    `library_name: ${adapter === undefined ? 'transformers' : 'peft'}`,
    'pipeline_tag: text-generation',
    'tags:',
    ...(adapter === undefined ? [] : ['- lora']),
    '- palm-rlhf',
  ];
  const what = adapter === undefined ? 'A language model' : 'An adapter (LoRA)';
  const from =
    base === undefined
      ? ''
      : `${adapter === undefined ? ', trained from' : ' for'} [${base}](https://huggingface.co/${base})`;
  const name = repo.split('/').at(-1);
  return `---\n${front.join('\n')}\n---\n\n# ${name}\n\n${what}${from}. Written by palm-rlhf.\n`;
}

/** The object in a JSON file; undefined if there is none that can be read. */
function settings(path: string): Record<string, unknown> | undefined {
  try {
    return Object(parseJson(readWholeText(path, { expected: 'JSON', most: 2 ** 24 }), 1_000_000));
  } catch (error) {
    if (error instanceof FileError || error instanceof JsonError) return undefined;
    throw error;
  }
}

/** `name` if it is a model of the hub, and not a path of this machine, which is nobody's business. */
function asRepo(name: unknown): string | undefined {
  if (typeof name !== 'string' || !/^[^/]+\/[^/]+$/.test(name)) return undefined;
  try {
    return parseReference(name).repo;
  } catch {
    return undefined;
  }
}
