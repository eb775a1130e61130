/** Converts the model in a .pt file to safetensors, tensor by tensor in pieces. The file is written atomically. */
import { FileError, printable } from '../../errors.ts';
import { writeAtomically } from '../../files/atomic-write.ts';
import { decodeFloats, encodeFloats, type FloatDtype } from '../torch/floats.ts';
import type { PickleTensor } from '../torch/pickle-values.ts';
import { isNormBias, LOGITS } from './buffers.ts';
import { createSafetensors, planSafetensors } from '../../files/safetensors/safetensors.ts';
import type { StateDict } from './state-dict.ts';
import { isSameView, type TorchFile } from '../torch/torch-file.ts';

type Stored = Exclude<FloatDtype, 'F16'>;

/**
 * Writes the parameters of `state` to `path`: float16 becomes float32, and `gammaOffset` is subtracted from norm
 * weights.
 * @throws FileError if the disk refuses; `path` is then unchanged.
 */
export async function convertStateDict(
  { file, state, gammaOffset }: { file: TorchFile; state: StateDict; gammaOffset: 0 | 1 },
  path: string,
  metadata: ReadonlyMap<string, string>,
): Promise<void> {
  const names = [...state.parameters().keys()];
  const tensors = names.map((name) => ({
    name,
    dtype: storedDtype(state.entry(name)),
    shape: state.entry(name).shape,
  }));
  await writeAtomically(path, async (aside) => {
    await using writer = await createSafetensors(aside, planSafetensors(tensors, metadata));
    for (const { name, dtype } of tensors) {
      const offset = isGamma(name) ? gammaOffset : 0;
      let written = 0;
      for await (const piece of file.pieces(state.entry(name))) {
        const bytes = converted(piece, floatDtype(state.entry(name)), dtype, offset);
        await writer.write(name, written, bytes);
        written += bytes.length;
      }
    }
    await writer.finish();
  });
}

/** The element type that `tensor` is written in: its own, except for float16, which models do not support. */
export function storedDtype(tensor: PickleTensor): Stored {
  const dtype = floatDtype(tensor);
  return dtype === 'F16' ? 'F32' : dtype;
}

/** The mean of all norm weights. */
export async function meanGamma(file: TorchFile, state: StateDict): Promise<number> {
  let sum = 0;
  let count = 0;
  for (const name of state.parameters().keys()) {
    if (!isGamma(name)) continue;
    const tensor = state.entry(name);
    for await (const piece of file.pieces(tensor)) {
      for (const value of decodeFloats(floatDtype(tensor), piece)) sum += value;
    }
    count += tensor.shape[0] as number;
  }
  return sum / count;
}

/**
 * Checks redundant entries: norm biases must be zero, and the logits must share the token embedding.
 * @throws FileError if they differ, as the file then holds another model.
 */
export async function checkDerived(file: TorchFile, state: StateDict): Promise<void> {
  for (const [name, tensor] of state.entries) {
    if (isNormBias(name)) await checkZero(file, name, tensor);
  }
  const logits = state.entries.get(state.prefix + LOGITS);
  const embedding = state.entry(`${state.prefix}token_emb.weight`);
  if (logits === undefined || (await isSame(file, logits, embedding))) return;
  const argument = `${file.path}, tensor ${printable(state.prefix + LOGITS)}`;
  throw new FileError({ argument, received: 'separate weights', expected: 'those of token_emb.weight' });
}

async function checkZero(file: TorchFile, name: string, tensor: PickleTensor): Promise<void> {
  for await (const piece of file.pieces(tensor)) {
    if (piece.every((byte) => byte === 0)) continue;
    const argument = `${file.path}, tensor ${printable(name)}`;
    const expected = 'zeros, as in every file of palm-rlhf-pytorch';
    throw new FileError({ argument, received: 'values other than 0', expected });
  }
}

async function isSame(file: TorchFile, a: PickleTensor, b: PickleTensor): Promise<boolean> {
  if (isSameView(a, b)) return true;
  if (a.storage.dtype !== b.storage.dtype || a.shape.join() !== b.shape.join()) return false;
  const others = file.pieces(b);
  for await (const piece of file.pieces(a)) {
    const { value } = await others.next();
    if (value === undefined || Buffer.compare(piece, value) !== 0) return false;
  }
  return true;
}

function converted(piece: Uint8Array, from: FloatDtype, to: Stored, offset: number): Uint8Array {
  if (from === to && offset === 0) return piece;
  return encodeFloats(
    to,
    decodeFloats(from, piece).map((value) => value - offset),
  );
}

function floatDtype(tensor: PickleTensor): FloatDtype {
  return tensor.storage.dtype as FloatDtype;
}

function isGamma(name: string): boolean {
  return name.endsWith('norm.gamma');
}
