/** Tensor names in safetensors files of palm-rlhf-pytorch 0.7.5, and what their shapes reveal about the model. */
import { FileError, printable } from '../../errors.ts';

/** The names and shapes in a file. `entry` throws if there is no tensor of that name. */
export interface NamedShapes {
  readonly path: string;
  readonly entries: ReadonlyMap<string, { readonly shape: readonly number[] }>;
  entry(name: string): { readonly shape: readonly number[] };
}

/**
 * The hyperparameters of a PaLM that its shapes reveal. The rest (causal, qkScale, ...) is in no file and has to be
 * supplied.
 */
export interface PythonPalm {
  numTokens: number;
  dim: number;
  depth: number;
  heads: number;
  dimHead: number;
  ffMult: number;
  qkRmsnorm: boolean;
  /** Adapter ranks by scope. */
  scopes: Map<string, number>;
}

const SCOPE = /^finetune_modules\.(.+)\.0\.0\.A$/;

/** Whether `file` uses the names of the Python library, with `prefix` before those of the PaLM. */
export function isPythonFile(file: NamedShapes, prefix: string): boolean {
  return file.entries.has(`${prefix}token_emb.weight`);
}

/**
 * Infers the hyperparameters from the shapes.
 * @throws FileError if the shapes contradict each other or one is missing.
 */
export function inferPythonPalm(file: NamedShapes, prefix: string): PythonPalm {
  const shape = (name: string) => matrix(file, `${prefix}${name}`);
  const [numTokens, dim] = shape('token_emb.weight');
  const [inputRows] = shape('layers.0.fn.fused_attn_ff_proj.weight');
  const [, attention] = shape('layers.0.fn.attn_out.weight');
  const [, ff] = shape('layers.0.fn.ff_out.2.weight');
  const dimHead = (inputRows - attention - 2 * ff) / 2;
  const inferred = { numTokens, dim, dimHead, heads: attention / dimHead, ffMult: ff / dim };
  for (const [key, value] of Object.entries(inferred)) {
    if (Number.isSafeInteger(value) && value > 0) continue;
    throw new FileError({
      argument: file.path,
      received: `shapes that imply ${key} = ${value}`,
      expected: 'the shapes of a palm-rlhf-pytorch PaLM',
    });
  }
  const names = [...file.entries.keys()].filter((name) => name.startsWith(prefix)).map((n) => n.slice(prefix.length));
  const depth = depthOf(file, names);
  const found = names.flatMap((name) => SCOPE.exec(name)?.[1] ?? []);
  // Each scope has eight tensors per layer. If the file has fewer, fail before allocating anything for what a few names
  // claim.
  if (depth * found.length > file.entries.size) {
    const received = `${found.length} scopes and ${depth} layers in ${file.entries.size} tensors`;
    throw new FileError({ argument: file.path, received, expected: 'the adapters of each scope in every layer' });
  }
  const scopes = new Map(found.map((scope) => [scope, shape(`finetune_modules.${scope}.0.0.A`)[1]]));
  return { ...inferred, depth, qkRmsnorm: names.includes('layers.0.fn.q_scale'), scopes };
}

/**
 * The parameters of such a model by their names in a state_dict, with their shapes. buffers.ts has the other entries.
 */
export function pythonShapes(palm: PythonPalm): Map<string, number[]> {
  const { numTokens, dim, depth, heads, dimHead, ffMult, qkRmsnorm, scopes } = palm;
  const attention = heads * dimHead;
  const ff = dim * ffMult;
  const ends = [
    [dim, attention],
    [dim, dimHead],
    [dim, dimHead],
    [attention, dim],
  ] as [number, number][];
  const shapes = new Map([
    ['token_emb.weight', [numTokens, dim]],
    ['norm.gamma', [dim]],
  ]);
  for (let layer = 0; layer < depth; layer++) {
    const block = `layers.${layer}.fn`;
    shapes.set(`${block}.norm.gamma`, [dim]);
    shapes.set(`${block}.fused_attn_ff_proj.weight`, [attention + 2 * dimHead + 2 * ff, dim]);
    shapes.set(`${block}.attn_out.weight`, [dim, attention]);
    shapes.set(`${block}.ff_out.2.weight`, [dim, ff]);
    if (qkRmsnorm) shapes.set(`${block}.q_scale`, [dimHead]).set(`${block}.k_scale`, [dimHead]);
    for (const [scope, rank] of scopes) {
      for (const [place, [from, to]] of ends.entries()) {
        const adapter = `finetune_modules.${scope}.${layer}.${place}`;
        shapes.set(`${adapter}.A`, [from, rank]).set(`${adapter}.B`, [rank, to]);
      }
    }
  }
  return shapes;
}

// Counted rather than parsed from the largest number in a name, so that `layers.999999999.` costs nothing.
function depthOf(file: NamedShapes, names: readonly string[]): number {
  const found = new Set(names.map((name) => /^layers\.(\d+)\./.exec(name)?.[1]));
  found.delete(undefined);
  const gap = Array.from({ length: found.size }, (_, layer) => `${layer}`).find((layer) => !found.has(layer));
  if (gap === undefined) return found.size;
  throw new FileError({
    argument: file.path,
    received: `${found.size} layers without layer ${gap}`,
    expected: `layers 0 to ${found.size - 1}`,
  });
}

function matrix(file: NamedShapes, name: string): [number, number] {
  const { shape } = file.entry(name);
  if (shape.length === 2) return [shape[0] as number, shape[1] as number];
  throw new FileError({
    argument: `${file.path}, tensor ${printable(name)}`,
    received: `shape ${printable(shape)}`,
    expected: 'two dimensions',
  });
}
