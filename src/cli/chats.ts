/** `palm chats export`: what people said about answers on the chat page, as files that training reads. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import * as z from 'zod';
import { path } from '../config/fields.ts';
import { FileError } from '../errors.ts';
import { writeAtomically } from '../files/atomic-write.ts';
import { checkVacant } from '../files/file-error.ts';
import { EXPORT_FORMS, type Exported, exportChats } from '../serve/chats/exports.ts';
import { CHATS_FILE, ChatStore } from '../serve/chats/store.ts';
import { configuredCommand } from './options.ts';

const schema = z.strictObject({
  folder: path.describe('folder of the chats, as given to palm serve --chats'),
  form: z.enum(EXPORT_FORMS).describe('what to write: preferences from picks, or labels from votes'),
  out: path.describe('file to write, as JSONL; FILE.manifest.json says what was left out'),
  model: z.string().min(1).optional().describe('only answers of this model'),
});
type Config = z.output<typeof schema>;

/** The `chats` command with its subcommand. */
export function chatsCommand(): Command {
  const exporting = configuredCommand('export', schema, exportFile, 'folder');
  return new Command('chats')
    .description('use what people said about answers on the chat page of palm serve')
    .addCommand(exporting.description('write picks or votes as data for reward, dpo or kto'));
}

async function exportFile({ folder, form, out, model }: Config): Promise<void> {
  const manifest = `${out}.manifest.json`;
  checkVacant(out);
  checkVacant(manifest);
  if (!existsSync(join(folder, CHATS_FILE))) {
    const expected = `a folder with ${CHATS_FILE}, which palm serve --chats makes`;
    const fix = 'Check the path.';
    throw new FileError({ argument: folder, received: 'no chats', expected, fix });
  }
  const store = await ChatStore.open(folder);
  try {
    const exported = exportChats(store, form, model);
    if (exported.lines.length === 0) throw nothing(folder, form, exported);
    await writeAtomically(out, (aside) => writeFile(aside, exported.lines));
    const text = `${JSON.stringify(manifestOf(form, model, exported), null, 2)}\n`;
    await writeAtomically(manifest, (aside) => writeFile(aside, text));
    console.error(`${out}: ${exported.lines.length} rows of ${form}`);
    for (const [reason, count] of exported.leftOut) console.error(`left out ${count}: ${reason}`);
  } finally {
    await store.close();
  }
}

function manifestOf(form: string, model: string | undefined, { lines, leftOut, cut }: Exported) {
  const sha256 = createHash('sha256').update(lines.join('')).digest('hex');
  return { form, model: model ?? null, rows: lines.length, cut, sha256, left_out: Object.fromEntries(leftOut) };
}

function nothing(folder: string, form: string, { leftOut }: Exported): FileError {
  const reasons = [...leftOut].map(([reason, count]) => `${count} left out because ${reason}`);
  return new FileError({
    argument: folder,
    received: reasons.length === 0 ? `no ${form === 'labels' ? 'votes' : 'picks'}` : reasons.join('; '),
    expected: `judgements that can be exported as ${form}`,
    fix: `${form === 'labels' ? 'Vote for answers' : 'Pick answers'} on the chat page, or choose another --form.`,
  });
}
