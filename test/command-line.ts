/** Commands in this process, and what they print. */
import type { Command } from 'commander';
import { afterEach, beforeEach, vi } from 'vitest';

/** What was printed since the test began. */
export const printed = { stdout: '', stderr: '' };

/** Keeps what the tests of a file print. */
export function capturePrinted(): void {
  beforeEach(() => {
    Object.assign(printed, { stdout: '', stderr: '' });
    const keep = (stream: keyof typeof printed) => (text: unknown) => {
      printed[stream] += text;
      return true;
    };
    vi.spyOn(process.stdout, 'write').mockImplementation(keep('stdout'));
    vi.spyOn(process.stderr, 'write').mockImplementation(keep('stderr'));
    vi.spyOn(console, 'log').mockImplementation((text) => void keep('stdout')(`${text}\n`));
    vi.spyOn(console, 'error').mockImplementation((text) => void keep('stderr')(`${text}\n`));
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });
}

/** Runs a command with these arguments; it rejects where the program would end with an error. */
export async function palm(command: Command, ...args: string[]): Promise<void> {
  await command
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .parseAsync(args, { from: 'user' });
}
