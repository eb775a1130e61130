/** What a file says of the PaLM in it: ours by its metadata, those of palm-rlhf-pytorch by their shapes. */
import { dtypeOf, readNamed } from './checkpoint/tensor-files.ts';
import { inferPythonPalm, isNormBias, isPythonFile } from './checkpoint/python-names.ts';
import type { SafetensorsFile } from './checkpoint/safetensors.ts';
import { type PalmConfig, type PalmConfigInput, resolvePalmConfig } from './config/palm.ts';
import { FileError, printable } from './errors.ts';
import type { Device } from './native.ts';

/** How a file is loaded: hyperparameters that it does not hold, or that shall differ, and the device (cpu unless given). */
export interface LoadOptions {
  options?: Partial<Omit<PalmConfigInput, 'device'>>;
  device?: Device;
}

/** A PaLM as our files describe it; `scopes` has the rank of each. */
export interface PalmDescription {
  config: PalmConfig;
  scopes: Record<string, number>;
}

/** What has to be made before the tensors can be read, and whose names they have. */
export interface FoundPalm {
  config: PalmConfig;
  scopes: readonly (readonly [name: string, rank: number])[];
  names: 'python' | undefined;
}

const KEY = 'palm-rlhf';

/** Metadata of a file of ours: the kind of model and what describes it. */
export function writeMetadata(model: string, description: object): Map<string, string> {
  return new Map([[KEY, JSON.stringify({ format: 1, model, ...description })]]);
}

/** What `writeMetadata` put into a file; undefined where the file is not ours. @throws FileError when damaged. */
export function readMetadata(file: SafetensorsFile): Record<string, unknown> | undefined {
  const text = file.metadata.get(KEY);
  if (text === undefined) return undefined;
  try {
    const metadata = JSON.parse(text) as Record<string, unknown> | null;
    if (metadata?.format === 1) return metadata;
  } catch {
    // Not JSON: as bad as JSON of something else.
  }
  throw badMetadata(file, text);
}

/**
 * The PaLM whose tensors stand behind `prefix`.
 * @throws FileError where there is none, or a contradictory one; ConfigError for bad options.
 */
export async function findPalm(
  file: SafetensorsFile,
  { options = {}, device = 'cpu' }: LoadOptions,
  prefix: string,
): Promise<FoundPalm> {
  const metadata = readMetadata(file);
  if (metadata !== undefined) {
    const { config, scopes } = describedPalm(file, metadata.palm);
    return { config: resolvePalmConfig({ ...config, ...options, device }), scopes, names: undefined };
  }
  if (isPythonFile(file, prefix)) {
    const { scopes, ...inferred } = inferPythonPalm(file, prefix);
    await checkNormBiases(file);
    const dtype = dtypeOf(file, `${prefix}token_emb.weight`) as PalmConfig['dtype'];
    const config = resolvePalmConfig({ ignoreIndex: 0, dtype, ...inferred, ...options, device });
    return { config, scopes: [...scopes], names: 'python' };
  }
  throw new FileError({
    argument: file.path,
    received: 'neither our metadata nor the names of palm-rlhf-pytorch',
    expected: 'a file that save() wrote, or a state_dict of palm-rlhf-pytorch as safetensors',
  });
}

function describedPalm(file: SafetensorsFile, palm: unknown) {
  const { config, scopes = {} } = (palm ?? {}) as Partial<PalmDescription>;
  try {
    return { config: resolvePalmConfig(config as PalmConfigInput), scopes: Object.entries(scopes) };
  } catch (cause) {
    throw badMetadata(file, palm, cause);
  }
}

async function checkNormBiases(file: SafetensorsFile): Promise<void> {
  for (const name of file.entries.keys()) {
    if (!isNormBias(name)) continue;
    using bias = await readNamed(file, name);
    if ((await bias.data()).every((value) => Number(value) === 0)) continue;
    throw new FileError({
      argument: `${file.path}, tensor ${printable(name)}`,
      received: 'values other than 0',
      expected: 'the zeros that palm-rlhf-pytorch keeps there',
    });
  }
}

function badMetadata(file: SafetensorsFile, received: unknown, cause?: unknown): FileError {
  return new FileError({
    argument: `${file.path}, metadata ${KEY}`,
    received: printable(received),
    expected: 'the description of a model that save() wrote',
    cause,
  });
}
