/** What the process that renders templates is asked, and what it answers. */

/** A template and what it is rendered with, once or several times. */
export interface Rendering {
  source: string;
  /** The variables of the template each time, as the JSON of a list of objects. */
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

export type Rendered = { texts: string[] } | { fault: Fault };
export type Request = Rendering & { id: number };
export type Answer = Rendered & { id: number };

/** What a rendering may take, all its texts together. */
export const LIMITS = {
  /** Processor time in milliseconds. */
  time: 1000,
  /** Heap of the process in MiB. */
  memory: 256,
  /** Characters of the texts. */
  length: 4 * 1024 * 1024,
};
