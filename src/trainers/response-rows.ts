/** Responses as tensors. */
import { padRight } from '../data/prompts.ts';
import { type Device, Tensor } from '../tensor/tensor.ts';

/** Prompts and responses as tensors [B, T]: token ids, and a mask of the response tokens. */
export function responseRows(
  prompts: readonly (readonly number[])[],
  responses: readonly (readonly number[])[],
): { sequence: Tensor; responseMask: Tensor } {
  const { tokens, shape } = padRight(
    responses.map((response, row) => [...(prompts[row] as readonly number[]), ...response]),
    0, // padding: the mask excludes it, and no earlier token sees it
  );
  const rows = responses.map((response, row) => ({ prompt: prompts[row] as readonly number[], response }));
  return { sequence: Tensor.from(tokens, { shape }), responseMask: responseMaskOf(rows, shape) };
}

/** The mask [B, T] of the response tokens of rows that begin with their prompts. */
export function responseMaskOf(
  rows: readonly { prompt: { length: number }; response: { length: number } }[],
  shape: readonly number[],
  device?: Device,
): Tensor {
  const width = shape[1] as number;
  const mask = new Uint8Array(rows.length * width);
  for (const [row, { prompt, response }] of rows.entries()) {
    const first = row * width + prompt.length;
    mask.fill(1, first, first + response.length);
  }
  return Tensor.from(mask, { shape: [...shape], dtype: 'bool', device });
}
