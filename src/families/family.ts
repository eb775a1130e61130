/** A family of models, as data: from a configuration to the decoder that native code computes, and to what files say of it. */
import type { DecoderDescription } from '../native/addon.ts';

/** What the configuration of every model has, of whatever family. */
export interface ModelConfig {
  /** Of the weights, and of whatever else gets no seed of its own. */
  seed: number;
}

/** The parts of a layer's matrices that attention computes with. */
export const ATTENTION_SITES: readonly string[] = ['query', 'key', 'value', 'output'];

export interface Family<Config extends ModelConfig = ModelConfig> {
  /** What errors and files call a model of it. */
  readonly kind: string;
  /** The key in the metadata of files under which the configuration and the scopes of such a model stand. */
  readonly key: string;
  /** The sites of every layer that a scope puts adapters on. */
  readonly targets: readonly string[];
  /** Checks a configuration and fills in the defaults. @throws ConfigError */
  resolve(config: unknown): Config;
  /** The decoder that a model with this configuration is. */
  describe(config: Config): DecoderDescription;
}
