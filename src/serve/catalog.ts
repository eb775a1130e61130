/** What a server offers, by name. It may be replaced while it answers: what began with the old weights ends with them. */
import { ApiError } from '../web/api-error.ts';
import type { Loaded, ServedJudge, ServedModel } from './served-model.ts';

export class Catalog {
  readonly #sources = new Map<string, Loaded>();
  /** What was replaced, and still answers. */
  readonly #replaced = new Set<Loaded>();

  /** All models, then all reward models. */
  get all(): readonly (ServedModel | ServedJudge)[] {
    return [...this.models, ...this.judges];
  }

  get models(): readonly ServedModel[] {
    return [...this.#sources.values()].flatMap(({ models }) => models);
  }

  get judges(): readonly ServedJudge[] {
    return [...this.#sources.values()].flatMap(({ judges }) => judges);
  }

  /** Offers what `source` has given, instead of what it gave before, which is closed when its answers have ended. */
  offer(source: string, loaded: Loaded, grace: number): void {
    const before = this.#sources.get(source);
    this.#sources.set(source, loaded);
    if (before === undefined) return;
    this.#replaced.add(before);
    void before.close(grace).finally(() => this.#replaced.delete(before));
  }

  /** A model or reward model. @throws ApiError for an unknown name */
  find(name: string): ServedModel | ServedJudge {
    return named(this.all, name);
  }

  /** @throws ApiError for an unknown name, and for a reward model */
  model(name: string): ServedModel {
    const found = this.find(name);
    if ('scheduler' in found) return found;
    throw new ApiError(400, `${name} is a reward model: ask /v1/score`, { param: 'model' });
  }

  /** @throws ApiError for an unknown name, and for a model without scores */
  judge(name: string): ServedJudge {
    const found = this.find(name);
    if ('judge' in found) return found;
    throw new ApiError(400, `${name} gives no scores: ask /v1/completions`, { param: 'model' });
  }

  /** Closes everything, also what was replaced. */
  async close(grace: number): Promise<void> {
    await Promise.all([...this.#replaced, ...this.#sources.values()].map((loaded) => loaded.close(grace)));
  }
}

function named<T extends { name: string }>(all: readonly T[], name: string): T {
  const found = all.find((one) => one.name === name);
  if (found !== undefined) return found;
  const names = all.map((one) => one.name).join(', ');
  const detail = { param: 'model', code: 'model_not_found' };
  throw new ApiError(404, `there is no model ${JSON.stringify(name)}; there are: ${names}`, detail);
}
