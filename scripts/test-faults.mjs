/**
 * `npm run test:faults`: runs all fault tests at full count (about an hour) and writes the table of docs/reliability.md
 * from the outcomes they record. With names of test files it runs only those and keeps the other rows.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PAGE = 'docs/reliability.md';
const HEAD = '| promise | fault injected | how often | outcome |\n| --- | --- | --- | --- |\n';
const MARKS = ['<!-- faults -->\n', '<!-- /faults -->'];

const folder = mkdtempSync(join(tmpdir(), 'palm-faults-'));
const report = join(folder, 'rows.jsonl');
const files = process.argv.slice(2);
const args = ['node_modules/vitest/vitest.mjs', 'run', ...(files.length > 0 ? files : ['test/faults'])];
const env = { ...process.env, PALM_FAULTS: 'all', PALM_FAULTS_REPORT: report };
const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', env });

const rows = existsSync(report) ? readFileSync(report, 'utf8').trimEnd().split('\n').map(JSON.parse) : [];
rmSync(folder, { recursive: true });
if (rows.length > 0) {
  const page = readFileSync(PAGE, 'utf8');
  const [begin, end] = MARKS.map((mark) => page.indexOf(mark));
  const old = page.slice(begin + MARKS[0].length, end);
  const lines = rows.map(({ promise, fault, times, outcome }) => {
    return `| ${promise[0].toUpperCase()}${promise.slice(1)} | ${fault} | ${times} | ${outcome} |`;
  });
  const made = new Set(lines.map(key));
  const kept =
    files.length > 0 ? old.split('\n').filter((line) => /^\| (?!promise|---)/.test(line) && !made.has(key(line))) : [];
  const table = `${MARKS[0]}\n${HEAD}${[...kept, ...lines].join('\n')}\n\n`;
  writeFileSync(PAGE, page.slice(0, begin) + table + page.slice(end));
}
process.exitCode = status ?? 1;

/** The key of a table row: promise and injected fault. */
function key(line) {
  return line
    .split('|')
    .slice(1, 3)
    .map((cell) => cell.trim())
    .join('|');
}
