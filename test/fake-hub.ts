/** A hub on this machine: repositories in memory, large files on a second host, and faults on request. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Request {
  /** Method, host (`hub` or `store`) and path. */
  line: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

/** Answers a request instead of the hub; false leaves it to the hub. */
export type Fault = (request: Request, response: ServerResponse) => boolean | Promise<boolean>;

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
export const gitSha = (bytes: Uint8Array) =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

/** Files of this size and more are large ones. */
const LARGE = 1000;

export type Files = Record<string, string | Buffer>;

export class FakeHub implements AsyncDisposable {
  readonly requests: Request[] = [];
  readonly commits = new Map<string, Map<string, Buffer>>();
  readonly branches = new Map<string, string>();
  readonly stored = new Map<string, Buffer>();
  readonly private = new Map<string, boolean>();
  /** Asked before each answer. */
  fault: Fault = () => false;
  pageSize = 1000;
  readonly #hub: Server;
  readonly #store: Server;

  private constructor() {
    this.#hub = createServer((request, response) => void this.#take('hub', request, response));
    this.#store = createServer((request, response) => void this.#take('store', request, response));
  }

  static async open(): Promise<FakeHub> {
    const hub = new FakeHub();
    for (const server of [hub.#hub, hub.#store]) {
      await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    }
    return hub;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  get storeUrl(): string {
    return `http://127.0.0.1:${(this.#store.address() as AddressInfo).port}`;
  }

  /** The lines of the requests since the last call. */
  lines(): string[] {
    return this.requests.splice(0).map(({ line }) => line);
  }

  /** Makes a commit on a branch, and returns its hash. */
  commit(repo: string, files: Files, branch = 'main'): string {
    const contents = new Map(Object.entries(files).map(([path, bytes]) => [path, Buffer.from(bytes as string)]));
    const commit = gitSha(
      Buffer.from([repo, branch, ...[...contents].flatMap(([path, b]) => [path, gitSha(b)])].join()),
    );
    this.commits.set(commit, contents);
    this.branches.set(`${repo}@${branch}`, commit);
    return commit;
  }

  /** The files of a branch. */
  files(repo: string, branch = 'main'): Map<string, Buffer> {
    return this.commits.get(this.branches.get(`${repo}@${branch}`) ?? '') ?? new Map();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [this.#hub, this.#store]) {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    }
  }

  async #take(host: 'hub' | 'store', incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    incoming.on('error', () => {});
    response.on('error', () => {});
    for await (const piece of incoming) pieces.push(piece);
    const path = decodeURIComponent(incoming.url as string);
    const line = `${incoming.method} ${host} ${path}`;
    const request = { line, path, headers: incoming.headers, body: Buffer.concat(pieces) };
    this.requests.push(request);
    if (await this.fault(request, response)) return;
    if (host === 'store') this.#storage(incoming.method as string, request, response);
    else if (incoming.method === 'POST') this.#write(request, response);
    else this.#read(request, response);
  }

  #read({ path, headers }: Request, response: ServerResponse): unknown {
    const info = /^\/api\/models\/([^/]+\/[^/]+)(?:\/revision\/(.+?))?(\?.*)?$/.exec(path);
    if (info) {
      const sha = this.#sha(info[1] as string, info[2] ?? 'main');
      const known = [...this.branches.keys()].some((key) => key.startsWith(`${info[1]}@`));
      if (sha === undefined) return refuse(response, 404, known ? 'RevisionNotFound' : 'RepoNotFound');
      return json(response, { id: info[1], sha, private: this.private.get(info[1] as string) ?? false, siblings: [] });
    }
    const tree = /^\/api\/models\/([^/]+\/[^/]+)\/tree\/([^?]+)\?(.*)$/.exec(path);
    if (tree) return this.#tree(tree[1] as string, tree[2] as string, tree[3] as string, response);
    const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/([^?]+)/.exec(path);
    const sha = file && this.#sha(file[1] as string, file[2] as string);
    const bytes = this.commits.get(sha ?? '')?.get(file?.[3] as string);
    if (bytes === undefined) return refuse(response, 404, 'EntryNotFound');
    response.setHeader('x-repo-commit', sha as string);
    if (bytes.length < LARGE) return send(response, bytes, headers, gitSha(bytes));
    const oid = sha256(bytes);
    this.stored.set(oid, bytes);
    response.writeHead(302, {
      location: `${this.storeUrl}/${oid}?signed=1`,
      'x-linked-etag': `"${oid}"`,
      'x-linked-size': String(bytes.length),
      etag: `"${oid}"`,
    });
    return response.end();
  }

  #tree(repo: string, revision: string, query: string, response: ServerResponse): unknown {
    const files = this.commits.get(this.#sha(repo, revision) ?? '');
    if (files === undefined) return refuse(response, 404, 'RevisionNotFound');
    const from = Number(new URLSearchParams(query).get('cursor') ?? 0);
    const to = from + this.pageSize;
    const all = [...files].map(([path, bytes]) => listed(path, bytes));
    if (to < all.length) {
      const url = `${this.url}/api/models/${repo}/tree/${revision}?recursive=true&cursor=${to}`;
      response.setHeader('link', `<${url}>; rel="next"`);
    }
    return json(response, [{ type: 'directory', path: 'a', oid: '0'.repeat(40), size: 0 }, ...all.slice(from, to)]);
  }

  #storage(method: string, { path, headers, body }: Request, response: ServerResponse): unknown {
    const [, oid = ''] = /^\/(\w+)/.exec(path) ?? [];
    if (method === 'PUT') {
      this.stored.set(oid, body);
      return json(response, {});
    }
    const bytes = this.stored.get(oid);
    if (bytes === undefined) return refuse(response, 404, 'EntryNotFound');
    return send(response, bytes, headers, oid);
  }

  #write({ path, headers, body }: Request, response: ServerResponse): unknown {
    if (headers.authorization !== 'Bearer hf_writer') return refuse(response, 401, '', 'Invalid username or password.');
    const lines = body.toString().trim().split('\n');
    const given = JSON.parse((lines[0] as string) || '{}');
    if (path === '/api/repos/create') return this.#create(given, response);
    const branch = /^\/api\/models\/([^/]+\/[^/]+)\/branch\/(.+)$/.exec(path);
    if (branch) {
      const key = `${branch[1]}@${branch[2]}`;
      if (this.branches.has(key)) return refuse(response, 409, '', 'exists');
      this.branches.set(key, this.#sha(branch[1] as string, 'main') as string);
      return json(response, {});
    }
    if (/\/preupload\//.test(path)) {
      const mode = (size: number) => (size < LARGE ? 'regular' : 'lfs');
      const files = given.files.map((file: { path: string; size: number }) => {
        return { path: file.path, uploadMode: mode(file.size), shouldIgnore: file.path === 'ignored.txt' };
      });
      return json(response, { files });
    }
    if (path.endsWith('.git/info/lfs/objects/batch')) return this.#batch(given, response);
    if (path.startsWith('/verify/'))
      return json(response, {}, this.stored.get(given.oid)?.length === given.size ? 200 : 422);
    const commit = /^\/api\/models\/([^/]+\/[^/]+)\/commit\/([^?]+)/.exec(path);
    if (commit) return this.#commit(commit[1] as string, commit[2] as string, lines, response);
    return refuse(response, 404, 'EntryNotFound');
  }

  #create(given: Record<string, string>, response: ServerResponse): unknown {
    const repo = `${given.organization}/${given.name}`;
    if (this.branches.has(`${repo}@main`)) return refuse(response, 409, '', 'You already created this model repo');
    this.private.set(repo, given.visibility === 'private');
    this.commit(repo, { '.gitattributes': '*.safetensors filter=lfs\n' });
    return json(response, { url: `${this.url}/${repo}` });
  }

  #batch(given: { objects: { oid: string; size: number }[] }, response: ServerResponse): unknown {
    const objects = given.objects.map(({ oid, size }) => {
      const upload = { href: `${this.storeUrl}/${oid}?signed=put`, header: { 'x-signed': 'yes' } };
      const verify = { href: `${this.url}/verify/${oid}` };
      return this.stored.has(oid) ? { oid, size } : { oid, size, actions: { upload, verify } };
    });
    return json(response, { transfer: 'basic', objects });
  }

  #commit(repo: string, branch: string, lines: string[], response: ServerResponse): unknown {
    const files = new Map(this.files(repo, branch));
    for (const { key, value } of lines.map((line) => JSON.parse(line))) {
      if (key === 'file') files.set(value.path, Buffer.from(value.content, 'base64'));
      if (key === 'lfsFile') files.set(value.path, this.stored.get(value.oid) as Buffer);
    }
    const commitOid = this.commit(repo, Object.fromEntries(files), branch);
    return json(response, { success: true, commitOid, commitUrl: `${this.url}/${repo}/commit/${commitOid}` });
  }

  #sha(repo: string, revision: string): string | undefined {
    return this.branches.get(`${repo}@${revision}`) ?? (this.commits.has(revision) ? revision : undefined);
  }
}

function listed(path: string, bytes: Buffer): object {
  if (bytes.length < LARGE) return { type: 'file', path, oid: gitSha(bytes), size: bytes.length };
  const oid = sha256(bytes);
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${bytes.length}\n`;
  const lfs = { oid, size: bytes.length, pointerSize: pointer.length };
  return { type: 'file', path, oid: gitSha(Buffer.from(pointer)), size: bytes.length, lfs };
}

export function json(response: ServerResponse, value: unknown, status = 200): unknown {
  response.writeHead(status, { 'content-type': 'application/json' });
  return response.end(JSON.stringify(value));
}

export function refuse(response: ServerResponse, status: number, code: string, message = code): unknown {
  response.writeHead(status, { ...(code === '' ? {} : { 'x-error-code': code }), 'x-error-message': message });
  return response.end(JSON.stringify({ error: message }));
}

function send(response: ServerResponse, bytes: Buffer, headers: IncomingMessage['headers'], etag: string): unknown {
  const [, from = '0'] = /^bytes=(\d+)-$/.exec(headers.range ?? '') ?? [];
  const rest = bytes.subarray(Number(from));
  if (headers.range !== undefined && rest.length === 0) return refuse(response, 416, '');
  const partial =
    headers.range === undefined ? {} : { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(headers.range === undefined ? 200 : 206, {
    'content-length': String(rest.length),
    'accept-ranges': 'bytes',
    etag: `"${etag}"`,
    ...partial,
  });
  return response.end(rest);
}
