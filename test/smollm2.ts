/** SmolLM2-135M-Instruct, for the tests that `npm run test:smollm2` runs: a real model, fetched once into the user's cache. */
import { existsSync } from 'node:fs';
import { smollm2Path } from '../scripts/fetch-smollm2.mjs';

/** The path of its GGUF file. @throws Error that says how to get it. */
export function smollm2(): string {
  const path = smollm2Path();
  if (existsSync(path)) return path;
  throw new Error(
    `SmolLM2-135M-Instruct is not at ${path}: run \`npm run fetch:smollm2\`, or set PALM_SMOLLM2 to a copy.`,
  );
}
