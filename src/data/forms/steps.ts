/** Forms that judge a solution step by step. */
import { askedOf, booleanOf, type DataObject, type FormRows, isObject, metaOf, numberOf, question } from './fields.ts';
import type { Step } from './rows.ts';

export function stepwise(record: DataObject): FormRows {
  const [texts, labels] = [record.completions as string[], record.labels as unknown[]];
  if (texts.length !== labels.length) return { skip: `it has ${texts.length} steps and ${labels.length} labels` };
  const steps = texts.map((text, i): Step => {
    return labels[i] === 'neutral' ? { text, good: null, neutral: true } : { text, good: booleanOf(labels[i]) ?? null };
  });
  const meta = metaOf(record, 'prompt', 'completions', 'labels');
  return { use: [{ kind: 'steps', prompt: askedOf(record.prompt), steps, meta }] };
}

/** PRM800K: the chosen completion of each step, up to the first that is wrong. A rating of 0 leaves the step open. */
export function prm800k(record: DataObject): FormRows {
  const { problem } = record.question as DataObject;
  const solution = record.label as DataObject;
  if (record.is_quality_control_question === true) return { skip: 'it is a quality control question' };
  if (record.is_initial_screening_question === true) return { skip: 'it is a screening question' };
  if (solution.finish_reason === 'give_up' || solution.finish_reason === 'bad_problem') {
    return { skip: `its annotator stopped with ${solution.finish_reason}` };
  }
  const steps: Step[] = [];
  for (const step of solution.steps as DataObject[]) {
    const chosen = chosenIn(step);
    if (chosen === undefined) break;
    steps.push(chosen);
    if (chosen.good === false) break;
  }
  if (steps.length === 0) return { skip: 'none of its steps has a completion' };
  const { question: asked, label } = record; // whole, with the completions that were not chosen
  const meta = { ...metaOf(record, 'question', 'label'), prm800k: { question: asked, label } };
  return { use: [{ kind: 'steps', prompt: question(problem), steps, meta }] };
}

/** The chosen completion of a step, or the one written by a person, or else the first one that is rated wrong. */
function chosenIn({ completions, chosen_completion: index, human_completion: human }: DataObject): Step | undefined {
  const offered = Array.isArray(completions) ? completions.filter(isObject) : [];
  const wrong = () => offered.find(({ rating }) => rating === -1);
  const found = typeof index === 'number' ? offered[index] : isObject(human) ? { rating: 1, ...human } : wrong();
  if (found === undefined || typeof found.text !== 'string') return undefined;
  const rating = numberOf(found.rating);
  if (rating === 0) return { text: found.text, good: null, neutral: true };
  return { text: found.text, good: rating === 1 ? true : rating === -1 ? false : null };
}
