/** The walk of the README: a newcomer copies every command, and each of them does what is said. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { device } from './device.ts';

const root = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'palm-walk-'));
afterAll(() => rmSync(folder, { recursive: true }));

const [, block = ''] =
  /## A walk through[\s\S]*?```sh\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? [];
const commands = block.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

/** Runs a line of the README in a project that has the package installed; the program is that of src/. */
function run(line: string): string {
  const program = `${process.execPath} --import ${join(root, 'node_modules/tsx/dist/loader.mjs')} ${join(root, 'src/cli/main.ts')}`;
  const computing = /^npx palm-rlhf (pretrain|sft|reward|ppo|generate|evaluate)\b/.test(line)
    ? ` --device ${device}`
    : '';
  const typed = `${line.replace('npx palm-rlhf', program)}${computing}`;
  const { stdout, stderr, status } = spawnSync('bash', ['-c', typed], { cwd: folder, encoding: 'utf8' });
  expect(status, `${line}\n${stderr}`).toBe(0);
  return stdout;
}

it('goes from a text to a policy and a report', { timeout: 300_000 }, () => {
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/palm-rlhf'));
  expect(commands).toHaveLength(9);
  const began = performance.now();
  const [, , , inspected, judge, policy, answer, evaluated] = commands.map((line) => {
    const start = performance.now();
    const printed = run(line);
    console.log(`${((performance.now() - start) / 1000).toFixed(1).padStart(6)} s  ${line.slice(0, 60)}`);
    return printed;
  });
  console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  in all`);

  expect(inspected).toContain('preference');
  expect(Number(/validationAccuracy +([\d.]+)/.exec(judge as string)?.[1])).toBeGreaterThan(0.9);
  expect(policy).toContain('palm report runs/ppo');
  expect(answer).toMatch(/^The old cat.*\.$/m);
  const [ours = 0, base = 0] = [...(evaluated as string).matchAll(/^score +([\d.]+)/gm)].map(([, mean]) =>
    Number(mean),
  );
  expect(base).toBeLessThan(0.4);
  expect(ours).toBeGreaterThan(base + 0.2);
  const report = readFileSync(join(folder, 'report.html'), 'utf8');
  for (const name of ['A: ppo', 'B: judge', 'C: sft', 'D: base', '<svg'])
    expect(report.includes(name), name).toBe(true);
});
