/** A family of models, as data: maps a configuration to the decoder that native code runs, and to the metadata of files. */
import type { DecoderDescription } from '../native/addon.ts';

/** Fields in the configuration of every model, whatever its family. */
export interface ModelConfig {
  /** Seed of the weights, and of everything without a seed of its own. */
  seed: number;
}

/** The parts of a layer's weight matrices that belong to attention. */
export const ATTENTION_SITES: readonly string[] = ['query', 'key', 'value', 'output'];

export interface Family<Config extends ModelConfig = ModelConfig> {
  /** What errors and files call a model of this family. */
  readonly kind: string;
  /** The key in file metadata under which the configuration and scopes of such a model are stored. */
  readonly key: string;
  /** The sites in every layer where a scope puts adapters. */
  readonly targets: readonly string[];
  /** Checks a configuration and fills in the defaults. @throws ConfigError */
  resolve(config: unknown): Config;
  /** The decoder of a model with this configuration. */
  describe(config: Config): DecoderDescription;
}
