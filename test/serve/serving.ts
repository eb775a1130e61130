/** Models that are served in this process, by small slots. */
import type { LanguageModel } from '../../src/models/language-model.ts';
import { Catalog } from '../../src/serve/catalog.ts';
import { Engine } from '../../src/serve/engine.ts';
import type { Loaded, ServedModel } from '../../src/serve/served-model.ts';

const POLICY = {
  ...{ slots: 4, maxWaiting: 4, maxWaitingTokens: 4096, maxWait: 60_000, share: 0.5 },
  ...{ promptTokens: 256, promptTokensAlone: 2048, tokens: 4, eager: 0 },
};
const CAPACITY = 64;

/** Takes over a model and serves it by `name`; failures go to `onError`. */
export async function served(
  name: string,
  model: LanguageModel,
  facts: Pick<ServedModel, 'text' | 'endTokens'>,
  onError: (error: unknown) => void,
): Promise<Loaded & { models: readonly [ServedModel] }> {
  const slots = { capacity: CAPACITY };
  const engine = await Engine.start(model, { slots, policy: POLICY, onTurn: () => {}, onError, onBroken: onError });
  const { usedTokens: vocabulary } = model.decoder;
  const common = { created: 1, vocabulary, capacity: CAPACITY, scope: undefined, fingerprint: 'fp_test' };
  const models = [{ ...common, ...facts, name, scheduler: engine.scheduler }] as const;
  return { models, judges: [], close: (grace) => engine.close(grace) };
}

/** A catalog of these. */
export function catalogOf(...all: readonly Loaded[]): Catalog {
  const catalog = new Catalog();
  for (const [i, loaded] of all.entries()) catalog.offer(`${i}`, loaded, 0);
  return catalog;
}
