/** `palm watch`: a live page about runs, for a browser. */
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { fromHome } from '../config/fields.ts';
import { watchApp } from '../watch/app.ts';
import { Watcher } from '../watch/watcher.ts';
import { builtAssets } from '../web/assets.ts';
import { listen } from '../web/server.ts';
import { reachOf, type ServerFlags, serverOptions } from './server-options.ts';

const HELP = `
Examples:
  palm watch runs/ppo
  palm watch runs/a runs/b --port 8080
  palm watch runs/ppo --host 0.0.0.0 --allowed-host gpu-1.example.org --api-key "$KEY"`;

/** The `watch` command. */
export function watchCommand(): Command {
  const command = new Command('watch')
    .description('show runs in a browser while they learn: curves, answers, what is not healthy')
    .argument('<RUN...>', 'run folders, also of runs that have not begun or have ended, or the folder of a sweep')
    .addHelpText('after', HELP)
    .action(watch);
  for (const option of serverOptions(0)) command.addOption(option);
  return command;
}

async function watch(given: string[], flags: ServerFlags): Promise<void> {
  const { server: options, keys, origins } = reachOf(flags);
  const folders = given.map(fromHome);
  for (const folder of folders.filter((each) => !existsSync(each))) console.error(`${folder}: waiting for a run`);
  const watcher = new Watcher(folders);
  let hosts: ReadonlySet<string> = new Set();
  const app = watchApp(watcher, {
    ...{ keys, origins, hosts: () => hosts, now: Date.now },
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
