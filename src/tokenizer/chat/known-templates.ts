/**
 * Templates in use that neither have tags nor grow with the conversation, and where the assistant writes in them. A template
 * is recognised by its whole text, and rendered as it is: only marks are added.
 */
import { createHash } from 'node:crypto';

interface KnownTemplate {
  /** SHA-256 of the text without white space at its ends. */
  sha256: string;
  /** What is replaced, everywhere in the text, to add the tags. */
  edits: readonly (readonly [from: string, to: string])[];
}

const TAG = '{% generation %}';
const END_TAG = '{% endgeneration %}';

const KNOWN: Readonly<Record<string, KnownTemplate>> = {
  /** Qwen3: it drops the thoughts of earlier answers once the user asks again. */
  qwen3: {
    sha256: 'a55ee1b1660128b7098723e0abcd92caa0788061051c62d51cbe87d9cf1974d8',
    edits: [
      [String.raw`message.role + '\n<think>`, String.raw`message.role + '\n' }}${TAG}{{- '<think>`],
      [
        String.raw`{{- '<|im_start|>' + message.role + '\n' + content }}`,
        String.raw`{{- '<|im_start|>' + message.role + '\n' }}${TAG}{{- content }}`,
      ],
      [
        `{{- '<|im_end|>\\n' }}\n    {%- elif message.role == "tool" %}`,
        `{{- '<|im_end|>' }}${END_TAG}{{- '\\n' }}\n    {%- elif message.role == "tool" %}`,
      ],
    ],
  },
};

/** The template with tags, if it is known. */
export function withKnownTags(source: string): string | undefined {
  const hash = createHash('sha256').update(source.trim()).digest('hex');
  const known = Object.values(KNOWN).find(({ sha256 }) => sha256 === hash);
  return known?.edits.reduce((text, [from, to]) => text.replaceAll(from, to), source);
}
