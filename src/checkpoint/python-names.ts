/** What safetensors files of palm-rlhf-pytorch 0.7.5 are called inside, and what their shapes say about the model. */
import { FileError, printable } from '../errors.ts';
import type { SafetensorsEntry, SafetensorsFile } from './safetensors.ts';

/** What shapes tell of a PaLM. The rest (causal, qkScale, ...) is in no file and has to be given. */
export interface PythonPalm {
  numTokens: number;
  dim: number;
  depth: number;
  heads: number;
  dimHead: number;
  ffMult: number;
  qkRmsnorm: boolean;
  /** Ranks of the adapters by scope. */
  scopes: Map<string, number>;
}

/** Buffers that follow from the hyperparameters, and the second name of the token embedding. */
const DERIVED = /(^|\.)(norm\.beta|rotary_emb\.inv_freq|rotary_emb\.scale)$|^(palm\.)?to_logits\.weight$/;
const SCOPE = /^finetune_modules\.(.+)\.0\.0\.A$/;

/** Whether `file` has the names of the Python library, all of a PaLM's behind `prefix`. */
export function isPythonFile(file: SafetensorsFile, prefix: string): boolean {
  return file.entries.has(`${prefix}token_emb.weight`);
}

/** Whether the tensor `name` holds nothing that is learned. */
export function isDerived(name: string): boolean {
  return DERIVED.test(name);
}

/** Names of the biases of LayerNorm, which the library never trains: zero, or the file is from elsewhere. */
export function isNormBias(name: string): boolean {
  return name.endsWith('norm.beta');
}

/** Reads the hyperparameters off the shapes. @throws FileError where they contradict each other or one is missing. */
export function inferPythonPalm(file: SafetensorsFile, prefix: string): PythonPalm {
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
      received: `shapes that make ${key} ${value}`,
      expected: 'the shapes of a PaLM of palm-rlhf-pytorch',
    });
  }
  const names = [...file.entries.keys()].filter((name) => name.startsWith(prefix)).map((n) => n.slice(prefix.length));
  return {
    ...inferred,
    depth: 1 + Math.max(...names.map((name) => Number(/^layers\.(\d+)\./.exec(name)?.[1] ?? 0))),
    qkRmsnorm: names.includes('layers.0.fn.q_scale'),
    scopes: new Map(
      names.flatMap((name) => {
        const scope = SCOPE.exec(name)?.[1];
        return scope === undefined ? [] : [[scope, shape(name)[1]] as const];
      }),
    ),
  };
}

function matrix(file: SafetensorsFile, name: string): [number, number] {
  const { shape }: SafetensorsEntry = file.entry(name);
  if (shape.length === 2) return [shape[0] as number, shape[1] as number];
  throw new FileError({
    argument: `${file.path}, tensor ${printable(name)}`,
    received: `shape ${printable(shape)}`,
    expected: 'two dimensions',
  });
}
