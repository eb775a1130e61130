/**
 * Which requests reach a server at all, by where they say that they go. A page of another site can make a browser send requests to
 * this machine under a name of its own (DNS rebinding), so only names that nobody else can own are answered.
 */
import type { IncomingMessage } from 'node:http';
import { ArgumentError } from '../errors.ts';

/** Where a server listens, and to whom. */
export interface ServerOptions {
  /** An address of this machine. */
  host: string;
  /** 0: any that is free. */
  port: number;
  /** Further names, or names with ports, that requests may be sent to. */
  allowedHosts: readonly string[];
  /** Connections at once; more are closed. */
  maxConnections: number;
}

/** Whether only programs of this machine can reach an address. */
export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/i.test(host);
}

/**
 * Checks who can reach a server: outside this machine, only with keys, and by names that are told.
 * @throws ArgumentError with what is missing
 */
export function checkReach({ host, allowedHosts: names }: ServerOptions, keys: readonly string[]): void {
  if (isLoopback(host) || (keys.length > 0 && names.length > 0)) return;
  const missing = [...(keys.length > 0 ? [] : ['--api-key']), ...(names.length > 0 ? [] : ['--allowed-host'])];
  throw new ArgumentError({
    argument: '--host',
    received: `${host}, which other machines can reach, without ${missing.join(' and ')}`,
    expected: 'a key that requests must have, and the name by which they call this machine',
    fix: `Add ${missing.join(' and ')}, or leave out --host.`,
  });
}

/** The Host headers that are answered, in lower case: the address itself, names of this machine, and `more`. */
export function allowedHosts(host: string, port: number, more: readonly string[]): ReadonlySet<string> {
  const own = isLoopback(host) ? ['127.0.0.1', 'localhost', '[::1]'] : [];
  const names = [host.includes(':') && !host.startsWith('[') ? `[${host}]` : host, ...own];
  const withPort = (name: string) => (/:\d+$/.test(name) ? [name] : [name, `${name}:${port}`]);
  const given = more.flatMap(withPort);
  const ports = port === 80 ? names.flatMap(withPort) : names.map((name) => `${name}:${port}`);
  return new Set([...ports, ...given].map((name) => name.toLowerCase()));
}

/** Why a request is not for this server; undefined if it is. */
export function misdirection(request: IncomingMessage, hosts: ReadonlySet<string>): string | undefined {
  const named = request.rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host');
  if (request.httpVersion !== '1.1') return 'only HTTP/1.1 is spoken here';
  if (request.url?.startsWith('/') !== true) return 'the address must begin with /';
  if (named.length !== 1) return 'there must be one Host header';
  const { host = '' } = request.headers;
  return hosts.has(host.toLowerCase()) ? undefined : 'this server is not known by that name: see --allowed-host';
}
