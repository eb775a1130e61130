/** What scores answers: modules, servers, several rewards at once, and what a run notes about them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { trainingCommand } from '../src/cli/train.ts';
import { ArgumentError, FileError, RewardError } from '../src/errors.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { loadModule, unloadable } from '../src/rewards/module.ts';
import { openReward } from '../src/rewards/open.ts';
import { serverReward } from '../src/rewards/server.ts';
import type { TextAnswer } from '../src/rewards/text-reward.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import { CombinedReward, type NamedReward } from '../src/trainers/combined-reward.ts';
import { scoresOf } from '../src/trainers/rewards.ts';
import type { Answer } from '../src/trainers/rollouts.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-rewards-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

const at = (...names: string[]) => join(folder, ...names);
const write = (name: string, content: string) => {
  writeFileSync(at(name), content);
  return at(name);
};

const ANSWERS: Answer[] = [
  { prompt: [97], response: [98, 99], promptText: 'a', responseText: 'bc' },
  { prompt: [97], response: [100], promptText: 'a', responseText: 'd' },
];
const TEXTS: TextAnswer[] = [
  { prompt: 'a', response: 'bc', promptTokens: [97], responseTokens: [98, 99], meta: { right: 1 } },
  { prompt: 'a', response: 'd', promptTokens: [97], responseTokens: [100], meta: {} },
];
const OPTIONS = { size: 2, timeout: 5 };
const forever = new AbortController().signal;

describe('a reward module', () => {
  it('scores texts by its default export', async () => {
    const path = write('length.mjs', 'export default (answers) => answers.map(({ response }) => response.length);');
    expect(await (await loadModule(path))(TEXTS, forever)).toEqual([2, 1]);
    const typed = write(
      'typed.ts',
      'export default (answers: { prompt: string }[]) => answers.map((a) => a.prompt.length);',
    );
    expect(await (await loadModule(typed))(TEXTS, forever)).toEqual([1, 1]);
  });

  it.each([
    ['is missing', () => at('nowhere.mjs'), FileError, /nowhere\.mjs: no such file/],
    ['has no default export', () => write('named.mjs', 'export const x = 1;'), ArgumentError, /no default export/],
    ['exports no function', () => write('number.mjs', 'export default 3;'), ArgumentError, /the default export 3/],
    ['throws', () => write('throws.mjs', 'throw new RangeError("no key");'), FileError, /RangeError: no key/],
  ])('is refused if it %s', async (_, path, kind, message) => {
    const error = await loadModule(path()).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toMatch(message);
  });

  it('in TypeScript names Node 22.18, .mjs and tsx where Node cannot run it', () => {
    const cause = Object.assign(new TypeError('Unknown file extension ".ts"'), { code: 'ERR_UNKNOWN_FILE_EXTENSION' });
    const error = unloadable('reward.ts', cause);
    expect(error).toMatchObject({ argument: 'reward.ts', cause });
    for (const word of ['22.18', '.mjs', 'tsx']) expect(error.message).toContain(word);
  });
});

/** A server that answers each request with the next of `replies`; the last one for ever. */
async function serving<T>(
  replies: [status: number, body: unknown][],
  use: (url: string, asked: unknown[]) => Promise<T>,
) {
  const asked: unknown[] = [];
  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    asked.push(JSON.parse(Buffer.concat(pieces).toString()));
    const [status, body] = replies[Math.min(asked.length, replies.length) - 1] ?? [500, ''];
    if (status === 0) return; // never answers
    response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {});
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/score`, asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

describe('a reward server', () => {
  const quick = { timeout: 2, pauses: [0, 0] };

  it('gets the texts and gives the scores', async () => {
    await serving([[200, { scores: [1, 2] }]], async (url, asked) => {
      expect(await serverReward(url, quick)(TEXTS, forever)).toEqual([1, 2]);
      expect(asked).toEqual([
        {
          answers: [
            { prompt: 'a', response: 'bc', meta: { right: 1 } },
            { prompt: 'a', response: 'd', meta: {} },
          ],
        },
      ]);
    });
  });

  it('is asked twice more after a failure that may pass', async () => {
    await serving(
      [
        [503, 'busy'],
        [429, ''],
        [200, { scores: [1, 2] }],
      ],
      async (url, asked) => {
        expect(await serverReward(url, quick)(TEXTS, forever)).toEqual([1, 2]);
        expect(asked).toHaveLength(3);
      },
    );
    await serving([[500, 'broken']], async (url, asked) => {
      await expect(serverReward(url, quick)(TEXTS, forever)).rejects.toThrow('got status 500: "broken"');
      expect(asked).toHaveLength(3);
    });
  });

  it.each([
    ['another status', 404, 'no', 'got status 404: "no"'],
    ['no JSON', 200, 'hello', 'got "hello"'],
    ['no scores', 200, { score: 1 }, 'expected { scores } with 2 numbers'],
    ['a redirect', 302, '', 'redirect'],
  ])('fails by %s', async (_, status, body, message) => {
    await serving([[status, body]], async (url) => {
      const ask = async () => await serverReward(url, quick)(TEXTS, forever);
      const error = await ask().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(RewardError);
      expect((error as Error).message).toContain(message);
    });
  });

  it('fails if it does not answer in time, and stops when nobody waits', async () => {
    await serving([[0, '']], async (url, asked) => {
      await expect(serverReward(url, { timeout: 0.05, pauses: [0, 0] })(TEXTS, forever)).rejects.toThrow(
        'nothing within',
      );
      expect(asked).toHaveLength(3);
      const controller = new AbortController();
      const waiting = serverReward(url, quick)(TEXTS, controller.signal);
      controller.abort(new Error('left'));
      await expect(waiting).rejects.toThrow('left');
    });
  });

  it('has its scores checked like those of a function', async () => {
    await serving([[200, { scores: [1, 'good'] }]], async (url) => {
      const { load } = await openReward(url, { timeout: 5, combine: undefined, disagreement: undefined });
      await expect(load(device).then((reward) => scoresOf(reward, ANSWERS, OPTIONS))).rejects.toThrow('got "good"');
    });
  });

  it.each([
    'http://example.com/x',
    'ftp://localhost/x',
    'https://name:word@example.com/',
    'http://127.0.0.1.example.com/',
    'https://',
  ])('is refused at %s', (url) => {
    expect(() => serverReward(url, quick)).toThrow(ArgumentError);
  });
});

describe('several rewards', () => {
  const lengths: NamedReward = { name: 'length', reward: (answers) => answers.map(({ response }) => response.length) };
  const ones: NamedReward = { name: 'one', reward: (answers) => answers.map(() => 1), weight: 0.5 };

  it('are summed by their weights, and each is reported', async () => {
    const reward = new CombinedReward([lengths, ones]);
    expect(await scoresOf(reward, ANSWERS, OPTIONS)).toEqual({
      scores: [2.5, 1.5],
      parts: { length: [2, 1], one: [1, 1] },
    });
  });

  it('that are reward models with statistics count in deviations from their mean', async () => {
    const size = { numTokens: 258, dim: 16, depth: 1, dimHead: 8, device };
    using model = new RewardModel(new PaLM(size), { lora: false });
    const { scores } = await scoresOf(model, ANSWERS, OPTIONS);
    model.statistics = { mean: 3, deviation: 2 };
    const both = new CombinedReward([{ name: 'model', reward: model, weight: 2 }, lengths]);
    const found = await scoresOf(both, ANSWERS, OPTIONS);
    expect(found.parts.model).toEqual(scores);
    expect(found.scores).toEqual(scores.map((score, i) => ((score - 3) / 2) * 2 + (i === 0 ? 2 : 1)));
  });

  it('say which of them failed', async () => {
    const bad = { name: 'bad', reward: () => [1, Number.NaN] };
    await expect(scoresOf(new CombinedReward([lengths, bad]), ANSWERS, OPTIONS)).rejects.toThrow(
      'reward bad[1]: got NaN',
    );
  });

  it.each<[string, NamedReward[], object, string]>([
    ['the same name twice', [lengths, lengths], {}, 'rewards[1].name'],
    ['a weight that is not used', [lengths, ones], { combine: 'min' }, 'rewards[1].weight'],
    ['a disagreement that is not used', [lengths], { disagreement: 1 }, 'CombinedReward.disagreement'],
    ['none', [], {}, 'rewards'],
    ['something else', [{ name: 'x', reward: 3 as never }], {}, 'rewards[0].reward'],
    ['an unknown combination', [lengths], { combine: 'max' }, 'CombinedReward.combine'],
  ])('are refused with %s', (_, rewards, options, argument) => {
    expect(() => new CombinedReward(rewards, options)).toThrow(expect.objectContaining({ argument }));
  });

  it('are named by their paths', async () => {
    const path = write('length.mjs', 'export default (answers) => answers.map(({ response }) => response.length);');
    const scoring = { timeout: 5, combine: undefined, disagreement: undefined };
    const { inputs, load } = await openReward([path, { from: path, weight: 2 }, { from: path, name: 'mine' }], scoring);
    expect(inputs).toEqual({ 'reward.length': path, 'reward.length-2': path, 'reward.mine': path });
    const { parts, scores } = await scoresOf(await load(device), ANSWERS, OPTIONS);
    expect(Object.keys(parts)).toEqual(['length', 'length-2', 'mine']);
    expect(scores).toEqual([8, 4]);
    await expect(openReward(path, { ...scoring, combine: 'min' })).rejects.toThrow(
      'score.combine: got min for a single',
    );
  });
});

describe.each(['ppo', 'grpo'] as const)('palm %s', (method) => {
  const model = at('base.safetensors');
  const data = write('prompts.jsonl', '{"prompt": "ab"}\n{"prompt": "b"}\n');
  const settings = '--rolloutBatch 2 --sampling.maxNewTokens 3 --epochs 1 --steps 1'.split(' ');
  const train = async (out: string, ...args: string[]) => {
    using base = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2 });
    await base.save(model, { tokenizer: await loadTokenizer('byte') });
    const inputs = ['--model', model, '--data', data, '--out', at(method, out), '--device', device];
    await palm(trainingCommand(method), ...inputs, ...settings, ...args);
    return JSON.parse(
      readFileSync(at(method, out, 'metrics.jsonl'), 'utf8')
        .trimEnd()
        .split('\n')
        .at(-1) as string,
    );
  };

  it('trains by two modules, and stops a resume where one has changed', async () => {
    const good = write('good.mjs', 'export default (answers) => answers.map(({ response }) => response.length);');
    const ok = write('ok.mjs', 'export default async (answers) => answers.map(() => 0.25);');
    const metrics = await train('two', '--reward', good, '--reward', ok);
    expect(metrics['score.ok']).toBe(0.25);
    expect(metrics.score).toBeCloseTo(metrics['score.good'] + 0.25, 6);
    const note = JSON.parse(readFileSync(at(method, 'two', 'run.json'), 'utf8'));
    expect(note.inputs['reward.ok']).toMatchObject({ path: ok, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(printed.stderr).toContain(`reward.ok: ${ok} (sha256 ${note.inputs['reward.ok'].sha256.slice(0, 12)})`);

    const resume = (...args: string[]) =>
      palm(trainingCommand(method), '--resume', '--out', at(method, 'two'), '--steps', '2', ...args);
    writeFileSync(ok, 'export default async (answers) => answers.map(() => 0.5);');
    await expect(resume()).rejects.toThrow(/--reward\.ok: got .*ok\.mjs \(sha256/);
    await expect(resume('--reward', good)).rejects.toThrow(/--reward/);
    writeFileSync(ok, 'export default async (answers) => answers.map(() => 0.25);');
    await resume();
    expect(printed.stderr).toContain('resuming from step 1');
  });

  it('refuses what is no reward', async () => {
    await expect(train('none', '--reward', at('nowhere'))).rejects.toThrow('nowhere');
    await expect(train('none', '--reward', model)).rejects.toThrow('expected a reward model');
    await expect(train('none', '--reward', 'http://example.com')).rejects.toThrow('expected https://');
  });
});
