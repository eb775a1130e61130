/** A critic that starts as a reward model: with its adapters and its head. */
import { ArgumentError } from '../errors.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { type Parameter, Tensor } from '../tensor/tensor.ts';
import type { ActorCritic } from './actor-critic.ts';
import type { LanguageModel } from './language-model.ts';
import type { RewardModel, ScoreStatistics } from './reward-model.ts';

/**
 * Copies the adapters of a reward model to the critic, and its head, so that a value is the score of the prompt and response up to a
 * token, normalised by these statistics. The reward model reads the mean over positions and marks them as prompt or response; a value reads
 * one position, unmarked: it is near, not equal.
 * @throws ArgumentError if the two do not read the same weights.
 */
export async function startCritic(
  actorCritic: ActorCritic,
  judge: RewardModel,
  { mean, deviation }: ScoreStatistics,
): Promise<void> {
  const { model, scopes } = actorCritic;
  await checkSameTrunk(model, judge.model);
  const handles = (parameters: readonly Parameter[]) => parameters.map((parameter) => handleOf(parameter));
  const adapters = handles(judge.model.parameters({ scope: judge.scope as string }));
  const own = handles(model.parameters({ scope: scopes[1] as string }));
  await run([model, judge.model], () => addon().parametersCopy(own, adapters));
  const head = judge.parameters().find(({ name }) => name === 'head.weight') as Parameter;
  await setValues(
    actorCritic,
    'value_head.weight',
    Array.from(await head.data(), Number).map((weight) => weight / deviation),
  );
  await setValues(actorCritic, 'value_head.bias', [-mean / deviation]);
}

async function setValues(actorCritic: ActorCritic, name: string, values: readonly number[]): Promise<void> {
  const parameter = actorCritic.parameters().find((each) => each.name === name) as Parameter;
  using target = await parameter.value();
  using source = Tensor.from(Float64Array.from(values), { shape: [...parameter.shape] });
  await run([target, source], () => addon().tensorCopy(handleOf(target), handleOf(source)));
}

async function checkSameTrunk(policy: LanguageModel, judge: LanguageModel): Promise<void> {
  if (policy === judge) return;
  const theirs = judge.parameters();
  for (const [i, parameter] of policy.parameters().entries()) {
    const [own, other] = await Promise.all([parameter.data(), (theirs[i] as Parameter).data()]);
    if (own.every((value, place) => value === other[place])) continue;
    throw new ArgumentError({
      argument: 'critic.start',
      received: 'reward with a reward model of other weights than the policy',
      expected: 'a reward model whose adapters were trained on the model that the policy starts from',
    });
  }
}

/** The shapes of all weights, in words. */
export function sizesOf(model: LanguageModel): string {
  return model
    .parameters()
    .map(({ shape }) => shape.join())
    .join(' ');
}
