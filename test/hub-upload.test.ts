/** Uploads to a hub on this machine: one commit with everything in it, or none. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ArgumentError, FileError, HubError } from '../src/errors.ts';
import { openHub } from '../src/hub/client.ts';
import { uploadLarge } from '../src/hub/lfs.ts';
import { resolveModel } from '../src/hub/resolve-model.ts';
import { uploadFolder } from '../src/hub/upload.ts';
import { FakeHub, json, refuse, sha256 } from './fake-hub.ts';

const REPO = 'me/model';
const WEIGHTS = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, i) => (i * 31) >> 2));
const token = 'hf_writer';

let hub: FakeHub;
let folder: string;
beforeEach(async () => {
  hub = await FakeHub.open();
  folder = mkdtempSync(join(tmpdir(), 'palm-upload-'));
  for (const name of Object.keys(process.env)) if (/^(HF_|HUGGING|TRANSFORMERS_)/.test(name)) vi.stubEnv(name, '');
  vi.stubEnv('HF_ENDPOINT', hub.url);
  vi.stubEnv('HF_HOME', join(folder, 'home'));
  write({
    'config.json': '{"_name_or_path": "/absolute/secret"}',
    'model.safetensors': WEIGHTS,
    'empty.txt': '',
    'ignored.txt': 'x',
    '.git/config': 'x',
    '.env': 'SECRET=1',
    'additional_chat_templates/tool.jinja': '{{ tools }}',
  });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const model = () => join(folder, 'model');
function write(files: Record<string, string | Buffer>): void {
  for (const [name, bytes] of Object.entries(files)) {
    mkdirSync(join(model(), name, '..'), { recursive: true });
    writeFileSync(join(model(), name), bytes);
  }
}
async function failure(promise: Promise<unknown>): Promise<HubError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HubError);
  return error as HubError;
}
const commits = () => hub.lines().filter((line) => line.includes('/commit/')).length;

it('makes a repository with a card, and comes back the same', async () => {
  const { url, commit } = await uploadFolder(model(), REPO, { token });
  expect(url).toBe(`${hub.url}/${REPO}`);
  const files = hub.files(REPO);
  const uploaded = ['config.json', 'model.safetensors', 'empty.txt', 'additional_chat_templates/tool.jinja'];
  expect([...files.keys()].sort()).toEqual(['.gitattributes', 'README.md', ...uploaded].sort());
  for (const name of uploaded) expect(files.get(name)?.equals(readFileSync(join(model(), name)))).toBe(true);
  expect(files.get('README.md')?.toString()).toBe(
    '---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- palm-rlhf\n---\n\n# model\n\nA language model. Written by palm-rlhf.\n',
  );
  expect(commits()).toBe(1);
  const snapshot = await resolveModel(REPO, { token });
  expect(snapshot.endsWith(commit)).toBe(true);
  expect(readFileSync(join(snapshot, 'model.safetensors')).equals(WEIGHTS)).toBe(true);
});

it('sends large files to the store without the token, and confirms them to the hub with it', async () => {
  await uploadFolder(model(), REPO, { token });
  const put = hub.requests.find(({ line }) => line.startsWith('PUT store'));
  expect(put?.headers).toMatchObject({ 'content-length': '200000', 'x-signed': 'yes' });
  expect(put?.headers.authorization).toBeUndefined();
  expect(put?.headers['transfer-encoding']).toBeUndefined();
  const verify = hub.requests.find(({ path }) => path.startsWith('/verify/'));
  expect(verify?.headers.authorization).toBe('Bearer hf_writer');
  expect(JSON.parse(verify?.body.toString() as string)).toEqual({ oid: sha256(WEIGHTS), size: 200_000 });
});

it('sends what the hub has not, and leaves a card alone that is there', async () => {
  await uploadFolder(model(), REPO, { token });
  hub.lines();
  write({ 'config.json': '{"changed": 1}' });
  const seen: object[] = [];
  await uploadFolder(model(), REPO, { token, message: 'again', onProgress: (progress) => seen.push(progress) });
  const requests = hub.requests.splice(0);
  expect(requests.filter(({ line }) => line.startsWith('PUT') || line.includes('repos/create'))).toEqual([]);
  const [header, ...files] = String(requests.find(({ path }) => path.includes('/commit/'))?.body)
    .trim()
    .split('\n');
  expect(JSON.parse(header as string).value.summary).toBe('again');
  expect(files.map((line) => JSON.parse(line).value.path)).not.toContain('README.md');
  expect(hub.files(REPO).get('config.json')?.toString()).toBe('{"changed": 1}');
  const total = 200_000 + '{"changed": 1}'.length + '{{ tools }}'.length;
  expect(seen.at(-1)).toMatchObject({ bytes: total, total });
});

it('writes the card of an adapter, with the model it is for', async () => {
  write({ 'adapter_config.json': '{"base_model_name_or_path": "org/base"}' });
  await uploadFolder(model(), REPO, { token });
  const card = hub.files(REPO).get('README.md')?.toString();
  expect(card).toContain('---\nbase_model: org/base\nlibrary_name: peft\n');
  expect(card).toContain('- lora\n');
});

it('keeps your own card', async () => {
  write({ 'README.md': '# Mine' });
  await uploadFolder(model(), REPO, { token });
  expect(hub.files(REPO).get('README.md')?.toString()).toBe('# Mine');
});

it('makes a branch', async () => {
  await uploadFolder(model(), REPO, { token, revision: 'v2' });
  expect(hub.files(REPO, 'v2').has('model.safetensors')).toBe(true);
  expect(hub.files(REPO).has('model.safetensors')).toBe(false);
  await uploadFolder(model(), REPO, { token, revision: 'v2' });
});

it('makes a private repository, and refuses a public one instead', async () => {
  await uploadFolder(model(), 'me/private', { token, private: true });
  expect(hub.private.get('me/private')).toBe(true);
  await uploadFolder(model(), REPO, { token });
  hub.lines();
  expect((await failure(uploadFolder(model(), REPO, { token, private: true }))).received).toBe('a public one');
  hub.fault = ({ path, body }, response) => {
    if (path !== '/api/repos/create') return false;
    const { name } = JSON.parse(body.toString());
    hub.commit(`me/${name}`, {});
    json(response, {});
    return true;
  };
  // A hub that does not know the word for private must not get the files either.
  expect((await failure(uploadFolder(model(), 'me/ignored', { token, private: true }))).received).toBe('a public one');
  expect(commits()).toBe(0);
});

it('commits nothing where a large file does not arrive', async () => {
  hub.fault = ({ line }, response) => {
    if (line.startsWith('PUT')) json(response, {});
    return line.startsWith('PUT');
  };
  expect((await failure(uploadFolder(model(), REPO, { token }))).status).toBe(422);
  expect(commits()).toBe(0);
});

it('tries again where a large file is cut or the store is busy', async () => {
  let left = 2;
  hub.fault = ({ line }, response) => {
    if (!line.startsWith('PUT') || left-- <= 0) return false;
    if (left === 0) refuse(response, 503, '');
    else response.destroy();
    return true;
  };
  const quick = { answer: 500, window: 500, leastBytes: 10, pauses: [1, 2] };
  const asked = openHub(new URL(hub.url), token, undefined, quick);
  const file = { path: 'a', size: WEIGHTS.length, source: join(model(), 'model.safetensors') };
  await uploadLarge(asked, REPO, 'main', [file], () => {});
  expect(hub.stored.get(sha256(WEIGHTS))?.equals(WEIGHTS)).toBe(true);
});

it('gives up a store that never answers', async () => {
  hub.fault = ({ line }) => line.startsWith('PUT');
  const asked = openHub(new URL(hub.url), token, undefined, { answer: 100, window: 100, leastBytes: 10, pauses: [] });
  const file = { path: 'a', size: WEIGHTS.length, source: join(model(), 'model.safetensors') };
  const error = await failure(uploadLarge(asked, REPO, 'main', [file], () => {}));
  expect(error.message).toMatch(/a: got no answer within 0.1 s/);
});

it('sends a commit once, and says that it may be there', async () => {
  hub.fault = ({ path }, response) => {
    if (path.includes('/commit/')) response.destroy();
    return path.includes('/commit/');
  };
  const error = await failure(uploadFolder(model(), REPO, { token }));
  expect([error.reason, error.fix]).toEqual(['unreachable', expect.stringMatching(/the commit may be there/)]);
  expect(commits()).toBe(1);
});

it.each([
  ['a place that is not on the web', { href: 'file:///etc/passwd' }, /an upload to "file:/],
  ['no place', {}, /an upload to undefined/],
])('is not led to %s', async (_name, upload, message) => {
  hub.fault = ({ path }, response) => {
    if (!path.includes('objects/batch')) return false;
    json(response, { objects: [{ oid: sha256(WEIGHTS), size: WEIGHTS.length, actions: { upload } }] });
    return true;
  };
  expect((await failure(uploadFolder(model(), REPO, { token }))).message).toMatch(message);
});

it('says what the store objects to', async () => {
  hub.fault = ({ path }, response) => {
    if (!path.includes('objects/batch')) return false;
    json(response, { objects: [{ oid: sha256(WEIGHTS), size: 1, error: { code: 422, message: 'too large' } }] });
    return true;
  };
  const error = await failure(uploadFolder(model(), REPO, { token }));
  expect([error.reason, error.received]).toEqual(['refused', '"too large"']);
});

it('needs a token that may write, and a network', async () => {
  expect((await failure(uploadFolder(model(), REPO))).reason).toBe('no-access');
  expect(hub.lines()).toEqual([]);
  expect((await failure(uploadFolder(model(), REPO, { token: 'hf_reader' }))).fix).toMatch(/token is not valid/);
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  hub.lines();
  expect((await failure(uploadFolder(model(), REPO, { token }))).reason).toBe('unreachable');
  expect(hub.lines()).toEqual([]);
});

it('refuses what is no model, the folder of a run, and wrong names', async () => {
  await expect(uploadFolder(join(folder, 'none'), REPO, { token })).rejects.toThrow(FileError);
  await expect(uploadFolder(folder, REPO, { token })).rejects.toThrow(/no config.json/);
  write({ 'run.json': '{}' });
  await expect(uploadFolder(model(), REPO, { token })).rejects.toThrow(/the folder of a run/);
  for (const name of ['model', 'me/', 'a/b/c', '../x', 'me/a--b']) {
    await expect(uploadFolder(model(), name, { token })).rejects.toThrow(ArgumentError);
  }
  expect(hub.lines()).toEqual([]);
});
