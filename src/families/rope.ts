/**
 * Rotary positions as config.json describes them, in both spellings: `rope_parameters`, or `rope_theta` beside `rope_scaling`.
 * Frequencies are float32 and rounded at every step, like those of transformers: far along a text, one rounding shows.
 */
import * as z from 'zod';
import { ConfigError, printable } from '../errors.ts';
import type { RopeDescription } from '../native/addon.ts';
import { positive, type RopeParameters, ropeParameters } from './rope-parameters.ts';
import { inverseFrequencies, type Scaling, SCALINGS } from './rope-scaling.ts';

/** The keys of config.json that describe rotary positions; `ropeOf` reads them. */
export const ROPE_KEYS = {
  max_position_embeddings: z
    .int()
    .min(1)
    .max(2 ** 31)
    .default(2048),
  original_max_position_embeddings: positive.nullish(),
  rope_theta: positive.nullish(),
  rope_scaling: ropeParameters.nullish(),
  rope_parameters: ropeParameters.nullish(),
  partial_rotary_factor: z.number().gt(0).max(1).nullish(),
};
/** The same where layers with a window and layers without have rotary positions of their own. */
export const ROPE_KEYS_BY_KIND = {
  ...ROPE_KEYS,
  rope_parameters: z
    .strictObject({ full_attention: ropeParameters.nullish(), sliding_attention: ropeParameters.nullish() })
    .nullish(),
};
type RopeKeys = { [Key in keyof typeof ROPE_KEYS]?: z.output<(typeof ROPE_KEYS)[Key]> };

/** What the configuration leaves open: the head's width, the defaults of the family, the longest sequence to be read. */
export interface RopeContext {
  dimHead: number;
  theta: number;
  partial?: number;
  /** Tokens of the longest sequence; some models turn otherwise beyond their original length. */
  longest: number | undefined;
}

/** The rotary positions of a configuration. @throws ConfigError for a kind that is not known, or one that lacks a number. */
export function ropeOf(config: RopeKeys, context: RopeContext): RopeDescription {
  return describeRope({ ...(config.rope_scaling ?? config.rope_parameters) }, config, context);
}

/** Wider heads are in no model. */
const WIDEST = 2 ** 14;

/** The same for `given` parameters of one kind of layer. */
export function describeRope(given: RopeParameters, config: RopeKeys, context: RopeContext): RopeDescription {
  const part = given.partial_rotary_factor ?? config.partial_rotary_factor ?? context.partial ?? 1;
  const width = Math.floor(context.dimHead * part);
  if (width < 2 || width % 2 !== 0 || width > WIDEST) {
    throw new ConfigError({
      argument: 'config.json',
      problem: `this model turns ${width} of the ${context.dimHead} dimensions of a head, where palm-rlhf turns pairs, at most ${WIDEST / 2}`,
    });
  }
  const scaling: Scaling = {
    given,
    kind: kindOf(given),
    width,
    theta: given.rope_theta ?? config.rope_theta ?? context.theta,
    max: config.max_position_embeddings ?? 2048,
    original: config.original_max_position_embeddings ?? given.original_max_position_embeddings ?? undefined,
    longest: context.longest,
  };
  return { ...inverseFrequencies(scaling), wide: false, xposScaleBase: undefined };
}

function kindOf(given: RopeParameters): Scaling['kind'] {
  const kind = given.rope_type ?? given.type ?? 'default';
  if (Object.hasOwn(SCALINGS, kind)) return kind as Scaling['kind'];
  throw new ConfigError({
    argument: 'config.json',
    problem: `this model says \`rope_type\` ${printable(kind)}, which palm-rlhf does not know`,
    expected: `one of ${Object.keys(SCALINGS).join(', ')}`,
  });
}
