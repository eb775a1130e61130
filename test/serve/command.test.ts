/** `palm serve` as its users run it: models by name, adapters, scores, keys, weights that are replaced, and its end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LanguageModel } from '../../src/models/language-model.ts';
import { PaLM } from '../../src/models/palm.ts';
import { RewardModel } from '../../src/models/reward-model.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { fill } from '../fill.ts';
import { LETTERS, outsideModel } from '../outside-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-serve-'));
const running: ChildProcess[] = [];
afterAll(() => {
  for (const process of running) process.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

interface Server {
  url: string;
  process: ChildProcess;
  /** What it has printed since. */
  printed(): string;
}

/** Starts the command; resolves when it listens. */
async function start(...args: string[]): Promise<Server> {
  const process = spawn('node', ['dist/cli/main.js', 'serve', ...args, '--port', '0'], { stdio: 'pipe' });
  running.push(process);
  let text = '';
  for (const stream of [process.stdout, process.stderr]) {
    stream?.on('data', (piece) => {
      text += piece;
    });
  }
  const address = () => /^http\S+/m.exec(text)?.[0];
  while (address() === undefined && process.exitCode === null) await delay(20);
  const url = address();
  if (url === undefined) throw new Error(text);
  return { url, process, printed: () => text };
}

async function ended(process: ChildProcess): Promise<number | null> {
  const [code] = await once(process, 'exit');
  return code as number | null;
}

const clientOf = ({ url }: Server, apiKey = 'any') => new OpenAI({ apiKey, baseURL: url, maxRetries: 0 });
const greedy = { max_tokens: 12, temperature: 0 } as const;

const tiny = { numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2 };

/** A file with a PaLM of bytes. */
async function bytesModel(name: string, seed: number): Promise<string> {
  using model = new PaLM({ ...tiny, seed });
  const path = join(folder, name);
  await model.save(path, { tokenizer: await loadTokenizer('byte') });
  return path;
}

describe('several models', () => {
  let server: Server;
  let client: OpenAI;
  beforeAll(async () => {
    const llama = outsideModel(join(folder, 'llama'), LETTERS);
    using base = await LanguageModel.load(llama);
    base.addScope('loud', { rank: 2, seed: 5 });
    for (const [i, parameter] of base.parameters({ scope: 'loud' }).entries()) await fill(parameter, i + 1);
    await base.exportAdapter('loud', join(folder, 'adapter'));
    using trunk = new PaLM({ ...tiny, seed: 2 });
    using reward = new RewardModel(trunk, { lora: false });
    await reward.save(join(folder, 'reward.safetensors'), { tokenizer: await loadTokenizer('byte') });
    const bytes = await bytesModel('bytes.safetensors', 1);
    server = await start(
      ...[llama, bytes, join(folder, 'reward.safetensors'), '--maxLength', '64', '--slots', '4'],
      ...['--served-model-name', 'first', '--adapter', `loud=${join(folder, 'adapter')}`],
    );
    client = clientOf(server);
  });

  it('are listed and answer by their names, adapters too', async () => {
    const names = ['first', 'loud', 'bytes.safetensors', 'reward.safetensors'];
    expect(server.printed()).toContain(names.join(', '));
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(names);
    const messages = [{ role: 'user' as const, content: 'what is this' }];
    const answer = async (model: string) => {
      const { choices } = await client.chat.completions.create({ model, messages, ...greedy });
      return choices[0]?.message.content;
    };
    const [plain, loud] = [await answer('first'), await answer('loud')];
    expect(plain).not.toBe(loud);
    expect(await Promise.all(['first', 'loud', 'first', 'loud'].map(answer))).toEqual([plain, loud, plain, loud]);
    await expect(answer('bytes.safetensors')).rejects.toThrow(/no chat template: ask \/v1\/completions/);
    await expect(answer('reward.safetensors')).rejects.toThrow(/is a reward model: ask \/v1\/score/);
  });

  const post = async (path: string, body: object) => {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(new URL(path, server.url), { method: 'POST', headers, body: JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  it('score answers as palm score does', async () => {
    using reward = await RewardModel.load(join(folder, 'reward.safetensors'));
    const bytes = await loadTokenizer('byte');
    const [prompt, responses] = ['To be', [' or not', '?']];
    const expected: number[] = [];
    for (const response of responses) {
      const [asked, told] = [bytes.encode(prompt), [...bytes.encode(response), bytes.eosToken as number]];
      using score = await reward.score([[...asked, ...told]], { promptLengths: [asked.length] });
      expected.push(Number((await score.data())[0]));
    }
    const { status, body } = await post('/v1/score', { model: 'reward.safetensors', prompt, responses });
    expect(status).toBe(200);
    for (const [i, score] of (body.scores as number[]).entries()) expect(score).toBeCloseTo(expected[i] as number, 5);
    expect(body.usage).toEqual({ prompt_tokens: 5 + 8 + 5 + 2, total_tokens: 20 });
  });

  it.each([
    [{ model: 'first', prompt: 'a', responses: ['b'] }, 400, /gives no scores/],
    [{ model: 'nobody', prompt: 'a', responses: ['b'] }, 404, /there is no model/],
    [{ model: 'reward.safetensors', responses: ['b'] }, 400, /either prompt, a text, or messages/],
    [{ model: 'reward.safetensors', prompt: 'a', responses: [] }, 400, /responses/],
    [{ model: 'reward.safetensors', prompt: 'a', responses: ['b'], more: 1 }, 400, /"more" is not a known field/],
    [{ model: 'reward.safetensors', prompt: 'a'.repeat(70), responses: ['b'] }, 400, /72 tokens .* more than the 64/],
    [
      { model: 'reward.safetensors', messages: [{ role: 'user', content: 'a' }], responses: ['b'] },
      400,
      /no chat template/,
    ],
  ])('refuse to score %o', async (fields, status, message) => {
    const answer = await post('/v1/score', fields);
    expect(answer.status).toBe(status);
    expect((answer.body.error as { message: string }).message).toMatch(message);
  });

  it('tell the tokens of texts and of conversations, and the text of tokens', async () => {
    const tokens = [...Buffer.from('hi')];
    const told = await post('/tokenize', { model: 'bytes.safetensors', prompt: 'hi' });
    expect(told.body).toEqual({ count: 2, max_model_len: 64, tokens });
    expect((await post('/detokenize', { model: 'bytes.safetensors', tokens })).body).toEqual({ prompt: 'hi' });
    const chat = await post('/tokenize', { model: 'first', messages: [{ role: 'user', content: 'hi' }] });
    expect((await post('/detokenize', { model: 'first', tokens: chat.body.tokens })).body.prompt as string).toContain(
      'hi',
    );
    expect((await post('/detokenize', { model: 'bytes.safetensors', tokens: [999] })).status).toBe(400);
  });

  it('tell of a route that is not there as of other errors', async () => {
    const { status, body } = await post('/v2/nothing', {});
    expect(status).toBe(404);
    expect(body).toMatchObject({ error: { message: 'there is no POST /v2/nothing', type: 'invalid_request_error' } });
  });

  it('count what they do', async () => {
    const metrics = await (await fetch(new URL('/metrics', server.url))).text();
    for (const line of metrics.trim().split('\n'))
      expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{[^}]*\})? -?[\d.e+-]+)$/);
    expect(metrics).toMatch(/^rlhf_requests_total\{route="\/v1\/chat\/completions",status="200"\} [1-9]/m);
    expect(metrics).toMatch(/^rlhf_generated_tokens_total\{model="loud"\} [1-9]/m);
    expect(metrics).toMatch(/^rlhf_rows_running\{model="first"\} 0$/m);
    expect(metrics).toMatch(/^rlhf_request_seconds_bucket\{le="\+Inf"\} [1-9]/m);
  });

  it('end with 0 after SIGTERM', async () => {
    server.process.kill('SIGTERM');
    expect(await ended(server.process)).toBe(0);
  });
});

describe('new weights', () => {
  it('answer new requests, and an answer that has begun ends as it would have', async () => {
    const run = join(folder, 'run');
    mkdirSync(run);
    const [old, young] = [await bytesModel('old.safetensors', 1), await bytesModel('young.safetensors', 9)];
    copyFileSync(old, join(run, 'model.safetensors'));
    const server = await start(run, '--maxLength', '1500', '--served-model-name', 'run');
    const client = clientOf(server);
    const fields = { model: 'run', prompt: 'To be', temperature: 1, seed: 3, ignore_eos: true };
    const ask = async (max_tokens: number) => {
      const { choices, system_fingerprint } = await client.completions.create({ ...fields, max_tokens });
      return { text: choices[0]?.text as string, system_fingerprint };
    };
    const before = await ask(1400);
    const stream = await client.completions.create({ ...fields, max_tokens: 1400, stream: true });
    let text = '';
    let replaced = false;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? '';
      if (!replaced) {
        copyFileSync(young, join(run, 'model.safetensors'));
        server.process.kill('SIGHUP');
        replaced = true;
      }
    }
    expect(text).toBe(before.text);
    await expect.poll(server.printed).toMatch(/run: replaced; .* MB of weights were loaded beside the old ones/);
    const after = await ask(1400);
    expect(after.text).not.toBe(before.text);
    expect(after.system_fingerprint).not.toBe(before.system_fingerprint);
    server.process.kill('SIGINT');
    expect(await ended(server.process)).toBe(0);
  });

  it('are found by --follow, and a file that is damaged changes nothing', async () => {
    const run = join(folder, 'followed');
    mkdirSync(run);
    copyFileSync(await bytesModel('one.safetensors', 1), join(run, 'model.safetensors'));
    const server = await start(run, '--follow', '--maxLength', '64');
    const ask = () => clientOf(server).completions.create({ model: 'followed', prompt: 'To be', ...greedy });
    const { system_fingerprint: first } = await ask();
    copyFileSync(await bytesModel('two.safetensors', 2), join(run, 'model.safetensors'));
    await expect.poll(server.printed, { timeout: 20_000 }).toContain('followed: replaced');
    const { system_fingerprint: second } = await ask();
    expect(second).not.toBe(first);
    copyFileSync('package.json', join(run, 'model.safetensors'));
    await expect.poll(server.printed, { timeout: 20_000 }).toMatch(/followed: not replaced: .*model.safetensors/);
    expect((await ask()).system_fingerprint).toBe(second);
    await delay(4_500); // it has looked twice since
    expect(server.printed().match(/not replaced/g)).toHaveLength(1);
  });
});

describe('a server for others', () => {
  it('needs a key for everything but its health', async () => {
    const server = await start(
      await bytesModel('keyed.safetensors', 1),
      '--api-key',
      'a-long-key',
      '--maxLength',
      '64',
    );
    for (const path of ['/v1/models', '/metrics', '/v1/models/keyed.safetensors', '/nothing']) {
      expect((await fetch(new URL(path, server.url))).status).toBe(401);
    }
    expect(await (await fetch(new URL('/health', server.url))).json()).toEqual({ status: 'ok' });
    await expect(clientOf(server).models.list()).rejects.toThrow(OpenAI.AuthenticationError);
    expect((await clientOf(server, 'a-long-key').models.list()).data).toHaveLength(1);
    server.process.kill('SIGKILL');
  });

  it('shows a chat page with --chats, whose folder one server holds', async () => {
    const model = await bytesModel('chatty.safetensors', 1);
    const chats = join(folder, 'chats');
    const server = await start(model, '--chats', chats, '--api-key', 'a-long-key', '--maxLength', '64');
    expect(server.printed()).toMatch(/^http:\S+\/#key=a-long-key is the chat page$/m);
    expect(await (await fetch(new URL('/', server.url))).text()).toContain('/assets/serve.js');
    expect((await fetch(new URL('/api/chats', server.url))).status).toBe(401);
    const headers = { authorization: 'Bearer a-long-key' };
    const listed = await fetch(new URL('/api/chats', server.url), { headers });
    expect(await listed.json()).toEqual({ chats: [], more: false });
    const second = await failing(model, '--chats', chats, '--port', '0');
    expect([second.code, second.text]).toEqual([5, expect.stringMatching(/a lock held by process/)]);
    server.process.kill('SIGTERM');
    expect(await ended(server.process)).toBe(0);
    await start(model, '--chats', chats, '--maxLength', '64');
  });

  const failing = async (...args: string[]) => {
    const process = spawn('node', ['dist/cli/main.js', 'serve', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    process.stderr.on('data', (piece) => {
      text += piece;
    });
    return { code: await ended(process), text };
  };

  it.each([
    [['--host', '0.0.0.0'], 1, /without --api-key and --allowed-host/],
    [['--api-key', 'short'], 1, /at least 8 letters/],
    [['--cors-origin', '*'], 1, /as in https:\/\/example.org/],
    [['--port', '70000'], 2, /whole number up to 65535/],
    [['--adapter', 'name'], 2, /NAME=DIR/],
    [['--served-model-name', 'a', '--served-model-name', 'b'], 1, /2 names for 1/],
    [['--adapter', 'model=elsewhere', '--served-model-name', 'model'], 1, /model for two models/],
    [['--slots', '0'], 2, /slots/],
  ])('says what is wrong with %o', async (flags, code, message) => {
    const failed = await failing(join(folder, 'nothing.safetensors'), ...flags);
    expect(failed.text).toMatch(message);
    expect(failed.code).toBe(code);
  });
});
