/** An HTTP server for one application: which addresses it answers, how many connections, and for how long it waits for them. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { ArgumentError } from '../errors.ts';
import { ApiError } from './api-error.ts';
import { allowedHosts, misdirection, type ServerOptions } from './hosts.ts';

/** What answers requests: an application's `fetch`. */
export type Fetch = Parameters<typeof getRequestListener>[0];

/** A server that listens. */
export interface Listening {
  url: string;
  /** The Host headers that it answers. */
  hosts: ReadonlySet<string>;
  /** Stops listening, gives requests `grace` milliseconds to end, and ends those that have not. */
  close(grace?: number): Promise<void>;
}

const GRACE_MS = 5_000;
/** How long a request may take to arrive, and a connection may wait for another one, in milliseconds. */
const HEADERS_MS = 10_000;
const REQUEST_MS = 30_000;
const IDLE_MS = 5_000;
const CHECK_MS = 2_000;

/**
 * Begins to answer requests.
 * @throws ArgumentError if the address cannot be listened at
 */
export async function listen(fetch: Fetch, options: ServerOptions): Promise<Listening> {
  const answer = getRequestListener(fetch);
  let hosts: ReadonlySet<string> = new Set();
  const server = createServer(
    {
      ...{ headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS, keepAliveTimeout: IDLE_MS },
      connectionsCheckingInterval: CHECK_MS,
    },
    (request, response) => {
      const refused = misdirection(request, hosts);
      if (refused !== undefined) refuse(response, refused);
      else void answer(request, response);
    },
  );
  server.maxConnections = options.maxConnections;
  await started(server, options);
  const { port } = server.address() as AddressInfo;
  hosts = allowedHosts(options.host, port, options.allowedHosts);
  const name = options.host.includes(':') ? `[${options.host}]` : options.host;
  return { url: `http://${name}:${port}`, hosts, close: (grace = GRACE_MS) => close(server, grace) };
}

function started(server: Server<typeof IncomingMessage, typeof ServerResponse>, options: ServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(unable(error, options)));
    server.listen(options.port, options.host, resolve);
  });
}

function unable({ code, message }: NodeJS.ErrnoException, { host, port }: ServerOptions): ArgumentError {
  const taken = code === 'EADDRINUSE';
  return new ArgumentError({
    argument: taken || code === 'EACCES' ? '--port' : '--host',
    received: taken ? `${port}, which another program listens at` : `${host}:${port} (${message})`,
    expected: 'an address of this machine, and a port that is free',
    fix: taken ? 'Stop that program, or choose another port; --port 0 takes any that is free.' : 'Choose another.',
  });
}

function refuse(response: ServerResponse, message: string): void {
  const body = JSON.stringify(new ApiError(421, message, { code: 'misdirected' }).body);
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  };
  response.writeHead(421, headers).end(body);
}

async function close(server: Server, grace: number): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  const ending = setTimeout(() => server.closeAllConnections(), grace);
  await closed;
  clearTimeout(ending);
}
