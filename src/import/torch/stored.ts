/** The tensors of a `pytorch_model.bin`, for which no code runs. */
import { TorchFileError, printable } from '../../errors.ts';
import type { StoredTensor, StoredTensors } from '../../files/stored-tensors.ts';
import { PickleDict, PickleTensor } from './pickle-values.ts';
import { openTorchFile, type TorchFile } from './torch-file.ts';

/**
 * Opens a state_dict that torch.save wrote.
 * @throws TorchFileError if it is damaged, or holds anything but names and tensors.
 * @throws FileError if it is missing or unreadable.
 */
export async function openStoredTorch(path: string): Promise<StoredTensors> {
  const file = await openTorchFile(path);
  try {
    return { path, tensors: tensorsOf(file), [Symbol.asyncDispose]: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function tensorsOf(file: TorchFile): Map<string, StoredTensor> {
  const { root, path } = file;
  if (!(root instanceof PickleDict)) throw notStateDict(path, 'another kind of object');
  const tensors = new Map<string, StoredTensor>();
  for (const [name, value] of root.entries) {
    if (typeof name !== 'string' || !(value instanceof PickleTensor)) {
      throw notStateDict(path, `the entry ${printable(name)}, which is no tensor`);
    }
    const { shape, storage } = value;
    tensors.set(name, { name, shape, dtype: storage.dtype, path, reader: () => inOrder(file.pieces(value)) });
  }
  return tensors;
}

function notStateDict(argument: string, received: string): TorchFileError {
  return new TorchFileError('not-a-state-dict', { argument, received, expected: 'a dict of names and tensors' });
}

/** Fills targets of any size from pieces of any size. */
function inOrder(pieces: AsyncGenerator<Uint8Array>): (target: Uint8Array) => Promise<void> {
  let left: Uint8Array = new Uint8Array();
  return async (target) => {
    for (let done = 0; done < target.length; ) {
      if (left.length === 0) left = (await pieces.next()).value as Uint8Array;
      const taken = left.subarray(0, target.length - done);
      target.set(taken, done);
      left = left.subarray(taken.length);
      done += taken.length;
    }
  };
}
