/** PaLM, a family of language models: creating and loading one, and writing it under the names of palm-rlhf-pytorch. */
import { bufferNames, bufferValues, isDerived, isNormBias, LOGITS } from '../import/palm-rlhf-pytorch/buffers.ts';
import { inferPythonPalm, isPythonFile } from '../import/palm-rlhf-pytorch/names.ts';
import { type Place, pythonPlaces } from '../import/palm-rlhf-pytorch/places.ts';
import { openSafetensors, type SafetensorsFile } from '../files/safetensors/safetensors.ts';
import type { PalmConfig, PalmConfigInput } from '../config/palm.ts';
import { palm } from '../families/palm.ts';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { checkOptions } from '../checks/options.ts';
import { dtypeOf, type NamedTensor, readNamed, readTensors } from '../tensor/tensor-files.ts';
import { type Parameter, Tensor } from '../tensor/tensor.ts';
import { LanguageModel, type ModelOutput } from './language-model.ts';
import {
  checkModel,
  checkSize,
  findDescribed,
  type FoundModel,
  isPolicyOnly,
  type ModelDescription,
  type ModelLoadOptions,
  type NamedScopes,
  type OwnedContents,
  ownedContents,
  POLICY_KINDS,
  readMetadata,
  writeMetadata,
} from './model-file.ts';

export type { PalmConfig, PalmConfigInput } from '../config/palm.ts';

/** Hyperparameters that a file of a PaLM lacks or that should differ, and the device; see `PaLM.load`. */
export type LoadOptions = ModelLoadOptions<Partial<Omit<PalmConfigInput, 'device'>>>;
/** @deprecated Now `ModelOutput`, for every model. */
export type PalmOutput = ModelOutput;

export class PaLM extends LanguageModel<PalmConfig> {
  /**
   * Creates a model in eval mode, with random weights determined by `seed`. `blank` is for this package only.
   * @throws ConfigError for options that are unknown, missing or out of range.
   * @throws DeviceError if the device does not exist.
   */
  constructor(options: PalmConfigInput, blank?: NamedScopes) {
    super(palm, palm.resolve(options), blank);
  }

  /**
   * Reads a safetensors file written by `save`, or one with the names of palm-rlhf-pytorch. The shapes of the latter determine
   * most hyperparameters, and `options` gives the others; its ignoreIndex defaults to 0, as in that library.
   * @throws FileError for a missing, damaged or foreign file.
   * @throws ConfigError for bad options.
   */
  static override async load(path: string, load: LoadOptions = {}): Promise<PaLM> {
    checkOptions(load, ['options', 'device'], 'PaLM.load');
    await using file = await openSafetensors(path);
    checkModel(file, [palm.kind, ...POLICY_KINDS], palm.kind);
    return await readPalm(file, load, '', isPolicyOnly);
  }

  protected override blank(scopes: NamedScopes): this {
    return new PaLM(this.config, scopes) as this;
  }

  /**
   * The same as `contents`, as a state_dict of palm-rlhf-pytorch, which also has buffers and a second name for the token
   * embedding. Dispose of it.
   * @throws ArgumentError for a non-default `qkScale` or `alpha`, which that library cannot compute.
   * @internal
   */
  override pythonContents(scopes: readonly string[] = this.scopes): OwnedContents {
    checkComputable(this.description(scopes));
    const tensors = pythonTensors(this, scopes);
    const [embedding] = tensors as [NamedTensor];
    const { depth, dim, dimHead } = this.decoder;
    const buffers = bufferNames(depth).map((name) => ({
      name,
      tensor: Tensor.from(bufferValues(name, { dim, dimHead })),
    }));
    return ownedContents(
      [...tensors, { ...embedding, name: LOGITS }, ...buffers],
      writeMetadata(palm.kind, { names: 'python', ...this.metadata(scopes) }),
      buffers.map(({ tensor }) => tensor),
    );
  }
}

/** The tensors of a state_dict, the token embedding first, as parts of the parameters. */
function pythonTensors(model: PaLM, scopes: readonly string[]): NamedTensor[] {
  const parameters = [undefined, ...scopes].flatMap((scope) => model.parameters({ scope }));
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const located = ({ name, parameter, slice }: Place): NamedTensor => {
    return { name, tensor: byName.get(parameter) as Parameter, slice };
  };
  return pythonPlaces(model.decoder, scopes).map(located);
}

function checkComputable({ config: { dimHead, qkScale }, scopes }: ModelDescription<PalmConfig>): void {
  if (qkScale !== dimHead ** -0.5) {
    const expected = `${dimHead ** -0.5} (dimHead ** -0.5), which palm-rlhf-pytorch always uses`;
    throw new ArgumentError({ argument: 'qkScale', received: `${qkScale}`, expected });
  }
  for (const [name, { rank, alpha }] of Object.entries(scopes)) {
    if (alpha === rank) continue;
    throw new ArgumentError({
      argument: `alpha of scope ${name}`,
      received: `${alpha}`,
      expected: `its rank, ${rank}: palm-rlhf-pytorch has no scale`,
      fix: "Merge the scope, or save without { names: 'python' }.",
    });
  }
}

/** For this package: reads the tensors of an open file whose names start with `prefix`; the others must be `ignored`. */
export async function readPalm(
  file: SafetensorsFile,
  load: LoadOptions,
  prefix: string,
  ignored: (name: string) => boolean,
): Promise<PaLM> {
  const { config, scopes, names } = await findPalm(file, load, prefix);
  const model = new PaLM(config, scopes);
  try {
    const tensors = names === 'python' ? pythonTensors(model, model.scopes) : model.contents().tensors;
    const targets = tensors.map((tensor) => ({ ...tensor, name: prefix + tensor.name }));
    await readTensors(file, targets, (name) => ignored(name) || (names === 'python' && isDerived(name)));
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/**
 * The PaLM whose tensor names start with `prefix`: as described by our metadata, or inferred from palm-rlhf-pytorch shapes.
 * @throws FileError if there is none, or its parts contradict each other.
 * @throws ConfigError for bad options.
 */
export async function findPalm(
  file: SafetensorsFile,
  load: LoadOptions,
  prefix: string,
): Promise<FoundModel<PalmConfig>> {
  const metadata = readMetadata(file);
  if (metadata !== undefined) return findDescribed(file, palm, metadata, load);
  if (isPythonFile(file, prefix)) return await findPython(file, load, prefix);
  throw new FileError({
    argument: file.path,
    received: 'neither our metadata nor the names of palm-rlhf-pytorch',
    expected: 'a file written by save(), or a palm-rlhf-pytorch state_dict as safetensors',
  });
}

async function findPython(
  file: SafetensorsFile,
  { options = {}, device = 'cpu' }: LoadOptions,
  prefix: string,
): Promise<FoundModel<PalmConfig>> {
  const { scopes, ...inferred } = inferPythonPalm(file, prefix);
  await checkNormBiases(file);
  const dtype = dtypeOf(file, `${prefix}token_emb.weight`);
  const config = palm.resolve({ ignoreIndex: 0, dtype, ...inferred, ...options, device });
  const sizes = [...scopes].map(([name, rank]) => [name, { rank, alpha: rank }] as const);
  const found = { config, decoder: palm.describe(config), scopes: sizes, names: 'python' as const };
  checkSize(file, palm, found);
  return found;
}

async function checkNormBiases(file: SafetensorsFile): Promise<void> {
  for (const name of file.entries.keys()) {
    if (!isNormBias(name)) continue;
    using bias = await readNamed(file, name);
    if ((await bias.data()).every((value) => Number(value) === 0)) continue;
    throw new FileError({
      argument: `${file.path}, tensor ${printable(name)}`,
      received: 'values other than 0',
      expected: 'only zeros, as in palm-rlhf-pytorch',
    });
  }
}
