/** The reward modules of a sweep, which must not change while it goes on: its trials would not be comparable. */
import type { RewardSource } from '../config/reward-source.ts';
import { ArgumentError } from '../errors.ts';
import type { RunConfig } from '../methods/method.ts';
import { hashOf } from '../rewards/module.ts';
import { isUrl } from '../rewards/server.ts';
import { isModule } from '../runs/run-note.ts';
import type { Journal } from './journal.ts';

/**
 * Compares the reward modules of a run with the journal, adds those that are new to it, and gives lines that tell path and hash of those.
 * @throws ArgumentError if one has changed since the sweep began.
 * @throws FileError if one cannot be read.
 */
export async function checkModules(config: RunConfig, journal: Journal): Promise<string[]> {
  const lines: string[] = [];
  for (const path of modulesOf(config)) {
    const sha256 = hashOf(path);
    const before = journal.modules.get(path);
    if (before === undefined) {
      await journal.add({ module: path, sha256 });
      lines.push(told(path, sha256));
    } else if (before !== sha256) {
      const expected = `sha256 ${before.slice(0, 12)}, as when the sweep began`;
      const fix = 'Restore the module, or start another sweep.';
      throw new ArgumentError({ argument: path, received: `sha256 ${sha256.slice(0, 12)}`, expected, fix });
    }
  }
  return lines;
}

/** Path and hash of the modules that the journal knows, to print. */
export function knownModules({ modules }: Journal): string[] {
  return [...modules].map(([path, sha256]) => told(path, sha256));
}

function told(path: string, sha256: string): string {
  return `reward: ${path} (sha256 ${sha256.slice(0, 12)})`;
}

function modulesOf(config: RunConfig): string[] {
  const { reward } = config as RunConfig & { reward?: RewardSource };
  const sources = [reward ?? [], config.evaluation.guard?.reward ?? []].flat();
  const paths = sources.map((source) => (typeof source === 'string' ? source : source.from));
  return [...new Set(paths)].filter((path) => !isUrl(path) && isModule(path));
}
