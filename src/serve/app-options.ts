/** What the HTTP interface is made of. */
import type { Catalog } from './catalog.ts';
import type { ServerNumbers } from './numbers.ts';

export interface AppOptions {
  catalog: Catalog;
  numbers: ServerNumbers;
  /** Whether fields that nobody knows are ignored, and not refused. */
  ignoreUnknownFields: boolean;
  /** A new id, and a seed for a request without one. */
  newId(): string;
  newSeed(): number;
  /** Told of errors that clients do not understand. */
  onError(error: unknown): void;
}
