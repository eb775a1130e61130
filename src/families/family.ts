/** A family of models, as data: maps a configuration to the decoder that native code runs, and to the metadata of files. */
import type { DecoderDescription } from '../native/addon.ts';
import type { Adaptable } from './adaptable.ts';
import type { Place } from './place.ts';

/** Fields in the configuration of every model, whatever its family. */
export interface ModelConfig {
  /** Seed of the weights, and of everything without a seed of its own. */
  seed: number;
}

/** The parts of a layer's weight matrices that belong to attention. */
export const ATTENTION_SITES: readonly string[] = ['query', 'key', 'value', 'output'];

/** Every part of a layer's weight matrices, by the names that native code gives them. */
export const SITES: Readonly<Record<string, string>> = Object.fromEntries(
  [...ATTENTION_SITES, 'up', 'gate', 'down'].map((site) => [site, site]),
);

export interface Family<Config extends ModelConfig = ModelConfig> {
  /** What errors and files call a model of this family. */
  readonly kind: string;
  /** The key in file metadata under which the configuration and scopes of such a model are stored. */
  readonly key: string;
  /** The modules of a layer that a scope adapts by default. */
  readonly targets: readonly string[];
  /** Every module that a scope can adapt, by the family's own name for it, and its site in native code. */
  readonly modules: Readonly<Record<string, string>>;
  /** Checks a configuration and fills in the defaults. @throws ConfigError */
  resolve(config: unknown): Config;
  /** The decoder of a model with this configuration. */
  describe(config: Config): DecoderDescription;
  /** Where the tensors of a Hugging Face folder lie in such a model; undefined for a family without such folders. */
  places?(config: Config): readonly Place[];
  /** The matrices of such a model that adapters of PEFT can be put on; undefined for a family without such folders. */
  adaptables?(config: Config): readonly Adaptable[];
}
