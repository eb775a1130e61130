/** Rows of text, and the loss of a model on them. */
import { joinTokens, type Sequences } from '../data/text.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { Tensor } from '../tensor/tensor.ts';

type Rows = ReturnType<Sequences['rows']>;

/** The rows of a batch, as separate views. */
export function separated({ tokens, shape: [size, width] }: Rows): Int32Array[] {
  return Array.from({ length: size }, (_, row) => tokens.subarray(row * width, (row + 1) * width));
}

/** The number of tokens that count in the loss: those predicted from earlier tokens of their row, except `ignoreIndex`. */
export function countTargets({ tokens, shape }: Rows, ignoreIndex: number): number {
  return tokens.reduce((count, token, i) => count + (i % shape[1] !== 0 && token !== ignoreIndex ? 1 : 0), 0);
}

/** The next-token loss of `model` on rows of the same length: its sum over targets, divided by `denominator`. */
export async function textLoss(
  model: LanguageModel,
  rows: readonly Int32Array[],
  options: { denominator: number; scope?: string | undefined },
): Promise<Tensor> {
  using tokens = Tensor.from(joinTokens(rows), { shape: [rows.length, (rows[0] as Int32Array).length] });
  const { scope, denominator } = options;
  return await model.loss(tokens, { denominator, ...(scope !== undefined && { scope }) });
}
