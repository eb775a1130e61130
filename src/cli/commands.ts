/** What makes the commands of `palm`, by the heading above them, in the order of the help. */
import type { Command } from 'commander';
import { methods } from '../methods.ts';
import { APART } from './apart.ts';
import { chatsCommand } from './chats.ts';
import { dataCommand } from './data.ts';
import { demoCommand } from './demo.ts';
import { doctorCommand } from './doctor.ts';
import { evaluateCommand } from './evaluate.ts';
import { exportCommand } from './export.ts';
import { downloadCommand, uploadCommand } from './hub.ts';
import { importCommand } from './import.ts';
import { inspectCommand } from './inspect.ts';
import { libtorchCommand } from './libtorch.ts';
import type { MethodName } from './method-of-data.ts';
import { recipesCommand, trainCommand } from './recipes.ts';
import { reportCommand } from './report.ts';
import { scoreCommand } from './score.ts';
import { sweepCommand } from './sweep.ts';
import { trainingCommand } from './train.ts';

/** A heading of the help. */
export type Heading = 'Train:' | 'Use and look:';

const training = Object.fromEntries(
  (Object.keys(methods) as MethodName[]).map((name) => [name, () => trainingCommand(name)]),
);

export const COMMANDS: Readonly<Record<Heading, Readonly<Record<string, () => Command | Promise<Command>>>>> = {
  'Train:': { demo: demoCommand, train: trainCommand, sweep: sweepCommand, ...training },
  'Use and look:': {
    generate: APART.generate,
    chat: APART.chat,
    serve: APART.serve,
    chats: chatsCommand,
    score: scoreCommand,
    evaluate: evaluateCommand,
    inspect: inspectCommand,
    watch: APART.watch,
    report: reportCommand,
    data: dataCommand,
    recipes: recipesCommand,
    import: importCommand,
    export: exportCommand,
    download: downloadCommand,
    upload: uploadCommand,
    doctor: doctorCommand,
    libtorch: libtorchCommand,
  },
};
