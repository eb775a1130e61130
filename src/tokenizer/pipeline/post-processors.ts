import { printable } from '../../errors.ts';
import { checkByteLevel } from './pre-tokenizers.ts';
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
      step.list('sep');
      step.list('cls');
      return;
    case 'ByteLevel':
      checkByteLevel(step);
      return;
    default:
      throw step.unknown('post_processor');
  }
}

/** A template could have the text twice, or not at all, or one that only pairs have. */
function checkTemplate(step: Step): void {
  step.list('pair');
  step.object('special_tokens');
  const texts = step
    .list('single')
    .flatMap((part) => (isObject(part) && isObject(part.Sequence) ? [part.Sequence] : []));
  if (texts.length !== 1) throw new Error(`a TemplateProcessing with the text ${texts.length} times`);
  if (texts[0]?.id !== 'A') throw new Error(`a TemplateProcessing of the text ${printable(texts[0]?.id)}, not "A"`);
}
