/** What the process that renders templates is asked, and what it answers. */

/** A template and what it is rendered with. */
export interface Rendering {
  source: string;
  /** The variables of the template, as the JSON of an object. */
  variables: string;
  /** What `strftime_now` formats, in milliseconds since 1970. */
  now: number;
}

/**
 * Why there is no text: `syntax` no template, `raised` the template refuses the conversation, `failed` it cannot compute
 * something, `time`, `memory` and `length` it takes more than it may.
 */
export type FaultKind = 'syntax' | 'raised' | 'failed' | 'time' | 'memory' | 'length';

export interface Fault {
  kind: FaultKind;
  message: string;
}

export type Rendered = { text: string } | { fault: Fault };
export type Request = Rendering & { id: number };
export type Answer = Rendered & { id: number };

/** What a rendering may take. */
export const LIMITS = {
  /** Processor time in milliseconds. */
  time: 1000,
  /** Heap of the process in MiB. */
  memory: 256,
  /** Characters of the text. */
  length: 4 * 1024 * 1024,
};
