/** `palm watch`: a live page about runs, for a browser. */
import { existsSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { fromHome } from '../config/fields.ts';
import { watchApp } from '../watch/app.ts';
import { Watcher } from '../watch/watcher.ts';
import { builtAssets } from '../web/assets.ts';
import { checkReach, listen } from '../web/server.ts';

const HELP = `
Examples:
  palm watch runs/ppo
  palm watch runs/a runs/b --port 8080
  palm watch runs/ppo --host 0.0.0.0 --api-key "$KEY" --allowed-host gpu-1.example.org`;

/** Connections at once: browsers open six for a page, one of which is for news. */
const MOST_CONNECTIONS = 200;
const MOST_PORT = 65_535;

interface Options {
  host: string;
  port: number;
  apiKey: string[];
  allowedHost: string[];
}

/** The `watch` command. */
export function watchCommand(): Command {
  return new Command('watch')
    .description('show runs in a browser while they learn: curves, answers, what is not healthy')
    .argument('<RUN...>', 'run folders, also of runs that have not begun or have ended, or the folder of a sweep')
    .option('--port <port>', 'port to listen at; 0 takes any that is free', portOf, 0)
    .option('--host <address>', 'address to listen at; others than this machine need a key', '127.0.0.1')
    .option('--api-key <key>', 'a key that the page and programs must show; may be given again', collected, [])
    .option('--allowed-host <name>', 'a name by which this machine is called; may be given again', collected, [])
    .addHelpText('after', HELP)
    .action(watch);
}

async function watch(given: string[], { host, port, apiKey: keys, allowedHost: allowedHosts }: Options): Promise<void> {
  const options = { host, port, allowedHosts, maxConnections: MOST_CONNECTIONS };
  checkReach(options, keys);
  const folders = given.map(fromHome);
  for (const folder of folders.filter((each) => !existsSync(each))) console.error(`${folder}: waiting for a run`);
  const watcher = new Watcher(folders);
  let hosts: ReadonlySet<string> = new Set();
  const app = watchApp(watcher, {
    ...{ keys, origins: [], hosts: () => hosts, now: Date.now },
    assets: builtAssets('watch'),
    onError: (error) => console.error(error),
  });
  const server = await listen(app.fetch, options);
  hosts = server.hosts;
  watcher.start();
  const [key] = keys;
  console.log(key === undefined ? server.url : `${server.url}/#key=${encodeURIComponent(key)}`);
  await stopSignal();
  watcher.stop();
  await server.close(0);
}

/** Resolves when the process is told to end. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
}

function portOf(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= MOST_PORT) return port;
  throw new InvalidArgumentError(`Expected a number from 0 to ${MOST_PORT}.`);
}

function collected(text: string, before: string[]): string[] {
  return [...before, text];
}
