/**
 * Training only the top layers of a model, with everything below them frozen. The reference policy is then a branch: a frozen copy of
 * what is trained, which reads the layers below in the model itself (trlX's hydra).
 */
import { addon, type LanguageModelHandle } from '../native/addon.ts';
import { handleOf, queue, Resource } from '../native/resource.ts';
import type { Contents } from '../tensor/tensor-files.ts';
import { Parameter, requireGrad } from '../tensor/tensor.ts';
import type { LanguageModel } from './language-model.ts';

/** The top layers of a model, its final norm and its head, unless that is tied to the token embedding. The rest is frozen. */
export class TopLayers {
  readonly parameters: readonly Parameter[];
  readonly #model: LanguageModel;
  readonly #firstLayer: number;
  readonly #frozen: readonly Parameter[];

  /** Freezes what is below the top `layers` layers. */
  constructor(model: LanguageModel, layers: number) {
    this.#model = model;
    this.#firstLayer = model.decoder.depth - layers;
    const [below, top] = splitBelow(model.parameters(), this.#firstLayer);
    this.parameters = top;
    this.#frozen = below.filter(({ frozen }) => !frozen);
    requireGrad(model, this.#frozen, false);
  }

  /** A copy of them as they are now, which reads the layers below in the model. Dispose of it. */
  branch(): Branch {
    return new Branch(this.#model, this.#firstLayer, this.parameters);
  }

  /** Ends this: what was frozen gets gradients again. */
  release(): void {
    if (!this.#model.disposed) requireGrad(this.#model, this.#frozen, true);
  }
}

/** A model that consists of the layers of another before `firstLayer`, and of copies of `copied`, all the rest of it. */
export class Branch extends Resource<LanguageModelHandle> {
  readonly #own: readonly Parameter[];

  constructor(model: LanguageModel, firstLayer: number, copied: readonly Parameter[]) {
    super(addon().modelBranch(handleOf(model), firstLayer), 'Branch');
    const { dtype } = model.decoder;
    const all = addon().modelParameters(handleOf(this));
    const [shared, own] = splitBelow(all, firstLayer);
    for (const { handle } of shared) addon().dispose(handle);
    this.#own = own.map((parameter) => new Parameter(parameter, { dtype }));
    const handles = (parameters: readonly Parameter[]) => parameters.map((parameter) => handleOf(parameter));
    queue(this, addon().parametersCopy(handles(this.#own), handles(copied)));
  }

  /** The weights that are its own. */
  contents(): Pick<Contents, 'tensors'> {
    return { tensors: this.#own.map((tensor) => ({ name: tensor.name, tensor })) };
  }

  protected override release(handle: LanguageModelHandle): void {
    for (const parameter of this.#own) parameter.dispose();
    super.release(handle);
  }
}

/** The parameters of a model, which are in the order of the forward pass, before layer `firstLayer` and from there on. */
function splitBelow<P extends { name: string }>(parameters: readonly P[], firstLayer: number): [P[], P[]] {
  const first = parameters.findIndex(({ name }) => name.startsWith(`layers.${firstLayer}.`));
  return [parameters.slice(0, first), parameters.slice(first)];
}
