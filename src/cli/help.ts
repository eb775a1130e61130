/** The help of configurable commands: options in groups, wrapped to the terminal, with examples. */
import { type Command, type Help, Option } from 'commander';
import type { Flag } from '../config/flags.ts';

/** Width of the option column. */
const TERM_WIDTH = 28;

/** Headings of options at the top of a configuration, by their names. */
const HEADINGS: readonly [heading: string, names: RegExp][] = [
  [
    'Data and files:',
    /^(data|validation|form|map|model|reward|out|tokenizer|chatTemplate|stop|rules|revision|offline)$/,
  ],
  [
    'Learning rate and optimizer:',
    /^(lr|minLr|warmupSteps|decay|optimizer|betas|weightDecay|max(GradNorm|SkippedSteps))$/,
  ],
  ['Evaluation:', /^(validation|evaluate)/],
  ['Computing:', /^(seed|device|deterministic|dtype)$/],
];
/** Other options, of commands that train and of those that do not. */
const OTHERS = ['Training:', 'Working:'] as const;
/** The headings in their order; those of nested options come before the last one. */
const ORDER = ['Data and files:', ...OTHERS, 'Learning rate and optimizer:', 'Evaluation:', 'nested', 'Computing:'];
/** The heading of options that are not part of a configuration. */
const RUN = 'Running and watching:';

/** Adds an option for each flag, under its heading; nested ones are under the name of their object. */
export function addFlags(command: Command, flags: readonly Flag[]): void {
  const others = OTHERS[flags.some(({ name }) => name === 'out') ? 0 : 1];
  const place = ({ group, name }: Flag) => ORDER.indexOf(group === undefined ? headingOf(name, others) : 'nested');
  for (const flag of [...flags].sort((a, b) => place(a) - place(b))) {
    const { group, name } = flag;
    const heading = group === undefined ? headingOf(name, others) : `${group.name}: ${group.description}`;
    for (const option of optionsOf(flag)) command.addOption(option.helpGroup(heading));
  }
}

/** Adds options that are not part of a configuration, under a heading of their own. */
export function addRunOptions(command: Command, options: readonly Option[]): void {
  for (const option of options) command.addOption(option.helpGroup(RUN));
}

/** Wraps to the width of the terminal, and ends with examples for the required flags. */
export function configureHelp(command: Command, flags: readonly Flag[]): Command {
  const required = flags.filter((flag) => flag.required);
  if (required.length > 0)
    command.addHelpText('after', ({ command: asked }) => ['\nExamples:', ...examplesOf(asked, required)].join('\n'));
  const help = new Option('-h, --help', 'show this help').helpGroup(RUN);
  return command.addHelpOption(help).configureHelp({ padWidth: () => TERM_WIDTH, formatItem });
}

/** A command with all that it requires; for one that fills a run folder also by a file, and resumed. */
function examplesOf(command: Command, required: readonly Flag[]): string[] {
  const path = [command.name()];
  for (let { parent } = command; parent?.parent; { parent } = parent) path.unshift(parent.name());
  const places = command.registeredArguments.filter((place) => place.required).map((place) => place.name());
  const called = ['palm', ...path, ...places.map((place) => EXAMPLES[place.toLowerCase()] ?? place)].join(' ');
  const fills = command.options.some(({ long }) => long === '--resume');
  const value = ({ name, placeholder }: Flag) =>
    (fills || name !== 'out' ? EXAMPLES[name]?.replace('NAME', command.name()) : undefined) ?? `<${placeholder}>`;
  const given = required.map((flag) => `--${flag.name} ${value(flag)}`);
  const out = given.at(-1);
  const more = fills ? [`  ${called} --config run.yaml ${out}`, `  ${called} ${out} --resume`] : [];
  return [wrapped([called, ...given].join(' ')), ...more];
}

/** Values of required flags in examples; NAME is the command. */
const EXAMPLES: Readonly<Record<string, string>> = {
  data: 'data.jsonl',
  model: 'runs/base',
  reward: 'runs/reward',
  out: 'runs/NAME',
};

/** A command of the example, whose further lines are indented. */
function wrapped(line: string): string {
  return line.length <= 76 ? `  ${line}` : `  ${line.replace(/ (--out )/, ' \\\n    $1')}`;
}

function headingOf(name: string, others: string): string {
  return HEADINGS.find(([, names]) => names.test(name))?.[0] ?? others;
}

/** Formats an option in help. If the option is wider than its column, the explanation starts on the next line. */
function formatItem(term: string, width: number, explanation: string, help: Help): string {
  const lines = help.boxWrap(explanation, (help.helpWidth ?? 80) - width - 4).split('\n');
  if (term.length > width) lines.unshift('');
  return lines.map((line, i) => `  ${(i === 0 ? term : '').padEnd(width)}  ${line}`.trimEnd()).join('\n');
}

// Defaults are only shown here; the schema applies them, or they would override the config file. Of two switches, help
// shows the one that changes the default.
function optionsOf(flag: Flag): Option[] {
  const preset = flag.default === undefined ? '' : ` (default: ${String(flag.default).replaceAll('\n', '\\n')})`;
  const on = new Option(
    flag.takesValue ? `--${flag.name} <${flag.placeholder}>` : `--${flag.name}`,
    `${flag.description}${flag.required ? ' (required)' : preset}`,
  );
  if (flag.takesValue)
    on.argParser((text, before: unknown) => {
      const value = flag.parse(text);
      return flag.repeats && before !== undefined ? [before, value].flat() : value;
    });
  if (!flag.takesNo) return [on];
  const off = new Option(`--no-${flag.name}`, `do not ${flag.description}`);
  return [on.hideHelp(!flag.takesValue && flag.default === true), off.hideHelp(flag.default !== true)];
}
