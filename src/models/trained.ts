/** Which weights a run trains: adapters, the weights of the top layers, or all of them. */
import { checkInteger } from '../checks/options.ts';
import { ArgumentError } from '../errors.ts';

export interface Trained {
  /** Rank of the adapters that are trained; false if the model's own weights are. */
  lora: number | false;
  /**
   * Without adapters: the number of layers that are trained, counted from the top, with the final norm and a head that is not tied.
   * Undefined: all weights.
   */
  numLayersUnfrozen?: number | undefined;
}

/** @throws ArgumentError for layers that a model of `depth` layers does not have, and for layers together with adapters. */
export function checkTrained({ lora, numLayersUnfrozen: layers }: Trained, depth: number): void {
  if (layers === undefined) return;
  checkInteger(layers, 1, 'numLayersUnfrozen');
  const refused = (received: string, expected: string, fix: string) =>
    new ArgumentError({ argument: 'numLayersUnfrozen', received, expected, fix });
  if (lora !== false) {
    const fix = 'Pass lora: false (--no-lora), or leave it out: with adapters all layers stay frozen.';
    throw refused(`${layers} together with lora: ${lora}`, 'lora: false', fix);
  }
  if (layers > depth) {
    const fix = 'Leave it out to train all weights.';
    throw refused(`${layers}`, `at most ${depth}, the number of layers of the model`, fix);
  }
}
