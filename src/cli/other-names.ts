/** The names that other trainers give to our options, so that an unknown option is answered with ours. */
import type { Command } from 'commander';

/** Our options, and what transformers, TRL, trlX and Axolotl call them; case, hyphens and underscores do not count. */
const OTHER_NAMES: Readonly<Record<string, readonly string[]>> = {
  '--lr': ['learning-rate'],
  '--batchSize': ['per-device-train-batch-size', 'train-batch-size', 'micro-batch-size'],
  '--accumulate': ['gradient-accumulation-steps', 'grad-accum'],
  '--epochs': ['num-train-epochs', 'num-epochs'],
  '--steps': ['max-steps', 'total-steps', 'iterations'],
  '--out': ['output', 'output-dir', 'save-dir'],
  '--model': ['model-name-or-path', 'base-model', 'model-path'],
  '--data': ['dataset', 'dataset-name', 'train-file', 'prompts'],
  '--validation': ['eval-file', 'validation-file', 'eval-dataset'],
  '--reward': ['reward-model', 'reward-funcs', 'reward-fn'],
  '--lora': ['lora-r', 'lora-rank', 'use-peft'],
  '--optimisation.numLayersUnfrozen': ['num-layers-unfrozen'],
  '--numLayersUnfrozen': ['num-layers-unfrozen'],
  '--klWeight': ['kl-coef', 'init-kl-coef', 'kl-penalty'],
  '--sampling.samplesPerPrompt': ['num-generations', 'group-size'],
  '--sampling.maxNewTokens': ['max-new-tokens', 'max-completion-length', 'response-length'],
  '--sampling.temperature': ['temperature'],
  '--checkpoint.every': ['save-steps'],
  '--log-every': ['logging-steps'],
};

/** Answers an unknown option that another trainer has with the name it has here. */
export function knowOtherNames(command: Command): Command {
  return command.configureOutput({
    outputError: (message, write) => write(`${message}${hint(message, command)}`),
  });
}

function hint(message: string, command: Command): string {
  const unknown = /^error: unknown option '--([\w.-]+)'\s*$/.exec(message)?.[1];
  if (unknown === undefined) return '';
  const has = (flag: string) => command.options.some(({ long }) => long === flag);
  const isMeant = (other: string) => plain(other) === plain(unknown);
  const ours = Object.keys(OTHER_NAMES).find((flag) => has(flag) && OTHER_NAMES[flag]?.some(isMeant));
  return ours === undefined ? '' : `(It is ${ours} here.)\n`;
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '');
}
