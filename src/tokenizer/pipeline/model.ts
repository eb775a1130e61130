/** What makes tokens of a piece of text. */
export interface Model {
  readonly vocabulary: ReadonlyMap<string, number>;
  /** @throws Error for a text that cannot be written in the vocabulary. */
  encode(text: string): readonly number[];
}
