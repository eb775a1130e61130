/** The examples of docs/serve.md, as they stand there. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PaLM } from '../../src/models/palm.ts';
import { RewardModel } from '../../src/models/reward-model.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';

it('the commands that ask a server with curl get what they ask for', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'palm-serve-docs-'));
  const tokenizer = await loadTokenizer('byte');
  using model = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, seed: 1 });
  using reward = new RewardModel(model, { lora: false });
  for (const name of ['ppo', 'reward']) mkdirSync(join(folder, 'runs', name), { recursive: true });
  await model.save(join(folder, 'runs/ppo/model.safetensors'), { tokenizer });
  await reward.save(join(folder, 'runs/reward/model.safetensors'), { tokenizer });
  const main = join(import.meta.dirname, '../../dist/cli/main.js');
  const server = spawn('node', [main, 'serve', 'runs/ppo', 'runs/reward', '--port', '0'], { cwd: folder });
  try {
    let printed = '';
    server.stdout.on('data', (piece) => {
      printed += piece;
    });
    await expect.poll(() => printed, { timeout: 60_000 }).toMatch(/^http:\S+:\d+\/v1 has ppo, reward$/m);
    const [, port] = /:(\d+)\//.exec(printed) as unknown as [string, string];
    const text = readFileSync(join(import.meta.dirname, '../../docs/serve.md'), 'utf8').replaceAll('\\\n', '');
    const commands = [...text.matchAll(/^curl .*$/gm)].map(([command]) => command.replaceAll(':8000', `:${port}`));
    expect(commands).toHaveLength(5);
    for (const command of commands) {
      const answer = execFileSync('bash', ['-c', `${command} --silent --fail-with-body`], { encoding: 'utf8' });
      expect([command, JSON.parse(answer)]).not.toEqual([command, { error: expect.anything() }]);
    }
  } finally {
    server.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  }
});
