#!/usr/bin/env node
/**
 * The `palm` command. Exits with 0 on success and with a code of EXIT_CODES otherwise. libtorch is loaded when a
 * command first computes, so that help is instant and works without it.
 */
import { CommanderError } from 'commander';
import { CheckpointError, ConfigError, LibtorchError, LockedError, NumericsError, PalmError } from '../errors.ts';
import { threadTime } from '../native/addon.ts';
import { measureWork } from '../tokenizer/deadline.ts';
import { program } from './program.ts';
import { commandLine } from './shell.ts';
import { Stopped } from './signals.ts';

measureWork(threadTime);

/** Other errors exit with 1, signals with 128 plus their number; docs/cli.md has the list. */
const EXIT_CODES: readonly [new (...values: never[]) => Error, number][] = [
  [ConfigError, 2],
  [NumericsError, 3],
  [CheckpointError, 4],
  [LockedError, 5],
  [LibtorchError, 6],
];

/** Prints the error and returns the exit code. Commander has already printed its own errors. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof Stopped) {
    console.error(`${error.message}. Resume with: ${resumeCommand()}`);
    return error.exitCode;
  }
  console.error(`error: ${readable(error)}`);
  if (process.env.PALM_DEBUG) console.error(error);
  return EXIT_CODES.find(([kind]) => error instanceof kind)?.[1] ?? 1;
}

/** This command with --resume added. */
function resumeCommand(): string {
  const words = process.argv.slice(2);
  return commandLine(words.includes('--resume') ? words : [...words, '--resume']);
}

/** The error message, with the fix on a line of its own. */
function readable(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message } = error;
  const fix = error instanceof PalmError ? error.fix : undefined;
  return fix && message.endsWith(` ${fix}`) ? `${message.slice(0, -fix.length - 1)}\n${fix}` : message;
}

// A reader that closes the pipe early, such as `head`, is not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

try {
  await (await program(process.argv.slice(2))).parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
