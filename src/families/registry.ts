/** The families whose models come as Hugging Face folders, by what config.json calls them. */
import { bloom } from './bloom.ts';
import { cohere } from './cohere.ts';
import { falcon } from './falcon.ts';
import type { Family } from './family.ts';
import { gemma } from './gemma.ts';
import { gemma2 } from './gemma2.ts';
import { gemma3 } from './gemma3.ts';
import { gpt2 } from './gpt2.ts';
import { gptBigcode } from './gpt-bigcode.ts';
import { gptNeo } from './gpt-neo.ts';
import { gptNeox } from './gpt-neox.ts';
import { gptj } from './gptj.ts';
import { granite } from './granite.ts';
import { familyOf, type HfConfig, type HfFamily } from './hugging-face.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import { olmo } from './olmo.ts';
import { olmo2 } from './olmo2.ts';
import { olmo3 } from './olmo3.ts';
import { opt } from './opt.ts';
import { phi } from './phi.ts';
import { phi3 } from './phi3.ts';
import { qwen2 } from './qwen2.ts';
import { qwen3 } from './qwen3.ts';
import { smollm3 } from './smollm3.ts';
import { stablelm } from './stablelm.ts';
import { starcoder2 } from './starcoder2.ts';

const TABLES: readonly HfFamily[] = [
  ...[llama, mistral, smollm3, qwen2, qwen3, gpt2, gptj, gptNeox, gptNeo, gptBigcode, opt, bloom, falcon],
  ...[gemma, gemma2, gemma3, phi, phi3, olmo, olmo2, olmo3, stablelm, starcoder2, cohere, granite],
];
const BY_TYPE = new Map(TABLES.flatMap((table) => table.modelTypes.map((type) => [type, table] as const)));

/** A table and the family that it makes. */
export interface HfEntry {
  table: HfFamily;
  family: Family<HfConfig>;
}

/** All values of `model_type` that are known. */
export const MODEL_TYPES: readonly string[] = [...BY_TYPE.keys()];

/** The family of models whose config.json says `type`; undefined if it is not known. */
export function hfEntry(type: string): HfEntry | undefined {
  const table = BY_TYPE.get(type);
  return table && { table, family: familyOf(table, type) };
}
