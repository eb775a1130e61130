import { printable } from '../../errors.ts';
import { checkByteLevel } from './pre-tokenizers.ts';
import { isObject, type Step } from './step.ts';

/**
 * Checks a post-processor. We add no special tokens, so one that only adds these or changes offsets can be ignored.
 * @throws Error if it does anything else.
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

/** A template might contain the text twice or not at all, or refer to the second text of a pair. */
function checkTemplate(step: Step): void {
  step.list('pair');
  step.object('special_tokens');
  const texts = step
    .list('single')
    .flatMap((part) => (isObject(part) && isObject(part.Sequence) ? [part.Sequence] : []));
  if (texts.length !== 1) throw new Error(`a TemplateProcessing with the text ${texts.length} times`);
  if (texts[0]?.id !== 'A') throw new Error(`a TemplateProcessing of the text ${printable(texts[0]?.id)}, not "A"`);
}
