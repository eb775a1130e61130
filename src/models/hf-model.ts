/** Models of Hugging Face families: from their folders, and from our own files. */
import { statSync } from 'node:fs';
import { checkKind, PATH } from '../checks/kinds.ts';
import { checkObject } from '../checks/options.ts';
import { ArgumentError, FileError } from '../errors.ts';
import type { Family } from '../families/family.ts';
import type { HfConfig } from '../families/hugging-face.ts';
import { hfEntry, MODEL_TYPES } from '../families/registry.ts';
import { openSafetensors, type SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { type Contents, readTensors } from '../tensor/tensor-files.ts';
import type { Parameter } from '../tensor/tensor.ts';
import { type ResolveOptions, resolveModel } from '../hub/resolve-model.ts';
import { checkScoresNone, type FolderOptions, isGguf, openFolder } from './hf-folder.ts';
import { findDescribed, isPolicyOnly, type ModelLoadOptions, type NamedScopes, readMetadata } from './model-file.ts';

/** What is read here, whatever its class. */
interface Readable {
  parameters(): readonly Parameter[];
  contents(): Contents;
  loadAdapter(name: string, path: string): Promise<void>;
  dispose(): void;
}
/** Makes a model with uninitialised weights and scopes. */
export type Create<Model> = (family: Family<HfConfig>, config: HfConfig, scopes: NamedScopes) => Model;

/** How a model is loaded, and, if it is not on this machine, how it is downloaded. */
export type LoadModelOptions = FolderOptions &
  Pick<ResolveOptions, (typeof HUB_OPTIONS)[number]> & {
    /** Scopes to add: the folder of an adapter of PEFT for each name. */
    adapters?: Readonly<Record<string, string>>;
  };

/**
 * Reads a Hugging Face folder, a GGUF file, a model of the hub by its id, or a file of such a model that `save` wrote.
 * @throws ConfigError naming what config.json says and palm-rlhf does not know.
 * @throws FileError for files that are missing, damaged or do not belong together.
 */
export async function readHfModel<Model extends Readable>(
  model: string,
  options: LoadModelOptions,
  create: Create<Model>,
): Promise<Model> {
  checkKind('model', model, PATH);
  const { hub, weights, adapters } = parted(options);
  const path = await resolveModel(model, hub);
  const read = await readWeights(path, weights, create);
  return await filled(read, async () => {
    for (const [name, folder] of Object.entries(adapters)) await read.loadAdapter(name, folder);
  });
}

async function readWeights<Model extends Readable>(
  path: string,
  weights: FolderOptions,
  create: Create<Model>,
): Promise<Model> {
  if (isFile(path) && !isGguf(path)) return await readOwn(path, weights, create);
  await using folder = await openFolder(path, weights);
  checkScoresNone(path, folder);
  const created = create(folder.family, folder.config, []);
  return await filled(created, () => folder.read(created.parameters()));
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

const HUB_OPTIONS = ['revision', 'token', 'offline', 'cacheDir', 'onProgress', 'signal'] as const;

/** The options for the hub, those for what is read from it, and the adapters. */
function parted(options: LoadModelOptions) {
  checkObject(options, 'load options');
  const { adapters = {}, ...others } = options;
  checkAdapters(adapters);
  const isHub = ([name]: [string, unknown]) => (HUB_OPTIONS as readonly string[]).includes(name);
  const all = Object.entries(others);
  const weights = Object.fromEntries(all.filter((entry) => !isHub(entry))) as FolderOptions;
  const { bin } = weights;
  const hub: ResolveOptions = { ...Object.fromEntries(all.filter(isHub)), ...(bin ? { allowPickle: true } : {}) };
  return { hub, weights, adapters };
}

/** @throws ArgumentError */
function checkAdapters(adapters: object): void {
  checkObject(adapters, 'load.adapters');
  for (const [name, folder] of Object.entries(adapters)) checkKind(`load.adapters.${name}`, folder, PATH);
}

async function readOwn<Model extends Readable>(
  path: string,
  options: FolderOptions,
  create: Create<Model>,
): Promise<Model> {
  const { device, dtype, ignoreConfigKeys, bin, ...chosen } = options;
  if (ignoreConfigKeys !== undefined || bin !== undefined) {
    const argument = `load.${bin === undefined ? 'ignoreConfigKeys' : 'bin'}`;
    throw new ArgumentError({ argument, received: 'a file', expected: 'a Hugging Face folder for this option' });
  }
  await using file = await openSafetensors(path);
  const family = hfFamilyIn(file);
  if (family === undefined) {
    throw new FileError({
      argument: path,
      received: 'a file of another kind of model',
      expected: 'a Hugging Face folder, or a file of a model that came from one',
      fix: 'Load it with the class whose save() wrote it.',
    });
  }
  const overrides = { ...chosen, ...(dtype === undefined || dtype === 'stored' ? {} : { dtype }) };
  return await readDescribed(
    file,
    family,
    { options: overrides, ...(device === undefined ? {} : { device }) },
    '',
    isPolicyOnly,
    create,
  );
}

/** The Hugging Face family of the model that a file describes; undefined for another model. @throws FileError */
export function hfFamilyIn(file: SafetensorsFile): Family<HfConfig> | undefined {
  const metadata = readMetadata(file) ?? {};
  const type = MODEL_TYPES.find((one) => Object.hasOwn(metadata, one));
  return type === undefined ? undefined : hfEntry(type)?.family;
}

/** Reads the tensors of an open file whose names start with `prefix`; the others must be `ignored`. @throws FileError */
export async function readDescribed<Model extends Readable>(
  file: SafetensorsFile,
  family: Family<HfConfig>,
  load: ModelLoadOptions<object>,
  prefix: string,
  ignored: (name: string) => boolean,
  create: Create<Model>,
): Promise<Model> {
  const { config, scopes } = findDescribed(file, family, readMetadata(file) ?? {}, load);
  const model = create(family, config, scopes);
  return await filled(model, async () => {
    const targets = model.contents().tensors.map((tensor) => ({ ...tensor, name: prefix + tensor.name }));
    await readTensors(file, targets, ignored);
  });
}

/** `model`, once `read` has filled it; disposed of if that fails. */
async function filled<Model extends Readable>(model: Model, read: () => Promise<void>): Promise<Model> {
  try {
    await read();
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}
