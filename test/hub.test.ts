/** The hub client against a hub on this machine: what it fetches, keeps, refuses, and survives. */
import { spawn } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ArgumentError, FileError, HubError } from '../src/errors.ts';
import { RepoCache } from '../src/hub/cache.ts';
import { openHub, type Patience } from '../src/hub/client.ts';
import { parseReference } from '../src/hub/names.ts';
import { resolveModel } from '../src/hub/resolve-model.ts';
import { download, listingOf } from '../src/hub/snapshot.ts';
import { inTurn } from '../src/hub/turn.ts';
import { FakeHub, type Files, gitSha, json, refuse, sha256 } from './fake-hub.ts';

const WEIGHTS = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> 3));
const SMALL = { 'config.json': '{"model_type": "llama"}', 'tokenizer.json': '{}' };
const MODEL: Files = {
  ...SMALL,
  'model.safetensors': WEIGHTS,
  'additional_chat_templates/tool.jinja': '{{ tools }}',
  'README.md': '# no part of a model',
  'consolidated.safetensors': Buffer.alloc(2000, 1),
  'pytorch_model.bin': Buffer.alloc(2000, 2),
  'onnx/model.onnx': Buffer.alloc(2000, 3),
};
const REPO = 'org/name';
const STORED = `GET store /${sha256(WEIGHTS)}?signed=1`;

let hub: FakeHub;
let folder: string;
beforeEach(async () => {
  hub = await FakeHub.open();
  folder = mkdtempSync(join(tmpdir(), 'palm-hub-'));
  for (const name of Object.keys(process.env)) if (/^(HF_|HUGGING|TRANSFORMERS_)/.test(name)) vi.stubEnv(name, '');
  vi.stubEnv('HF_ENDPOINT', hub.url);
  vi.stubEnv('HF_HOME', folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const at = (...names: string[]) => join(folder, 'hub', 'models--org--name', ...names);
const names = (place: string) => (existsSync(place) ? readdirSync(place).sort() : []);
/** The error of a promise that has to reject with one of the hub. */
async function failure(promise: Promise<unknown>): Promise<HubError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HubError);
  return error as HubError;
}

const QUICK: Patience = { answer: 500, window: 200, leastBytes: 1000, pauses: [1, 2] };
/** Downloads `REPO` with short deadlines. */
async function fetchQuickly(commit: string, patience: Partial<Patience> = {}, signal?: AbortSignal): Promise<string> {
  const asked = openHub(new URL(hub.url), undefined, signal, { ...QUICK, ...patience });
  const cache = new RepoCache(join(folder, 'hub'), REPO);
  const snapshot = { cache, commit, wanted: { repo: REPO, file: undefined, allowPickle: false } };
  await download(asked, snapshot, await listingOf(asked, snapshot), () => {});
  return cache.snapshot(commit);
}

describe('what is fetched', () => {
  it('is what a model needs, in the layout of huggingface_hub', async () => {
    const commit = hub.commit(REPO, MODEL);
    const snapshot = await resolveModel(REPO);
    expect(snapshot).toBe(at('snapshots', commit));
    expect(names(snapshot)).toEqual([
      'additional_chat_templates',
      'config.json',
      'model.safetensors',
      'tokenizer.json',
    ]);
    expect(WEIGHTS.equals(readFileSync(join(snapshot, 'model.safetensors')))).toBe(true);
    expect(readlinkSync(join(snapshot, 'model.safetensors'))).toBe(`../../blobs/${sha256(WEIGHTS)}`);
    const nested = join(snapshot, 'additional_chat_templates/tool.jinja');
    expect(readlinkSync(nested)).toBe(`../../../blobs/${gitSha(Buffer.from('{{ tools }}'))}`);
    expect(readFileSync(nested, 'utf8')).toBe('{{ tools }}');
    expect(readFileSync(at('refs/main'), 'utf8')).toBe(commit);
    const tree = JSON.parse(readFileSync(at('trees', `${commit}.json`), 'utf8'));
    expect(tree.format_version).toBe(1);
    expect(Object.keys(tree.files).sort()).toEqual(Object.keys(MODEL).sort());
    expect(tree.files['model.safetensors']).toMatchObject({
      size: 300_000,
      lfs_sha256: sha256(WEIGHTS),
      lfs_size: 300_000,
    });
    expect(names(at('blobs')).filter((name) => name.includes('incomplete'))).toEqual([]);
    expect(names(join(folder, 'hub/.locks/models--org--name'))).toEqual([]);
  });

  it('is not fetched again: a branch takes one request, a commit none', async () => {
    const commit = hub.commit(REPO, MODEL);
    await resolveModel(REPO);
    hub.lines();
    await resolveModel(REPO);
    expect(hub.lines()).toEqual(['GET hub /api/models/org/name/revision/main']);
    await resolveModel(REPO, { revision: commit });
    expect(hub.lines()).toEqual([]);
  });

  it('is of the branch, tag or commit that was asked for', async () => {
    const first = hub.commit(REPO, MODEL);
    const other = hub.commit(REPO, { ...MODEL, 'config.json': '{"new": 1}' }, 'refs/pr/1');
    const snapshot = await resolveModel(REPO, { revision: 'refs/pr/1' });
    expect(snapshot).toBe(at('snapshots', other));
    expect(readFileSync(at('refs/refs/pr/1'), 'utf8')).toBe(other);
    expect(await resolveModel(REPO, { revision: first })).toBe(at('snapshots', first));
    // The weights of both are one blob, which was fetched once.
    expect(hub.lines().filter((line) => line === STORED)).toHaveLength(1);
    expect(existsSync(at('refs/main'))).toBe(false);
  });

  it('are the shards that the index names', async () => {
    const shard = (byte: number) => Buffer.alloc(1500, byte);
    const weight_map = { a: 'model-1-of-2.safetensors', b: 'model-2-of-2.safetensors', c: 'model-2-of-2.safetensors' };
    const shards = { 'model-1-of-2.safetensors': shard(1), 'model-2-of-2.safetensors': shard(2) };
    const index = { 'model.safetensors.index.json': JSON.stringify({ weight_map }) };
    hub.commit(REPO, { ...SMALL, ...index, ...shards, 'consolidated.safetensors': shard(3) });
    const snapshot = await resolveModel(REPO);
    expect(names(snapshot)).toEqual([...Object.keys({ ...SMALL, ...index, ...shards })].sort());
  });

  it('is an adapter where it is one', async () => {
    const adapter = { 'adapter_config.json': '{}', 'adapter_model.safetensors': WEIGHTS };
    hub.commit(REPO, { ...adapter, 'optimizer.pt': 'x', 'training_args.bin': 'x' });
    expect(names(await resolveModel(REPO))).toEqual(Object.keys(adapter).sort());
  });

  it('are pickles only where they are allowed and there is nothing else', async () => {
    hub.commit(REPO, { ...SMALL, 'pytorch_model.bin': WEIGHTS, 'training_args.bin': 'a pickle of anything' });
    const error = await failure(resolveModel(REPO));
    expect([error.reason, error.fix]).toEqual(['no-weights', expect.stringMatching(/allowPickle/)]);
    expect(names(await resolveModel(REPO, { allowPickle: true }))).toEqual(
      [...Object.keys(SMALL), 'pytorch_model.bin'].sort(),
    );
    hub.commit('org/both', MODEL);
    expect(names(await resolveModel('org/both', { allowPickle: true }))).not.toContain('pytorch_model.bin');
  });

  it('is one GGUF file where it is named', async () => {
    const commit = hub.commit(REPO, { ...SMALL, 'q4.gguf': WEIGHTS, 'deep/q8.gguf': Buffer.alloc(1200) });
    for (const name of ['org/name/q4.gguf', 'org/name:q4.gguf']) {
      expect(await resolveModel(name)).toBe(join(at('snapshots', commit), 'q4.gguf'));
    }
    expect(names(at('snapshots', commit))).toEqual(['q4.gguf']);
    expect(readFileSync(await resolveModel('org/name/deep/q8.gguf'))).toEqual(Buffer.alloc(1200));
    expect((await failure(resolveModel('org/name/q5.gguf'))).message).toMatch(/one of q4.gguf, deep\/q8.gguf/);
    expect((await failure(resolveModel(REPO))).fix).toBe('Name the file: org/name/q4.gguf');
  });

  it('comes in pages', async () => {
    hub.pageSize = 3;
    hub.commit(REPO, MODEL);
    expect(names(await resolveModel(REPO))).toContain('model.safetensors');
    expect(hub.lines().filter((line) => line.includes('/tree/'))).toHaveLength(3);
  });

  it('is reported as it comes', async () => {
    hub.commit(REPO, MODEL);
    const seen: { bytes: number; total: number }[] = [];
    await resolveModel(REPO, { onProgress: (progress) => seen.push(progress) });
    const wanted = ['config.json', 'tokenizer.json', 'additional_chat_templates/tool.jinja', 'model.safetensors'];
    const total = wanted.reduce((sum, name) => sum + (MODEL[name] as string | Buffer).length, 0);
    expect(seen.at(-1)).toMatchObject({ bytes: total, total });
    expect(seen.map(({ bytes }) => bytes)).toEqual(seen.map(({ bytes }) => bytes).sort((a, b) => a - b));
  });

  it('is a file where links are not wanted', async () => {
    vi.stubEnv('HF_HUB_DISABLE_SYMLINKS', '1');
    hub.commit(REPO, MODEL);
    const snapshot = await resolveModel(REPO);
    expect(lstatSync(join(snapshot, 'model.safetensors')).isFile()).toBe(true);
    expect(names(at('blobs'))).toEqual([]);
    hub.lines();
    expect(await resolveModel(REPO)).toBe(snapshot);
    expect(hub.lines()).toHaveLength(1);
  });

  it.each(['', '1'])('may have the same content twice (HF_HUB_DISABLE_SYMLINKS=%s)', async (withoutLinks) => {
    vi.stubEnv('HF_HUB_DISABLE_SYMLINKS', withoutLinks);
    const same = Object.fromEntries(
      ['tokenizer.json', 'tokenizer_config.json', 'vocab.json'].map((name) => [name, '{}']),
    );
    hub.commit(REPO, { ...MODEL, ...same });
    const snapshot = await resolveModel(REPO);
    for (const name of Object.keys(same)) expect(readFileSync(join(snapshot, name), 'utf8')).toBe('{}');
  });

  it('is what is on this machine, if that has the name', async () => {
    expect(await resolveModel(folder)).toBe(folder);
    writeFileSync(join(folder, 'a.gguf'), '');
    expect(await resolveModel(join(folder, 'a.gguf'))).toBe(join(folder, 'a.gguf'));
    await expect(resolveModel(folder, { revision: 'main' })).rejects.toThrow(/no revision for a model on this machine/);
    for (const name of ['./none', '/none/x', '~/none', 'runs/x.safetensors']) {
      await expect(resolveModel(name)).rejects.toThrow(FileError);
    }
    expect(hub.lines()).toEqual([]);
  });
});

describe('a download that is cut', () => {
  /** Ends the connection after `bytes` of the first answers of the store; returns the ranges that were asked for. */
  function cutting(...after: number[]): (string | undefined)[] {
    const ranges: (string | undefined)[] = [];
    hub.fault = ({ line, headers }, response) => {
      if (!line.startsWith('GET store')) return false;
      ranges.push(headers.range);
      const bytes = after.shift();
      if (bytes === undefined) return false;
      const from = Number(/\d+/.exec(headers.range ?? '0')?.[0]);
      response.writeHead(from ? 206 : 200, {
        'content-length': WEIGHTS.length - from,
        ...(from ? { 'content-range': `bytes ${from}-${WEIGHTS.length - 1}/${WEIGHTS.length}` } : {}),
      });
      response.write(WEIGHTS.subarray(from, from + bytes), () => setTimeout(() => response.destroy(), 20));
      return true;
    };
    return ranges;
  }

  it('goes on where it was, as often as there is progress', async () => {
    const commit = hub.commit(REPO, MODEL);
    const ranges = cutting(50_000, 60_000, 70_000, 40_000);
    const snapshot = await fetchQuickly(commit);
    expect(ranges).toEqual([undefined, 'bytes=50000-', 'bytes=110000-', 'bytes=180000-', 'bytes=220000-']);
    expect(WEIGHTS.equals(readFileSync(join(snapshot, 'model.safetensors')))).toBe(true);
  });

  it('leaves nothing that looks whole, and the next one goes on', async () => {
    const commit = hub.commit(REPO, MODEL);
    const ranges = cutting(50_000, 0, 0, 0);
    expect((await failure(fetchQuickly(commit))).reason).toBe('unreachable');
    expect(names(at('snapshots', commit))).not.toContain('model.safetensors');
    expect(existsSync(at('refs/main'))).toBe(false);
    const offline = await failure(resolveModel(REPO, { revision: commit, offline: true }));
    expect([offline.reason, offline.received]).toEqual(['not-cached', 'no model.safetensors']);
    hub.fault = () => false;
    hub.requests.length = 0;
    const snapshot = await resolveModel(REPO);
    expect(hub.requests.find(({ line }) => line === STORED)?.headers.range).toBe('bytes=50000-');
    expect(WEIGHTS.equals(readFileSync(join(snapshot, 'model.safetensors')))).toBe(true);
    expect(ranges).toEqual([undefined, 'bytes=50000-', 'bytes=50000-']);
  });

  it('begins anew where the hub ignores the range, or what is there is not of the file', async () => {
    const commit = hub.commit(REPO, MODEL);
    cutting(50_000, 0, 0, 0);
    await failure(fetchQuickly(commit));
    const [partial] = names(at('blobs')).filter((name) => name.endsWith('.incomplete'));
    hub.fault = ({ line }, response) => {
      if (!line.startsWith('GET store')) return false;
      response.end(WEIGHTS);
      return true;
    };
    await fetchQuickly(commit);
    rmSync(at('blobs', sha256(WEIGHTS)));
    hub.fault = () => false;
    for (const bytes of [Buffer.alloc(50_000), Buffer.alloc(300_000), Buffer.alloc(300_001)]) {
      writeFileSync(at('blobs', partial as string), bytes);
      const snapshot = await fetchQuickly(commit);
      expect(WEIGHTS.equals(readFileSync(join(snapshot, 'model.safetensors')))).toBe(true);
      rmSync(at('blobs', sha256(WEIGHTS)));
    }
  });

  it('is not finished from another part of the file', async () => {
    const commit = hub.commit(REPO, MODEL);
    cutting(50_000, 0, 0, 0);
    await failure(fetchQuickly(commit));
    let asked = 0;
    hub.fault = ({ line }, response) => {
      if (!line.startsWith('GET store') || asked++ > 0) return false;
      response.writeHead(206, { 'content-range': 'bytes 10-299999/300000' }).end(WEIGHTS.subarray(10));
      return true;
    };
    const snapshot = await fetchQuickly(commit);
    expect(WEIGHTS.equals(readFileSync(join(snapshot, 'model.safetensors')))).toBe(true);
  });

  it.each([500, 503, 429, 408])('is tried again after a status of %i, and given up in the end', async (status) => {
    const commit = hub.commit(REPO, MODEL);
    let left = 2;
    hub.fault = ({ line }, response) => {
      if (!line.startsWith('GET store') || left-- <= 0) return false;
      refuse(response, status, '');
      return true;
    };
    await fetchQuickly(commit);
    left = 3;
    rmSync(at(), { recursive: true });
    const error = await failure(fetchQuickly(commit));
    expect([error.reason, error.status]).toEqual(['unreachable', status]);
  });

  it('waits as long as the hub asks', async () => {
    const commit = hub.commit(REPO, MODEL);
    let left = 1;
    hub.fault = ({ line }, response) => {
      if (!line.startsWith('GET store') || left-- <= 0) return false;
      response.writeHead(429, { 'retry-after': '0.3' }).end();
      return true;
    };
    const start = performance.now();
    await fetchQuickly(commit);
    expect(performance.now() - start).toBeGreaterThan(290);
  });

  it('ends with its signal, at once, and keeps what has come', async () => {
    hub.commit(REPO, MODEL);
    const stop = new AbortController();
    hub.fault = ({ line }, response) => {
      if (!line.startsWith('GET store')) return false;
      response.writeHead(200, { 'content-length': WEIGHTS.length });
      response.write(WEIGHTS.subarray(0, 40_000));
      return true;
    };
    const onProgress = ({ file }: { file: string }) => {
      if (file === 'model.safetensors') setTimeout(() => stop.abort(new Error('enough')), 50);
    };
    await expect(resolveModel(REPO, { signal: stop.signal, onProgress })).rejects.toThrow('enough');
    await expect(resolveModel(REPO, { signal: stop.signal })).rejects.toThrow('enough');
    const [partial] = names(at('blobs')).filter((name) => name.endsWith('.incomplete'));
    expect(statSync(at('blobs', partial as string)).size).toBe(40_000);
    expect(names(join(folder, 'hub/.locks/models--org--name'))).toEqual([]);
  });
});

describe('a hub that lies', () => {
  const answering = (body: Buffer, headers: Record<string, string | number> = {}) => {
    hub.fault = ({ line }, response) => {
      if (!line.startsWith('GET store')) return false;
      response.writeHead(200, headers).end(body);
      return true;
    };
  };

  it.each([
    ['other bytes', Buffer.alloc(WEIGHTS.length, 1), {}, /another hash/],
    [
      'more bytes',
      Buffer.concat([WEIGHTS, WEIGHTS]),
      { 'content-length': 600_000 },
      /600000 bytes, where the listing has 300000/,
    ],
    [
      'more bytes in pieces',
      Buffer.concat([WEIGHTS, WEIGHTS]),
      { 'transfer-encoding': 'chunked' },
      /more than the 300000/,
    ],
  ])('about %s is found out, and leaves nothing that looks whole', async (_name, bytes, headers, message) => {
    const commit = hub.commit(REPO, MODEL);
    answering(bytes, headers);
    const error = await failure(fetchQuickly(commit));
    expect(error.reason).toBe('damaged');
    expect(error.message).toMatch(message);
    expect(names(at('snapshots', commit))).not.toContain('model.safetensors');
    expect(names(at('blobs'))).not.toContain(sha256(WEIGHTS));
  });

  it('about a small file is found out too', async () => {
    const commit = hub.commit(REPO, MODEL);
    hub.fault = ({ line }, response) => {
      if (!line.endsWith('/config.json')) return false;
      response.end('{"model_type": "gpt2!"}');
      return true;
    };
    expect((await failure(fetchQuickly(commit))).message).toMatch(/config.json: got bytes with another hash/);
  });

  it('declares a gigabyte and sends little: a deadline ends it, and little is on the disk', async () => {
    const commit = hub.commit(REPO, MODEL);
    const size = 2 ** 30;
    hub.fault = ({ line }, response) => {
      if (line.includes('/tree/')) {
        const lfs = { oid: 'a'.repeat(64), size, pointerSize: 130 };
        json(response, [{ type: 'file', path: 'model.safetensors', oid: 'b'.repeat(40), size, lfs }]);
        return true;
      }
      if (!line.includes('/resolve/')) return false;
      response.writeHead(200, { 'content-length': size });
      response.write('some bytes');
      // A trickle would keep a deadline alive that begins afresh with every byte.
      const trickle = setInterval(() => response.write('.'), 20);
      response.on('close', () => clearInterval(trickle));
      return true;
    };
    const start = performance.now();
    const error = await failure(fetchQuickly(commit));
    expect(error.message).toMatch(/fewer than 1000 bytes in 0.2 s/);
    expect(performance.now() - start).toBeLessThan(3000);
    const [partial] = names(at('blobs'));
    expect(statSync(at('blobs', partial as string)).size).toBeLessThan(1000);
  });

  it('never answers, or answers in drops: a deadline ends it', async () => {
    hub.commit(REPO, MODEL);
    hub.fault = ({ line }, response) => {
      if (line.includes('/revision/')) return true;
      if (!line.includes('/tree/')) return false;
      response.writeHead(200);
      const drops = setInterval(() => response.write(' '), 20);
      response.on('close', () => clearInterval(drops));
      return true;
    };
    const asked = openHub(new URL(hub.url), undefined, undefined, { ...QUICK, answer: 100 });
    const cache = new RepoCache(join(folder, 'hub'), REPO);
    const snapshot = { cache, commit: 'c'.repeat(40), wanted: { repo: REPO, file: undefined, allowPickle: false } };
    expect((await failure(listingOf(asked, snapshot))).message).toMatch(/nothing within 0.1 s/);
  });

  it.each([
    '../../evil.safetensors',
    '/etc/evil.safetensors',
    'a\\..\\evil.safetensors',
    'a/../../b',
    'evil\0.safetensors',
    'C:evil',
  ])('about names is refused: %j', async (path) => {
    hub.commit(REPO, { ...MODEL, [path]: 'x' });
    expect((await failure(resolveModel(REPO))).reason).toBe('bad-name');
    expect(existsSync(at('snapshots'))).toBe(false);
  });

  it.each(['../../../../evil.safetensors', '/etc/passwd', 'missing.safetensors', 'config.json', 7])(
    'about shards is refused: %j',
    async (name) => {
      const index = JSON.stringify({ weight_map: { a: name } });
      hub.commit(REPO, { ...SMALL, 'model.safetensors.index.json': index, 'other.safetensors': 'x' });
      expect(['bad-name', 'damaged']).toContain((await failure(resolveModel(REPO))).reason);
      expect(existsSync(at('refs/main'))).toBe(false);
    },
  );

  it.each([
    ['no JSON', (_: string) => '<html>log in</html>', /unexpected|got "<html>/i],
    ['no commit', (line: string) => (line.includes('/revision/') ? '{"sha": "../.."}' : undefined), /40 hexadecimal/],
    ['no list', (line: string) => (line.includes('/tree/') ? '{}' : undefined), /a list of files/],
    ['negative sizes', (line: string) => (line.includes('/tree/') ? LISTED(-1, 'b'.repeat(40)) : undefined), /a size/],
    ['a hash that is a path', (line: string) => (line.includes('/tree/') ? LISTED(1, '../x') : undefined), /a hash/],
  ])('answers with %s', async (_name, answer, message) => {
    hub.commit(REPO, MODEL);
    hub.fault = ({ line }, response) => {
      const text = answer(line);
      if (text !== undefined) response.end(text);
      return text !== undefined;
    };
    const error = await failure(resolveModel(REPO));
    expect([error.reason, error.message]).toEqual(['bad-answer', expect.stringMatching(message)]);
  });

  it('answers without end', async () => {
    hub.commit(REPO, MODEL);
    hub.fault = (_request, response) => {
      const block = Buffer.alloc(2 ** 20, ' ');
      const more = () => {
        if (!response.destroyed && response.write(block)) setImmediate(more);
      };
      response.on('drain', more);
      more();
      return true;
    };
    expect((await failure(resolveModel(REPO))).message).toMatch(/more than 33554432 bytes/);
  });
});

const LISTED = (size: number, oid: string) => JSON.stringify([{ type: 'file', path: 'config.json', oid, size }]);

describe('a token', () => {
  it('goes to the hub, never to another host', async () => {
    hub.commit(REPO, MODEL);
    await resolveModel(REPO, { token: 'hf_secret' });
    const sent = hub.requests.map(({ line, headers }) => [line.split(' ')[1], headers.authorization]);
    expect(new Set(sent.filter(([host]) => host === 'hub').map(([, token]) => token))).toEqual(
      new Set(['Bearer hf_secret']),
    );
    expect(sent.filter(([host]) => host === 'store')).toEqual([['store', undefined]]);
  });

  it('stays with the hub when a redirect comes back to it', async () => {
    hub.commit(REPO, MODEL);
    hub.fault = ({ line }, response) => {
      if (line.startsWith('GET store')) return redirect(response, `${hub.url}/back`);
      if (line !== 'GET hub /back') return false;
      response.end(WEIGHTS);
      return true;
    };
    await resolveModel(REPO, { token: 'hf_secret' });
    expect(hub.requests.find(({ path }) => path === '/back')?.headers.authorization).toBeUndefined();
  });

  it('follows a repository that was renamed on the same host', async () => {
    hub.commit('new/name', MODEL);
    hub.fault = ({ path }, response) =>
      path.includes(REPO) ? redirect(response, hub.url + path.replace(REPO, 'new/name')) : false;
    await resolveModel(REPO, { token: 'hf_secret' });
    const renamed = hub.requests.filter(({ path }) => path.includes('new/name'));
    expect(renamed.length).toBeGreaterThan(4);
    for (const { headers } of renamed) expect(headers.authorization).toBe('Bearer hf_secret');
  });

  it('comes from the environment, or from the file of huggingface_hub, unless it is false', async () => {
    hub.commit(REPO, MODEL);
    const sent = async (options: object) => {
      hub.requests.length = 0;
      await resolveModel(REPO, options);
      return hub.requests[0]?.headers.authorization;
    };
    expect(await sent({})).toBeUndefined();
    writeFileSync(join(folder, 'token'), 'hf_file\n');
    expect(await sent({})).toBe('Bearer hf_file');
    vi.stubEnv('HF_TOKEN', 'hf_environment');
    expect(await sent({})).toBe('Bearer hf_environment');
    expect(await sent({ token: 'hf_option' })).toBe('Bearer hf_option');
    expect(await sent({ token: false })).toBeUndefined();
    vi.stubEnv('HF_HUB_DISABLE_IMPLICIT_TOKEN', '1');
    expect(await sent({})).toBeUndefined();
  });

  it('is not sent in the clear, and never quoted', async () => {
    vi.stubEnv('HF_ENDPOINT', 'http://hub.example.org');
    const error = await resolveModel(REPO, { token: 'hf_secret' }).catch((reason) => reason);
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error.message).toMatch(/expected https:\/\//);
    const wrong = await resolveModel(REPO, { token: 'hf_sec\nret' }).catch((reason) => reason);
    expect(wrong).toBeInstanceOf(ArgumentError);
    expect(`${error.message}${wrong.message}`).not.toContain('hf_sec');
  });

  it('cannot be led from https to http, or in circles', async () => {
    hub.commit(REPO, MODEL);
    hub.fault = ({ path }, response) => redirect(response, `${hub.url}${path}`);
    expect((await failure(resolveModel(REPO))).message).toMatch(/more than 10 redirects/);
    hub.fault = (_request, response) => redirect(response, 'file:///etc/passwd');
    expect((await failure(resolveModel(REPO))).message).toMatch(/a redirect to "file:/);
  });
});

function redirect(response: import('node:http').ServerResponse, location: string): true {
  response.writeHead(307, { location }).end();
  return true;
}

describe('a refusal says what to do', () => {
  it.each([
    [401, '', {}, 'no-access', /set HF_TOKEN/],
    [401, '', { token: 'hf_x' }, 'no-access', /token is not valid/],
    [403, 'GatedRepo', {}, 'no-access', /Accept the model's conditions .* then set HF_TOKEN/],
    [403, 'GatedRepo', { token: 'hf_x' }, 'no-access', /with the account of the token/],
    [403, '', { token: 'hf_x' }, 'no-access', /a token with the permission/],
    [404, 'RepoNotFound', {}, 'not-found', /spelling/],
    [404, 'RevisionNotFound', {}, 'not-found', /a branch, tag or commit/],
    [400, '', {}, 'refused', /will not answer otherwise/],
  ] as const)('%i %s %j', async (status, code, options, reason, fix) => {
    hub.fault = (_request, response) => {
      refuse(response, status, code, 'as the hub says');
      return true;
    };
    const error = await failure(resolveModel(REPO, options));
    expect([error.reason, error.status]).toEqual([reason, status]);
    expect(error.fix).toMatch(fix);
    expect(error.message).toMatch(/as the hub says/);
    // Refusals do not pass: they are asked for once.
    expect(hub.lines()).toHaveLength(1);
  });

  it('where nothing listens', async () => {
    const commit = hub.commit(REPO, MODEL);
    hub.fault = (_request, response) => {
      response.destroy();
      return true;
    };
    const error = await failure(fetchQuickly(commit));
    expect([error.reason, error.fix]).toEqual(['unreachable', expect.stringMatching(/offline: true/)]);
  });

  it.each([
    '',
    'a/b/c',
    'org/..',
    'org/na--me',
    '-org/name',
    'org/name.git',
    'org/name/../x.gguf',
    'org/name/x.txt',
    'a b',
    'org//x',
  ])('a wrong name: %j', async (name) => {
    await expect(resolveModel(name)).rejects.toThrow(ArgumentError);
    expect(hub.lines()).toEqual([]);
  });

  it.each(['', '..', 'a/../b', '/x', 'a\\b'])('a wrong revision: %j', async (revision) => {
    await expect(resolveModel(REPO, { revision })).rejects.toThrow(ArgumentError);
  });

  it('reads the names of repositories and files', () => {
    expect(parseReference('gpt2')).toEqual({ repo: 'gpt2', file: undefined });
    expect(parseReference('org/name-1.5_x')).toEqual({ repo: 'org/name-1.5_x', file: undefined });
    expect(parseReference('org/name:a/b.gguf')).toEqual({ repo: 'org/name', file: 'a/b.gguf' });
  });
});

describe('offline', () => {
  beforeEach(() => {
    hub.commit(REPO, MODEL);
  });

  it('asks nobody, and says what the cache lacks', async () => {
    const nothing = await failure(resolveModel(REPO, { offline: true }));
    expect([nothing.reason, nothing.received]).toEqual(['not-cached', 'nothing of the revision "main"']);
    const snapshot = await resolveModel(REPO);
    hub.lines();
    expect(await resolveModel(REPO, { offline: true })).toBe(snapshot);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await resolveModel(REPO)).toBe(snapshot);
    expect(await resolveModel(REPO, { offline: false })).toBe(snapshot);
    rmSync(join(snapshot, 'tokenizer.json'));
    expect((await failure(resolveModel(REPO))).received).toBe('no tokenizer.json');
    expect(hub.lines()).toEqual([]);
  });

  it('does not take a cut file for a whole one', async () => {
    const snapshot = await resolveModel(REPO);
    writeFileSync(at('blobs', sha256(WEIGHTS)), WEIGHTS.subarray(1));
    expect((await failure(resolveModel(REPO, { offline: true }))).received).toBe('no model.safetensors');
    expect(WEIGHTS.equals(readFileSync(join(await resolveModel(REPO), 'model.safetensors')))).toBe(true);
    expect(await resolveModel(REPO, { offline: true })).toBe(snapshot);
  });

  it('finds what an older huggingface_hub has fetched without a listing, if all shards are there', async () => {
    const commit = 'd'.repeat(40);
    const place = at('snapshots', commit);
    mkdirSync(place, { recursive: true });
    mkdirSync(at('refs'), { recursive: true });
    writeFileSync(at('refs/main'), commit);
    const offline = () => resolveModel(REPO, { offline: true });
    expect((await failure(offline())).received).toBe('no config.json');
    writeFileSync(join(place, 'config.json'), '{}');
    expect((await failure(offline())).received).toBe('no weights');
    const weight_map = { a: 'a.safetensors', b: 'b.safetensors' };
    writeFileSync(join(place, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
    writeFileSync(join(place, 'a.safetensors'), 'x');
    expect((await failure(offline())).received).toBe('no all files of its weights');
    writeFileSync(join(place, 'b.safetensors'), 'x');
    expect(await offline()).toBe(place);
    expect(hub.lines()).toEqual([]);
  });

  it('reads a listing that is damaged as none, and asks for it again', async () => {
    const snapshot = await resolveModel(REPO);
    const tree = at('trees', `${snapshot.slice(-40)}.json`);
    for (const text of ['', '{"format_version": 2}', '{"format_version": 1, "files": {"../x": {}}}', '[]']) {
      writeFileSync(tree, text);
      expect(await resolveModel(REPO)).toBe(snapshot);
      expect(JSON.parse(readFileSync(tree, 'utf8')).format_version).toBe(1);
    }
  });
});

describe('a disk', () => {
  it('that is full is a typed error, and nothing looks whole; with space the download goes on', async () => {
    const commit = hub.commit(REPO, MODEL);
    const handle = await open(process.execPath);
    const prototype = Object.getPrototypeOf(handle);
    await handle.close();
    const { write } = prototype;
    const full = vi.spyOn(prototype, 'write').mockImplementation(function (this: unknown, ...given: unknown[]) {
      if ((given[3] as number) < 100_000) return write.apply(this, given);
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    });
    const error = await resolveModel(REPO).catch((reason) => reason);
    expect(error).toBeInstanceOf(FileError);
    expect(error.message).toMatch(/the disk is full/);
    expect(names(at('snapshots', commit))).not.toContain('model.safetensors');
    expect(existsSync(at('refs/main'))).toBe(false);
    expect((await failure(resolveModel(REPO, { revision: commit, offline: true }))).reason).toBe('not-cached');
    full.mockRestore();
    hub.requests.length = 0;
    const snapshot = await resolveModel(REPO);
    expect(hub.requests.find(({ line }) => line === STORED)?.headers.range).toMatch(/^bytes=[1-9]\d{4,}-$/);
    expect(WEIGHTS.equals(readFileSync(join(snapshot, 'model.safetensors')))).toBe(true);
  });

  it('that cannot be written is one too', async () => {
    hub.commit(REPO, MODEL);
    await expect(resolveModel(REPO, { cacheDir: '/dev/null/cache' })).rejects.toThrow(FileError);
  });
});

describe('the lock', () => {
  const place = () => join(folder, 'turn');
  const turns = { look: 5, beat: 20, dead: 200 };
  const elsewhere = JSON.stringify({ pid: 1, host: 'another machine' });

  it('of a machine that shows no sign of life is replaced in the end', async () => {
    mkdirSync(place());
    writeFileSync(join(place(), 'lock'), elsewhere);
    const start = performance.now();
    await inTurn(place(), undefined, async () => expect(names(place())).toEqual(['lock']), turns);
    expect(performance.now() - start).toBeGreaterThan(190);
    expect(names(place())).toEqual([]);
  });

  it('of a machine that shows some is waited for', async () => {
    mkdirSync(place());
    const path = join(place(), 'lock');
    writeFileSync(path, elsewhere);
    const alive = setInterval(() => utimesSync(path, new Date(), new Date()), 20);
    let done = false;
    const finish = () => {
      done = true;
    };
    const waiting = inTurn(place(), undefined, async () => finish(), turns);
    await new Promise((passed) => setTimeout(passed, 500));
    expect(done).toBe(false);
    clearInterval(alive);
    rmSync(path);
    await waiting;
    expect(done).toBe(true);
  });

  it('is held by one at a time, shows signs of life, and its waiting ends with a signal', async () => {
    let inside = 0;
    const work = async () => {
      expect(++inside).toBe(1);
      const before = statSync(join(place(), 'lock')).mtimeMs;
      await vi.waitFor(() => expect(statSync(join(place(), 'lock')).mtimeMs).toBeGreaterThan(before), { interval: 5 });
      inside--;
    };
    const stop = new AbortController();
    const all = [1, 2, 3].map(() => inTurn(place(), undefined, work, turns));
    const stopped = inTurn(place(), stop.signal, async () => {}, turns);
    stop.abort(new Error('enough'));
    await expect(stopped).rejects.toThrow('enough');
    await Promise.all(all);
  });
});

describe('two processes', () => {
  const script = `
    import { resolveModel } from '${join(import.meta.dirname, '../dist/index.js')}';
    console.log(await resolveModel('org/name'));
  `;
  /** Runs `resolveModel` in a process of its own. */
  const start = () =>
    spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const outputOf = async (child: ReturnType<typeof start>) => {
    let text = '';
    for await (const piece of child.stdout) text += piece;
    return text.trim();
  };
  const slowly = () => {
    hub.fault = ({ line }, response) => {
      if (!line.startsWith('GET store')) return false;
      response.writeHead(200, { 'content-length': WEIGHTS.length });
      response.write(WEIGHTS.subarray(0, 1000));
      setTimeout(() => response.end(WEIGHTS.subarray(1000)), 400);
      return true;
    };
  };

  it('download once', async () => {
    const commit = hub.commit(REPO, MODEL);
    slowly();
    const paths = await Promise.all([outputOf(start()), outputOf(start()), resolveModel(REPO), resolveModel(REPO)]);
    expect(new Set(paths)).toEqual(new Set([at('snapshots', commit)]));
    expect(hub.lines().filter((line) => line === STORED)).toHaveLength(1);
  });

  it('of which one is killed: the other goes on with what it left', async () => {
    const commit = hub.commit(REPO, MODEL);
    hub.fault = ({ line }, response) => {
      if (!line.startsWith('GET store')) return false;
      response.writeHead(200, { 'content-length': WEIGHTS.length });
      response.write(WEIGHTS.subarray(0, 1000));
      return true;
    };
    const first = start();
    await vi.waitFor(() => expect(names(at('blobs')).some((name) => name.endsWith('.incomplete'))).toBe(true), 5000);
    await vi.waitFor(
      () => expect(statSync(at('blobs', `${sha256(WEIGHTS)}.resumable.incomplete`)).size).toBe(1000),
      5000,
    );
    first.kill('SIGKILL');
    await new Promise((ended) => first.once('close', ended));
    expect(names(join(folder, 'hub/.locks/models--org--name'))).toEqual(['lock']);
    hub.fault = () => false;
    hub.requests.length = 0;
    expect(await resolveModel(REPO)).toBe(at('snapshots', commit));
    expect(hub.requests.find(({ line }) => line === STORED)?.headers.range).toBe('bytes=1000-');
  });
});
