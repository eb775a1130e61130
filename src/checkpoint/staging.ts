/** Copies of tensors in memory, so that a run can continue while they are written to disk. */
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import type { SafetensorsEntry } from '../files/safetensors/safetensors.ts';
import { type NamedTensor, planContents, type Saveable } from '../tensor/tensor-files.ts';

/** A file in memory, as consecutive pieces. */
export interface StagedFile {
  name: string;
  pieces: readonly Uint8Array[];
}

/** Maximum length of a byte array: Node.js 20 has none above 4 GiB. */
const BLOCK_BYTES = 2 ** 30;

/** Memory for the copies of `parts`, allocated once and reused by every `copy`. */
export class Staging {
  readonly #parts: ReadonlyMap<string, Saveable>;
  readonly #blocks = new Map<string, Uint8Array[]>();

  constructor(parts: ReadonlyMap<string, Saveable>) {
    this.#parts = parts;
  }

  /** The total size of the files. */
  get byteLength(): number {
    const parts = [...this.#parts.values()];
    return parts.reduce((sum, part) => sum + planContents(part.contents()).byteLength, 0);
  }

  /** Copies the parts, each as a safetensors file under its name. Overwrites the previous copy. */
  async copy(): Promise<StagedFile[]> {
    const files: StagedFile[] = [];
    for (const [name, part] of this.#parts) {
      const { tensors, metadata } = part.contents();
      const { header, entries, byteLength } = planContents({ tensors, metadata });
      const blocks = this.#memory(name, byteLength - header.length);
      // Queue all copies at once: they run one after another in native code, without a round trip each.
      await Promise.all(
        tensors.map((tensor) => {
          const { begin, end } = entries.get(tensor.name) as SafetensorsEntry;
          return copy(tensor, sliceBlocks(blocks, begin - header.length, end - header.length));
        }),
      );
      files.push({ name: `${name}.safetensors`, pieces: [header, ...blocks] });
    }
    return files;
  }

  #memory(name: string, bytes: number): Uint8Array[] {
    const known = this.#blocks.get(name) ?? [];
    if (known.reduce((sum, { length }) => sum + length, 0) === bytes) return known;
    const count = Math.ceil(bytes / BLOCK_BYTES);
    const blocks = Array.from({ length: count }, (_, i) => {
      return new Uint8Array(Math.min(BLOCK_BYTES, bytes - i * BLOCK_BYTES));
    });
    this.#blocks.set(name, blocks);
    return blocks;
  }
}

/** The bytes [begin, end) of consecutive blocks. */
function sliceBlocks(blocks: readonly Uint8Array[], begin: number, end: number): Uint8Array[] {
  return blocks
    .map((block, i) => block.subarray(Math.max(0, begin - i * BLOCK_BYTES), Math.max(0, end - i * BLOCK_BYTES)))
    .filter(({ length }) => length > 0);
}

async function copy({ tensor }: NamedTensor, targets: readonly Uint8Array[]): Promise<void> {
  using value = tensor instanceof Parameter ? await tensor.value() : undefined;
  const source = value ?? (tensor as Tensor);
  let begin = 0;
  for (const target of targets) {
    await run([source], () => addon().tensorReadBytes(handleOf(source), begin, target));
    begin += target.length;
  }
}
