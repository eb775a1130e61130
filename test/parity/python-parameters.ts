/** Values and gradients of a model under the names and shapes that palm-rlhf-pytorch gives them: parts of our parameters. */
import { type Place, pythonPlaces } from '../../src/import/palm-rlhf-pytorch/places.ts';
import type { PaLM } from '../../src/models/palm.ts';
import { RewardModel } from '../../src/models/reward-model.ts';
import type { Parameter } from '../../src/tensor/tensor.ts';

/** A tensor of a state_dict. */
export interface PythonParameter {
  name: string;
  shape: number[];
  value(): Promise<Float64Array>;
  /** Undefined where no backward pass reached the parameter that it is a part of. */
  grad(): Promise<Float64Array | undefined>;
}

/** All parameters of a model, its scopes included; of a reward model what its file holds. */
export function pythonParameters(model: PaLM | RewardModel): PythonParameter[] {
  const trunk = model instanceof RewardModel ? model.model : model;
  const { scopes } = trunk.description();
  const ours = new Map(
    [undefined, ...trunk.scopes].flatMap((scope) => trunk.parameters({ scope })).map((one) => [one.name, one]),
  );
  const prefix = model instanceof RewardModel ? 'palm.' : '';
  const places = pythonPlaces(trunk.decoder, Object.keys(scopes));
  const all = places.map((place) => partOf(prefix + place.name, ours.get(place.parameter) as Parameter, place.slice));
  return model instanceof RewardModel ? [...all, ...headOf(model)] : all;
}

const HEAD: Record<string, string> = {
  prompt_embedding: 'prompt_embed',
  response_embedding: 'response_embed',
  'head.weight': 'to_pred.weight',
  'head.bias': 'to_pred.bias',
};

function headOf(model: RewardModel): PythonParameter[] {
  const own = model.parameters().filter(({ name }) => name in HEAD);
  return own.map((parameter) => {
    const scalar = model.numBins === undefined && parameter.name === 'head.weight';
    return partOf(scalar ? 'to_pred.0.weight' : (HEAD[parameter.name] as string), parameter, undefined);
  });
}

function partOf(name: string, parameter: Parameter, slice: Place['slice']): PythonParameter {
  const cut = (values: ArrayLike<number | bigint>) => sliceOf(values, parameter.shape, slice);
  return {
    name,
    shape: slice === undefined ? [...parameter.shape] : parameter.shape.with(slice.dim, slice.length),
    value: async () => cut(await parameter.data()),
    async grad() {
      using grad = await parameter.grad();
      return grad === null ? undefined : cut(await grad.data());
    },
  };
}

/** Rows or columns of a matrix, row by row. */
function sliceOf(values: ArrayLike<number | bigint>, shape: readonly number[], slice: Place['slice']): Float64Array {
  const all = Float64Array.from(values as ArrayLike<number>, Number);
  if (slice === undefined) return all;
  const [, columns = 1] = shape;
  const { dim, start, length } = slice;
  if (dim === 0) return all.subarray(start * columns, (start + length) * columns);
  const rows = Array.from({ length: all.length / columns }, (_, row) => row * columns + start);
  return Float64Array.from(rows.flatMap((from) => [...all.subarray(from, from + length)]));
}
