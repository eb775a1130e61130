/** What PPO's additions need in memory, on top of what planPpo predicts. */
import {
  bytesEach,
  copyItem,
  type MemoryItem,
  type MemoryPlan,
  type PlannedModel,
  planOf,
  trainedItems,
} from './memory-items.ts';
import { Reading } from './memory-reading.ts';
import type { Trained } from './trained.ts';

/** The plan of a PPO run with an average of the policy's weights, or with text of which `rows` are learned from at a time. */
export function withExtras(
  plan: MemoryPlan,
  model: PlannedModel,
  run: { average: boolean; text?: { rows: number; length: number } | undefined } & Trained,
): MemoryPlan {
  const { average, text } = run;
  const always = average ? [...plan.always, averageItem(model, run)] : plan.always;
  if (text === undefined) return planOf(always, plan.moments);
  const read = { ...model, attnDropout: 0, ffDropout: 0 };
  const reading = new Reading(read, text.rows, text.length, run);
  const moments = [
    { name: 'computing the loss of text', items: [...reading.kept(), ...reading.head()] },
    { name: 'differentiating it', items: [...reading.kept(), ...reading.backward()] },
  ];
  return planOf(always, [...plan.moments, ...moments]);
}

/** The averaged weights, at least in float32. */
function averageItem(model: PlannedModel, trained: Trained): MemoryItem {
  const own = trained.lora === false ? [copyItem('model', model, trained)] : trainedItems(model, trained, 1);
  const [weights] = own;
  const { bytes, how } = weights as MemoryItem;
  return { what: 'average of the weights', bytes: bytes * Math.max(1, 4 / bytesEach(model)), how };
}
