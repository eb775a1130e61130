// Written by `npm run options` from src/config/sampling.ts; change the schema there, not this file.

/** The options of generation, apart from prompts. */
export interface SamplingConfigInput {
  /**
   * Max tokens per response.
   * An integer >= 1.
   */
  maxNewTokens: number;
  /**
   * Divides the logits; below 1e-6, the most likely token is always chosen.
   * A finite number >= 0.
   * @default 1
   */
  temperature?: number | undefined;
  /**
   * Keep the k most likely tokens.
   * An integer >= 1.
   */
  topK?: number | undefined;
  /**
   * Keep the most likely tokens that together reach probability p.
   * A finite number > 0 and <= 1.
   */
  topP?: number | undefined;
  /**
   * Keep tokens with at least p times the highest probability.
   * A finite number >= 0 and < 1.
   */
  minP?: number | undefined;
  /**
   * Token that ends a response, or several (default: none).
   * An integer >= 0 or a list, each an integer >= 0.
   */
  eosToken?: number | number[] | undefined;
  /**
   * Token sequences that each end a response.
   */
  stop?: number[][] | undefined;
  /**
   * Tokens that are never sampled.
   */
  suppress?: number[] | undefined;
  /**
   * Token that fills rows after a response (default: the first eosToken, else 0).
   * An integer >= 0.
   */
  padToken?: number | undefined;
  /**
   * Responses per prompt.
   * An integer >= 1.
   * @default 1
   */
  samplesPerPrompt?: number | undefined;
  /**
   * On the CPU, decode with weights rounded to 8 bits (default: no rounding).
   */
  weights?: 'int8' | undefined;
  /**
   * Seed of sampling (default: a new one each time).
   * An integer >= 0.
   */
  seed?: number | undefined;
}
