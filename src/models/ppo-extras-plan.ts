/** What PPO's additions need in memory, on top of what planPpo predicts. */
import {
  adapterItems,
  bytesEach,
  type MemoryItem,
  type MemoryPlan,
  type PlannedModel,
  planOf,
  Reading,
  weightsItem,
} from './memory-plan.ts';

/** The plan of a PPO run with an average of the policy's weights, or with text of which `rows` are learned from at a time. */
export function withExtras(
  plan: MemoryPlan,
  model: PlannedModel,
  run: { lora: number | false; average: boolean; text?: { rows: number; length: number } | undefined },
): MemoryPlan {
  const { lora, average, text } = run;
  const always = average ? [...plan.always, averageItem(model, lora)] : plan.always;
  if (text === undefined) return planOf(always, plan.moments);
  const read = { ...model, attnDropout: 0, ffDropout: 0 };
  const reading = new Reading(read, text.rows, text.length, { trains: lora === false });
  const moments = [
    { name: 'computing the loss of text', items: [...reading.kept(), ...reading.head()] },
    { name: 'differentiating it', items: [...reading.kept(), ...reading.backward()] },
  ];
  return planOf(always, [...plan.moments, ...moments]);
}

/** The averaged weights, at least in float32. */
function averageItem(model: PlannedModel, lora: number | false): MemoryItem {
  const [weights] = lora === false ? [weightsItem('model', model)] : adapterItems(model, lora, 1);
  const { bytes, how } = weights as MemoryItem;
  return { what: 'average of the weights', bytes: bytes * Math.max(1, 4 / bytesEach(model)), how };
}
