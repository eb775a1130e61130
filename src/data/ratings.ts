/** A response that was rated, as tokens. */
export interface RatedResponse {
  prompt: number[];
  response: number[];
  rating: number;
}
