/** What the head of FlowRL needs in memory, on top of what planPpo predicts for a policy. */
import { headItems, perceptronSize } from './head-plan.ts';
import { type MemoryPlan, type PlannedModel, planOf } from './memory-items.ts';

/** The plan of a run whose policy also learns log Z. */
export function withPartition(plan: MemoryPlan, model: PlannedModel): MemoryPlan {
  const head = headItems(model, 'head for log Z', perceptronSize(model, 1));
  return planOf([...plan.always, ...head], plan.moments);
}
