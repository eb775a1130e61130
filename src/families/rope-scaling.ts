/** The kinds of rotary positions: their frequencies, as modeling_rope_utils.py of transformers computes them in float32. */
import { ConfigError } from '../errors.ts';
import type { RopeDescription } from '../native/addon.ts';
import type { RopeParameters } from './rope-parameters.ts';

const f32 = Math.fround;

/** What the frequencies follow from. */
export interface Scaling {
  given: RopeParameters;
  kind: keyof typeof SCALINGS;
  /** The dimensions of a head that turn, an even number. */
  width: number;
  theta: number;
  max: number;
  /** Positions that the model was trained on before it was stretched; by default `max`. */
  original: number | undefined;
  longest: number | undefined;
}

type Frequencies = Pick<RopeDescription, 'inverseFrequency' | 'factor' | 'reach'>;

/** Frequencies of each kind. */
export const SCALINGS = {
  default: (scaling: Scaling) => unscaled(plain(scaling)),
  linear: (scaling: Scaling) => unscaled(plain(scaling).map((inverse) => f32(inverse / needed(scaling, 'factor')))),
  /** Up to `max` nothing is scaled; beyond, it would change with every batch. */
  dynamic: (scaling: Scaling) => ({ ...unscaled(plain(scaling)), reach: scaling.max }),
  llama3,
  yarn,
  longrope,
};

/** @throws ConfigError if a number is missing. */
export function inverseFrequencies(scaling: Scaling): Frequencies {
  return SCALINGS[scaling.kind](scaling);
}

function unscaled(inverseFrequency: number[]): Frequencies {
  return { inverseFrequency, factor: 1, reach: undefined };
}

/** theta^(2i / width) for i < width / 2. */
function powers({ theta, width }: Scaling): number[] {
  return Array.from({ length: width / 2 }, (_, i) => f32(f32(theta) ** f32((2 * i) / width)));
}

function plain(scaling: Scaling): number[] {
  return powers(scaling).map((power) => f32(1 / power));
}

/** Long waves are stretched by `factor`, short ones kept, those between interpolated. */
function llama3(scaling: Scaling): Frequencies {
  const { original = scaling.max } = scaling;
  const factor = needed(scaling, 'factor');
  const low = needed(scaling, 'low_freq_factor');
  const high = needed(scaling, 'high_freq_factor');
  const scaled = plain(scaling).map((inverse) => {
    const wave = f32((2 * Math.PI) / inverse);
    if (wave > original / low) return f32(inverse / factor);
    if (wave < original / high) return inverse;
    const smooth = f32(f32(f32(original / wave) - low) / (high - low));
    return f32(f32(f32(f32(1 - smooth) * inverse) / factor) + f32(smooth * inverse));
  });
  return unscaled(scaled);
}

/** Interpolates between stretched and unchanged frequencies along a ramp over the dimensions (Peng et al. 2023). */
function yarn(scaling: Scaling): Frequencies {
  const { given, width, theta, original = scaling.max, max } = scaling;
  const factor = given.factor ?? max / original;
  const dimension = (turns: number) => (width * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [low, high] = [dimension(given.beta_fast || 32), dimension(given.beta_slow || 1)];
  const rounded = given.truncate === false ? [low, high] : [Math.floor(low), Math.ceil(high)];
  const [from, to] = [Math.max(rounded[0] as number, 0), Math.min(rounded[1] as number, width - 1)];
  const span = to === from ? 0.001 : to - from;
  const inverseFrequency = powers(scaling).map((power, i) => {
    const ramp = Math.min(Math.max(f32(f32(i - from) / span), 0), 1);
    const kept = f32(1 - ramp);
    return f32(f32(f32(1 / f32(factor * power)) * f32(1 - kept)) + f32(f32(1 / power) * kept));
  });
  return { inverseFrequency, factor: given.attention_factor ?? yarnFactor(given, factor), reach: undefined };
}

function yarnFactor({ mscale, mscale_all_dim: all }: RopeParameters, factor: number): number {
  const grown = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  return mscale && all ? grown(mscale) / grown(all) : grown(1);
}

/** A factor for every frequency: one list up to the original length, another for longer sequences (Ding et al. 2024). */
function longrope(scaling: Scaling): Frequencies {
  const { given, max, original = max, longest = 0, width } = scaling;
  const long = longest > original;
  const name = long ? 'long_factor' : 'short_factor';
  const list = needed(scaling, name);
  if (list.length !== width / 2) {
    const problem = `this model says \`${name}\` with ${list.length} numbers, where it needs ${width / 2}`;
    throw new ConfigError({ argument: 'config.json', problem });
  }
  const inverseFrequency = powers(scaling).map((power, i) => f32(1 / f32(f32(list[i] as number) * power)));
  const stretch = given.factor ?? max / original;
  const factor = stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(original));
  return { inverseFrequency, factor: given.attention_factor ?? factor, reach: long ? undefined : original };
}

function needed<Key extends keyof RopeParameters>(
  { given, kind }: Scaling,
  key: Key,
): NonNullable<RopeParameters[Key]> {
  const value = given[key];
  if (value !== undefined && value !== null) return value as NonNullable<RopeParameters[Key]>;
  const problem = `this model says \`rope_type\` "${kind}" without \`${key}\``;
  throw new ConfigError({ argument: 'config.json', problem });
}
