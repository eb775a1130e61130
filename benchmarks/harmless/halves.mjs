/**
 * Writes the pairs of some files into DIR for `hh-harmless.mjs`: the prompts of a ninth of them as held-out.jsonl, one half of the
 * others as first.jsonl, the other half as second.jsonl, and both as base.jsonl. No prompt is in two of these parts.
 *
 *   node benchmarks/harmless/halves.mjs --data FILE [--data FILE] --out DIR [--seed 0]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { foldsOf, readPairs } from './pairs.mjs';

const { values } = parseArgs({
  options: {
    data: { type: 'string', multiple: true },
    out: { type: 'string' },
    seed: { type: 'string', default: '0' },
  },
});
const pairs = await readPairs(values.data);
const parts = foldsOf(pairs, 9, Number(values.seed));
const rowsOf = (wanted) => pairs.filter((_, i) => wanted(parts[i]));

function write(name, rows) {
  writeFileSync(join(values.out, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

mkdirSync(values.out, { recursive: true });
const row = ({ prompt, chosen, rejected }) => ({ prompt, chosen, rejected });
write('base.jsonl', rowsOf((part) => part > 0).map(row));
write('first.jsonl', rowsOf((part) => part > 0 && part % 2 === 1).map(row));
write('second.jsonl', rowsOf((part) => part > 0 && part % 2 === 0).map(row));
write(
  'held-out.jsonl',
  rowsOf((part) => part === 0).map(({ prompt }) => ({ prompt })),
);
