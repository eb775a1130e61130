/** Lines of samples.jsonl: which answers there are, with their numbers. Their texts and tokens stay in the file until they are shown. */
import { open } from 'node:fs/promises';
import type { Sample } from '../metrics/metrics.ts';
import type { Lines } from './follow.ts';
import { objectOf } from './metric-lines.ts';

/** An answer in the file. */
export interface KnownSample {
  step: number;
  /** The number of its prompt, in the order in which prompts appeared. */
  prompt: number;
  score: number | undefined;
  kl: number | undefined;
  /** Whether it tells of its tokens. */
  hasTokens: boolean;
  /** Its line in the file. */
  offset: number;
  length: number;
}

/** Follows what is before it in a line and never appears inside a text, where quotes are escaped. */
const TOKENS = Buffer.from(',"tokens":[');

/** The answers in a file of samples. */
export class SampleLines implements Lines {
  #samples: KnownSample[] = [];
  #prompts = new Map<string, number>();
  #damaged = 0;

  /** All answers, in the order of the file. */
  get all(): readonly KnownSample[] {
    return this.#samples;
  }

  /** The prompts by their numbers; a prompt of tokens is their list as JSON. */
  get prompts(): readonly string[] {
    return [...this.#prompts.keys()];
  }

  /** The number of lines that are no samples. */
  get damaged(): number {
    return this.#damaged;
  }

  reset(): void {
    this.#samples = [];
    this.#prompts = new Map();
    this.#damaged = 0;
  }

  add(bytes: Buffer, offset: number): void {
    for (let begin = 0; begin < bytes.length; ) {
      const end = bytes.indexOf(10, begin);
      this.#take(bytes.subarray(begin, end), offset + begin);
      begin = end + 1;
    }
  }

  #take(line: Buffer, offset: number): void {
    const cut = line.indexOf(TOKENS);
    const row = objectOf(cut < 0 ? line.toString() : `${line.toString('utf8', 0, cut)}}`);
    const { step, prompt } = row ?? {};
    if (row === undefined || typeof step !== 'number' || !Number.isSafeInteger(step) || prompt === undefined) {
      this.#damaged++;
      return;
    }
    const { score, kl } = row;
    this.#samples.push({
      step,
      prompt: this.#numberOf(textOf(prompt)),
      score: typeof score === 'number' ? score : undefined,
      kl: typeof kl === 'number' ? kl : undefined,
      hasTokens: cut >= 0,
      offset,
      length: line.length,
    });
  }

  #numberOf(prompt: string): number {
    const known = this.#prompts.get(prompt) ?? this.#prompts.size;
    this.#prompts.set(prompt, known);
    return known;
  }
}

/** A prompt or response as text. */
export function textOf(text: unknown): string {
  return typeof text === 'string' ? text : JSON.stringify(text);
}

/** The whole of a sample in the file at `path`; undefined if the file has changed there, or is gone. */
export async function readSample(path: string, known: KnownSample): Promise<Sample | undefined> {
  const { step, offset, length } = known;
  const bytes = Buffer.alloc(length);
  try {
    const file = await open(path);
    await file.read(bytes, 0, length, offset).finally(() => file.close());
  } catch {
    return undefined;
  }
  const row = objectOf(bytes.toString());
  return row?.step === step ? (row as object as Sample) : undefined;
}
