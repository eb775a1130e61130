/** `palm report`: one HTML page about a run, or several runs compared. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { fromHome } from '../config/fields.ts';
import { writeAtomically } from '../files/atomic-write.ts';
import { reportPage } from '../report/page.ts';
import { readRun } from '../report/read.ts';

/** The `report` command. */
export function reportCommand(): Command {
  return new Command('report')
    .description('write a page with the curves, samples and settings of runs (offline HTML)')
    .argument('<RUN...>', 'run folders; several are compared')
    .option('--out <file>', 'the HTML file to write (default: report.html in the first run)')
    .action(async (given: string[], { out }: { out?: string }) => {
      const folders = given.map(fromHome);
      const path = out === undefined ? join(folders[0] as string, 'report.html') : fromHome(out);
      const page = reportPage(folders.map(readRun));
      await writeAtomically(path, (aside) => writeFile(aside, page));
      console.log(path);
    });
}
