/** Small runs of every training command in processes of their own, to be killed and resumed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');
const MODEL = '--model.dim 16 --model.depth 1 --model.heads 2 --model.dimHead 8 --model.ffMult 2'.split(' ');

/** A process that has ended. */
export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
}
/** One that may still run. */
export interface Running {
  child: ReturnType<typeof spawn>;
  ended: Promise<Ended>;
}

/** A folder with data, and a straight run of each trainer to compare with. */
export class Runs {
  readonly folder = mkdtempSync(join(tmpdir(), 'palm-faults-'));
  readonly #commands = new Map<string, string[]>();

  /** Makes the straight runs. */
  async prepare(): Promise<void> {
    const poem = this.#file('poem.txt', 'Tiger, tiger, burning bright\nin the forests of the night,\n'.repeat(9));
    const pairs = this.#file(
      'pairs.jsonl',
      Array.from({ length: 20 }, (_, i) =>
        JSON.stringify({ prompt: `${i}?`, chosen: `Yes${'!'.repeat(i % 3)}`, rejected: 'no.' }),
      ).join('\n'),
    );
    const model = this.path('straight-pretrain');
    const every = ['--checkpoint.every', '3'];
    const text = [...MODEL, '--sequenceLength', '16', '--batchSize', '2', '--warmupSteps', '2', '--evaluateEvery', '4'];
    this.#commands.set('pretrain', [...text, ...every, '--data', poem, '--steps', '10', '--model.ffDropout', '0.1']);
    const reward = ['--model', model, '--data', pairs, '--batchSize', '4', '--epochs', '2', '--lora', '2'];
    this.#commands.set('reward', [...reward, ...every]);
    const judge = ['--model', model, '--reward', this.path('straight-reward'), '--data', pairs, '--lora', '2'];
    const answers = ['--rolloutBatch', '4', '--sampling.maxNewTokens', '8', '--minibatchSize', '2', '--epochs', '2'];
    const adaptive = ['--adaptiveKl.target', '0.1', '--adaptiveKl.horizon', '100'];
    this.#commands.set('ppo', [...judge, ...answers, ...adaptive, ...every, '--steps', '7']);
    for (const command of this.#commands.keys()) {
      const { code, stderr } = await this.run(command, `straight-${command}`);
      if (code !== 0) throw new Error(stderr);
    }
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Starts `palm <command>` into the folder `name`, with a fault of inject.mjs if one is given. */
  start(
    command: string,
    name: string,
    args: readonly string[] = [],
    environment: Record<string, string> = {},
  ): Running {
    const inject = environment.PALM_FAULT === undefined ? [] : ['--import', join(import.meta.dirname, 'inject.mjs')];
    const palm = [join(ROOT, 'dist', 'cli', 'main.js'), command, '--out', this.path(name)];
    const options = args.includes('--resume') ? args : [...(this.#commands.get(command) ?? []), ...args];
    const child = spawn(process.execPath, [...inject, ...palm, ...options], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, OMP_NUM_THREADS: '1', ...environment },
    });
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stderr }));
    return { child, ended };
  }

  /** The same, to its end. */
  async run(...args: Parameters<Runs['start']>): Promise<Ended> {
    return await this.start(...args).ended;
  }

  /** All that a run leaves and that depends on nothing but the run, byte by byte. */
  results(name: string): Record<string, string> {
    const checkpoints = join(this.path(name), 'checkpoints');
    const last = readdirSync(checkpoints)
      .filter((entry) => /^step-\d+$/.test(entry))
      .sort()
      .at(-1) as string;
    const paths = ['metrics.jsonl', 'model.safetensors'];
    const saved = ['weights.safetensors', 'optimizer.safetensors', 'state.json'];
    for (const file of saved) paths.push(join('checkpoints', last, file));
    return Object.fromEntries(
      paths.map((path) => [path, readFileSync(join(this.path(name), path)).toString('base64')]),
    );
  }

  /** What is in the folder of checkpoints and is neither a checkpoint nor the pointer to the newest. */
  strays(name: string): string[] {
    const checkpoints = join(this.path(name), 'checkpoints');
    const known = /^(step-\d+|latest)$/;
    return existsSync(checkpoints) ? readdirSync(checkpoints).filter((entry) => !known.test(entry)) : [];
  }

  copy(from: string, to: string): void {
    cpSync(this.path(from), this.path(to), { recursive: true });
  }

  remove(name: string): void {
    rmSync(this.path(name), { recursive: true, force: true });
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #file(name: string, content: string): string {
    writeFileSync(this.path(name), content);
    return this.path(name);
  }
}
