/** Predicts the memory of an ILQL run; memory-items.ts has the parts that all plans share. */
import { COUNT, checkKinds } from '../checks/kinds.ts';
import { headItems, perceptronSize } from './head-plan.ts';
import { block } from './memory-block.ts';
import {
  bytesEach,
  count,
  type MemoryItem,
  type MemoryPlan,
  type PlannedModel,
  planOf,
  trainedItems,
  weightsItem,
} from './memory-items.ts';
import { checkModel, LORA } from './memory-plan.ts';
import { Reading } from './memory-reading.ts';
import { checkTrained, type Trained } from './trained.ts';

/** Plans `ilql` on samples, `batchSize` at a time: rows of up to `length` tokens, `responseLength` of them in the response. */
export function planIlql(
  model: PlannedModel,
  run: { batchSize: number; length: number; responseLength: number } & Trained,
): MemoryPlan {
  checkModel(model);
  checkKinds('planIlql', run, { batchSize: COUNT, length: COUNT, responseLength: COUNT, lora: LORA });
  checkTrained(run, model.depth);
  const { batchSize, length, responseLength } = run;
  const read = { ...model, attnDropout: 0, ffDropout: 0 };
  const reading = new Reading(read, batchSize, length, run);
  return planOf(
    [weightsItem('model', model), ...trainedItems(model, run, 1), ...allHeads(model)],
    [
      { name: 'differentiating values', items: [...reading.kept(), valuesItem(model, batchSize * responseLength)] },
      { name: 'differentiating layers', items: [...reading.kept(), ...reading.backward()] },
    ],
  );
}

/** The heads, what training them adds, and their slow copies. */
function allHeads(model: PlannedModel): MemoryItem[] {
  const slow = 2 * perceptronSize(model, model.numTokens);
  const precise = Math.max(bytesEach(model), 4);
  return [
    ...headItems(model, 'value heads', slow + perceptronSize(model, 1)),
    { what: 'target heads', bytes: block(slow * precise), how: `${count(slow)} values × ${precise} bytes` },
  ];
}

/** Matrices with a value for every token of the vocabulary in every state: what is read, and what its gradients need. */
const MATRICES = 13;

function valuesItem(model: PlannedModel, states: number): MemoryItem {
  const { numTokens, dim } = model;
  const each = Math.max(bytesEach(model), 4);
  const bytes = MATRICES * block(states * numTokens * each) + 4 * block(states * 2 * dim * each);
  return {
    what: 'values of tokens',
    bytes,
    how: `${MATRICES} × ${count(states)} states × ${count(numTokens)} × ${each} bytes`,
  };
}
