/** Options of commands that answer over HTTP: where they listen, and to whom. */
import { InvalidArgumentError, Option } from 'commander';
import { ArgumentError, printable } from '../errors.ts';
import { checkReach, type ServerOptions } from '../web/hosts.ts';

/** The values of these options. */
export interface ServerFlags {
  host: string;
  port: number;
  apiKey: string[];
  allowedHost: string[];
  corsOrigin: string[];
  maxConnections: number;
}

/** Who may ask, and where. */
export interface Reach {
  server: ServerOptions;
  /** Any of them is enough; empty: none is needed. */
  keys: string[];
  /** Sites whose pages may ask. */
  origins: string[];
}

/** The options; `port` is the default. */
export function serverOptions(port: number): Option[] {
  const several = (text: string, before: string[]) => [...before, text];
  return [
    new Option('--host <address>', 'address to listen at; other machines can reach any but 127.0.0.1').default(
      '127.0.0.1',
    ),
    new Option('--port <n>', 'port to listen at; 0 takes any that is free').default(port).argParser(wholeUpTo(65_535)),
    new Option('--api-key <key>', 'what requests must show, may be repeated; also taken from PALM_API_KEY')
      .default([], 'none')
      .argParser(several),
    new Option('--allowed-host <name>', 'further name by which requests may call this machine, may be repeated')
      .default([], 'none')
      .argParser(several),
    new Option('--cors-origin <url>', 'site whose pages may ask, as in https://example.org, may be repeated')
      .default([], 'none')
      .argParser(several),
    new Option('--max-connections <n>', 'connections at once; more are closed')
      .default(512)
      .argParser(wholeUpTo(65_535)),
  ];
}

/**
 * What the options say, with the key in the environment.
 * @throws ArgumentError for a site that is none, and for an address that is open to others without a key and a name
 */
export function reachOf(flags: ServerFlags, environment: NodeJS.ProcessEnv = process.env): Reach {
  const { host, port, allowedHost: allowedHosts, maxConnections, corsOrigin: origins } = flags;
  const { PALM_API_KEY: key = '' } = environment;
  const keys = [...flags.apiKey, ...(key === '' ? [] : [key])];
  const wrong = origins.find((origin) => !/^https?:\/\/[^/\s*]+$/.test(origin));
  if (wrong !== undefined) {
    const expected = 'a site by its scheme and name, as in https://example.org';
    const fix = 'Name each site by itself: there is no sign for all.';
    throw new ArgumentError({ argument: '--cors-origin', received: printable(wrong), expected, fix });
  }
  if (keys.some((one) => !/^[\x21-\x7e]{8,}$/.test(one))) {
    const expected = 'at least 8 letters, digits and signs';
    throw new ArgumentError({ argument: '--api-key', received: 'another one', expected, fix: 'Choose a longer key.' });
  }
  const server = { host, port, allowedHosts, maxConnections };
  checkReach(server, keys);
  return { server, keys, origins };
}

function wholeUpTo(most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number up to ${most}.`);
  };
}
