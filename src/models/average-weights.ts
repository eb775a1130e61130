/** One model from several that were trained alike. */
import { checkKind, checkKinds, having, LIST } from '../checks/kinds.ts';
import { ArgumentError, printable } from '../errors.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import type { Parameter } from '../tensor/tensor.ts';

/** A model, reward model or policy. */
export interface HasParameters {
  parameters(): readonly Parameter[];
}

const MODEL = having('a model with parameters', 'parameters');

/**
 * Makes the weights of `model` the mean of its own and those of `others`, which stay as they are (WARM, Ramé et al. 2024). The
 * models descend from one pretrained model, or their mean is none. Of adapters, A and B are averaged each by itself. The
 * `statistics` of a reward model are of its old weights.
 * @throws ArgumentError for models whose parameters differ in number, name, shape or element type.
 */
export async function averageWeights(model: HasParameters, others: readonly HasParameters[]): Promise<void> {
  checkKind('model', model, MODEL);
  checkKinds('averageWeights', { others }, { others: LIST });
  const into = model.parameters();
  const lists = others.map((other, i) => {
    checkKind(`others[${i}]`, other, MODEL);
    return expectAlike(other.parameters(), into, `others[${i}]`);
  });
  const handles = (parameters: readonly Parameter[]) => parameters.map((parameter) => handleOf(parameter));
  for (const [i, parameters] of lists.entries())
    await run([...into, ...parameters], () => addon().parametersMove(handles(into), handles(parameters), 1 / (i + 2)));
}

function expectAlike(parameters: readonly Parameter[], into: readonly Parameter[], argument: string) {
  const shapeOf = (parameter: Parameter | undefined) =>
    parameter && `${parameter.dtype} [${parameter.shape.join(', ')}]`;
  if (parameters.length !== into.length) {
    const expected = `${into.length}, as model has`;
    throw new ArgumentError({ argument, received: `${parameters.length} parameters`, expected });
  }
  for (const [i, parameter] of parameters.entries()) {
    const own = into[i] as Parameter;
    if (parameter.name === own.name && shapeOf(parameter) === shapeOf(own)) continue;
    throw new ArgumentError({
      argument,
      received: `${printable(parameter.name)}, ${shapeOf(parameter)}`,
      expected: `${printable(own.name)}, ${shapeOf(own)}, as model has`,
    });
  }
  return parameters;
}
