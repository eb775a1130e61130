/** The README and the pages of docs/ tell the truth where a program can check it: links, names, and the program they show. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { Command } from 'commander';
import { program } from '../src/cli/program.ts';
import { ppoConfig } from '../src/config/ppo.ts';

const root = join(import.meta.dirname, '..');
const docs = (readdirSync(join(root, 'docs'), { recursive: true }) as string[])
  .filter((name) => name.endsWith('.md'))
  .map((name) => `docs/${name}`);
const pages = ['README.md', 'CHANGELOG.md', 'benchmarks/README.md', 'test/parity/README.md', ...docs];
const textOf = (page: string) => readFileSync(join(root, page), 'utf8');

/** The commands in the code blocks of a page, each as its words; lines that end with a backslash are joined. */
function commandsIn(page: string): string[][] {
  const text = textOf(page);
  const blocks = [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)].filter(([, language]) =>
    /^(sh)?$/.test(language ?? ''),
  );
  const indented = [...text.matchAll(/^ {4}(palm .*)$/gm)].map(([, line]) => line as string);
  const lines = blocks.flatMap(([, , block = '']) => block.replaceAll(/\\\n/g, ' ').split('\n'));
  const found = [...lines, ...indented].flatMap((line) => {
    return /(?:^|&& )(?:npx palm-rlhf|palm) ([^#>|]*)/.exec(line)?.[1] ?? [];
  });
  return found.map((words) => words.trim().split(/\s+/));
}

/** The command that some words name, with its subcommand if it has any. */
function commandOf(words: readonly string[], within: Command): Command | undefined {
  const found = within.commands.find((command) => command.name() === words[0]);
  if (found === undefined || found.commands.length === 0) return found;
  return commandOf(words.slice(1), found);
}

/** The fields of an interface that `source` declares, without those it inherits. */
function fieldsOf(source: string, name: string): string[] {
  const body = new RegExp(`interface ${name}\\b[^{]*\\{([\\s\\S]*?)\\n\\}`).exec(source)?.[1] ?? '';
  return [...body.matchAll(/^ {2}(\w+):/gm)].map(([, field]) => field as string);
}

describe('README and docs', () => {
  it.each(pages)('%s links to files that exist', (page) => {
    const targets = [...textOf(page).matchAll(/\]\(([^)#\s]+)\)/g)].map(([, target]) => target as string);
    const broken = targets
      .filter((target) => !target.startsWith('https://'))
      .filter((target) => !existsSync(join(root, dirname(page), target)));
    expect(broken).toEqual([]);
  });

  it('link to every page from the README', () => {
    const readme = textOf('README.md');
    expect(docs.filter((page) => !readme.includes(`(${page})`))).toEqual([]);
  });

  it.each(pages)('%s names commands and options that exist', async (page) => {
    const wrong = async (words: string[]) => {
      const command = commandOf(words, await program(words));
      if (command === undefined) return [words.join(' ')];
      const known = command.options.map(({ long }) => long);
      const options = words.flatMap((word) => /^--[\w.-]+/.exec(word) ?? []);
      return options.filter((option) => command.name() !== 'train' && !known.includes(option) && option !== '--help');
    };
    expect((await Promise.all(commandsIn(page).map(wrong))).flat()).toEqual([]);
  });

  it('find commands to check', () => {
    expect(commandsIn('README.md').length).toBeGreaterThan(7);
    expect(commandsIn('docs/guides/text.md')).toContainEqual(['pretrain', '--data', 'text.txt', '--out', 'runs/base']);
  });

  it('have a README program that runs and prints what the README says', async () => {
    const [, program] = /```ts\n([\s\S]*?)```/.exec(textOf('README.md')) as unknown as [string, string];
    // Inside the project, whose name the program imports; build/ is not under version control.
    const folder = mkdtempSync(join(root, 'build', 'readme-'));
    const file = join(folder, 'file.mts');
    writeFileSync(file, program);
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', file], {
      timeout: 110_000,
    }).finally(() => rmSync(folder, { recursive: true }));
    expect(textOf('README.md')).toContain(`It prints \`${stdout}\``);
    expect(stdout).toBe(' or not to be, that is the question.');
  });

  it('describe every PPO metric and setting in docs/ppo.md', () => {
    const page = textOf('docs/ppo.md');
    const source = ['trainers/ppo', 'trainers/on-policy', 'losses/policy']
      .map((stem) => textOf(`src/${stem}.ts`))
      .join('\n');
    const metrics = ['PpoStep', 'OnPolicyStep', 'PpoMetrics'].flatMap((name) => fieldsOf(source, name));
    expect(metrics).toEqual(expect.arrayContaining(['explainedVariance', 'score', 'clipFraction']));
    const told = metrics.filter((name) => !['step', 'timing', 'samples', 'maxLogRatio'].includes(name));
    expect(told.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
    const steering = ['klWeight', 'score', 'critic', 'epochs', 'accumulate', 'approxKlStop', 'maxGradNorm', 'lr'];
    expect(steering.filter((name) => !(name in ppoConfig.shape) || !page.includes(name))).toEqual([]);
  });
});
