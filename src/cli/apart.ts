/** Commands that are loaded without the others, which need the trainers, and without which the others are loaded. */
import type { Command } from 'commander';

export const APART = {
  generate: async () => (await import('./generate.ts')).generateCommand(),
  chat: async () => (await import('./chat.ts')).chatCommand(),
  serve: async () => (await import('./serve.ts')).serveCommand(),
  watch: async () => (await import('./watch.ts')).watchCommand(),
} as const satisfies Readonly<Record<string, () => Promise<Command>>>;
