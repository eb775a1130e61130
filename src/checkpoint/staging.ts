/** Copies of tensors in memory: a run goes on while they are written to the disk. */
import { addon } from '../native.ts';
import { handleOf, run } from '../resource.ts';
import { Parameter, type Tensor } from '../tensor.ts';
import type { SafetensorsEntry, SafetensorsPlan } from './safetensors.ts';
import { type NamedTensor, planContents, type Saveable } from './tensor-files.ts';

/** A file in memory, piece after piece. */
export interface StagedFile {
  name: string;
  pieces: readonly Uint8Array[];
}

/** An array of bytes is at most this long: Node.js 20 has none above 4 GiB. */
const PIECE_BYTES = 2 ** 30;

/** The memory for the copies of `parts`, taken once and used again at every `copy`. */
export class Staging {
  readonly #parts: ReadonlyMap<string, Saveable>;
  readonly #files = new Map<string, FileMemory>();

  constructor(parts: ReadonlyMap<string, Saveable>) {
    this.#parts = parts;
  }

  /** The parts as they are now, each as a safetensors file under its name. What was copied before is gone. */
  async copy(): Promise<StagedFile[]> {
    const files: StagedFile[] = [];
    for (const [name, part] of this.#parts) {
      const contents = part.contents();
      const plan = planContents(contents);
      const memory = this.#memory(name, plan);
      await Promise.all(contents.tensors.map((tensor) => memory.copy(tensor)));
      files.push({ name: `${name}.safetensors`, pieces: [plan.header, ...memory.pieces] });
    }
    return files;
  }

  #memory(name: string, plan: SafetensorsPlan): FileMemory {
    const known = this.#files.get(name);
    if (known?.fits(plan)) return known;
    const memory = new FileMemory(plan);
    this.#files.set(name, memory);
    return memory;
  }
}

class FileMemory {
  readonly #pieces: ReadonlyMap<string, Uint8Array[]>;

  constructor({ entries }: SafetensorsPlan) {
    this.#pieces = new Map([...entries].map(([name, entry]) => [name, piecesOf(entry)]));
  }

  /** In the order of the file. */
  get pieces(): Uint8Array[] {
    return [...this.#pieces.values()].flat();
  }

  fits({ entries }: SafetensorsPlan): boolean {
    const bytes = (pieces: readonly Uint8Array[] = []) => pieces.reduce((sum, { length }) => sum + length, 0);
    const names = [...this.#pieces.keys()];
    return (
      names.join('\n') === [...entries.keys()].join('\n') &&
      names.every((name) => bytes(this.#pieces.get(name)) === byteLength(entries.get(name) as SafetensorsEntry))
    );
  }

  async copy({ name, tensor }: NamedTensor): Promise<void> {
    using value = tensor instanceof Parameter ? await tensor.value() : undefined;
    const source = value ?? (tensor as Tensor);
    let begin = 0;
    for (const piece of this.#pieces.get(name) ?? []) {
      await run([source], () => addon().tensorReadBytes(handleOf(source), begin, piece));
      begin += piece.length;
    }
  }
}

function piecesOf(entry: SafetensorsEntry): Uint8Array[] {
  const bytes = byteLength(entry);
  const count = Math.ceil(bytes / PIECE_BYTES);
  return Array.from({ length: count }, (_, i) => new Uint8Array(Math.min(PIECE_BYTES, bytes - i * PIECE_BYTES)));
}

function byteLength({ begin, end }: SafetensorsEntry): number {
  return end - begin;
}
