import { isObject, type Step } from './step.ts';

/**
 * Nothing is put before or after a text here, which is all that post-processors do but for offsets.
 * @throws Error for one that would do something else.
 */
export function checkPostProcessor(step: Step): void {
  switch (step.type) {
    case 'Sequence':
      for (const inner of step.steps('processors')) checkPostProcessor(inner);
      return;
    case 'TemplateProcessing':
      checkTemplate(step);
      return;
    case 'BertProcessing':
    case 'RobertaProcessing':
    case 'ByteLevel':
      return;
    default:
      throw step.unknown('post_processor');
  }
}

/** A template could have the text twice, or not at all. */
function checkTemplate(step: Step): void {
  const texts = step.list('single').filter((part) => isObject(part) && Object.hasOwn(part, 'Sequence'));
  if (texts.length !== 1) throw new Error(`a TemplateProcessing with the text ${texts.length} times`);
}
