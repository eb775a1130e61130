/** Recorded responses as tensors. */
import { padRight } from '../data/prompts.ts';
import { Tensor } from '../tensor/tensor.ts';

/** Prompts and responses as tensors [B, T]: token ids, and a mask of the response tokens. */
export function responseRows(
  prompts: readonly (readonly number[])[],
  responses: readonly (readonly number[])[],
): { sequence: Tensor; responseMask: Tensor } {
  const { tokens, shape, lengths } = padRight(
    responses.map((response, row) => [...(prompts[row] as readonly number[]), ...response]),
    0, // padding: the mask excludes it, and no earlier token sees it
  );
  const mask = new Uint8Array(tokens.length);
  for (const [row, prompt] of prompts.entries())
    mask.fill(1, row * shape[1] + prompt.length, row * shape[1] + (lengths[row] as number));
  return { sequence: Tensor.from(tokens, { shape }), responseMask: Tensor.from(mask, { shape, dtype: 'bool' }) };
}
