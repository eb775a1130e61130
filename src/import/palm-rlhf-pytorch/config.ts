/**
 * The configuration of the model in a .pt file: sizes from the shapes, settings that no file records from the caller,
 * and the rest from the layout.
 */
import * as z from 'zod';
import { type PalmConfig, palmConfig, resolvePalmConfig } from '../../config/palm.ts';
import { storedDtype } from './convert.ts';
import type { PythonLayout } from './layouts.ts';
import type { StateDict } from './state-dict.ts';

const { causal, qkScale } = palmConfig.shape;

/** Hyperparameters that no file records. */
export const untoldConfig = z.strictObject({
  causal: causal.describe('restrict attention to earlier tokens'),
  qkScale,
  rotaryXposScaleBase: z.number().gt(0).optional().describe('positions over which xpos decays (default: 512)'),
  ignoreIndex: z.int().default(0).describe('target token that the loss ignores'),
});

/** An xpos base that disables decay: plain rotary positions, as in old versions. */
const NO_DECAY = 1e30;
const DTYPES = { F32: 'float32', F64: 'float64', BF16: 'bfloat16' } as const;

/** Metadata for the converted file: the kind of model and its description. @throws ConfigError */
export function describeImported(
  state: StateDict,
  layout: PythonLayout,
  given: z.output<typeof untoldConfig>,
): { kind: string; description: object } {
  const scopes = Object.fromEntries(state.model.scopes);
  const described = { names: 'python', palm: { config: configOf(state, layout, given), scopes } };
  if (state.kind !== 'RewardModel') return { kind: 'PaLM', description: described };
  return { kind: state.kind, description: { ...described, numBins: state.numBins, pooling: 'all', dropout: 0 } };
}

function configOf(state: StateDict, layout: PythonLayout, given: z.output<typeof untoldConfig>): PalmConfig {
  const { scopes: _, ...sizes } = state.model;
  const embedding = state.entry(`${state.prefix}token_emb.weight`);
  return resolvePalmConfig({
    ...sizes,
    dtype: DTYPES[storedDtype(embedding)],
    ...given,
    rotaryXposScaleBase: given.rotaryXposScaleBase ?? (layout.xpos ? undefined : NO_DECAY),
    qkScale: given.qkScale ?? (sizes.qkRmsnorm ? layout.qkScale : undefined),
  });
}
