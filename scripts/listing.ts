/**
 * Writes src/cli/listing.ts: what the help of `palm` shows of each command, so that it need not load them. `npm run options`
 * runs it; a test says when it has to.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Help } from 'commander';
import { COMMANDS } from '../src/cli/commands.ts';
import { formatted } from './options.ts';

const HEAD = `// Written by \`npm run options\` from the commands; change them, not this file.
import type { Heading } from './commands.ts';

/** What the help of \`palm\` shows of each command, by its name. */
export const LISTING: Readonly<Record<string, { group: Heading; term: string; summary: string }>> = `;

/** The text of src/cli/listing.ts as it should be. */
export async function listing(): Promise<string> {
  const rows = Object.entries(COMMANDS).flatMap(([group, makers]) =>
    Object.values(makers).map(async (make) => {
      const command = await make();
      return [command.name(), { group, term: new Help().subcommandTerm(command), summary: command.description() }];
    }),
  );
  return formatted(`${HEAD}${JSON.stringify(Object.fromEntries(await Promise.all(rows)))};\n`);
}

if (process.argv[1] === import.meta.filename)
  writeFileSync(join(import.meta.dirname, '../src/cli/listing.ts'), await listing());
