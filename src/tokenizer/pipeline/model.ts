/** Encodes a piece of text as tokens. */
export interface Model {
  readonly vocabulary: ReadonlyMap<string, number>;
  /** @throws Error if the vocabulary cannot represent the text. */
  encode(text: string): readonly number[];
}
