/** `palm download | upload`: a model of the Hugging Face hub in the cache, and a folder on the hub. */
import { Command } from 'commander';
import { fromHome } from '../config/fields.ts';
import { megabytes } from '../files/sizes.ts';
import { resolveModel } from '../hub/resolve-model.ts';
import type { DownloadProgress } from '../hub/snapshot.ts';
import { uploadFolder } from '../hub/upload.ts';

/** The `download` command. */
export function downloadCommand(): Command {
  return new Command('download')
    .description('fetch a model from the Hugging Face hub into its cache, and print its folder')
    .argument('<MODEL>', 'org/name, or org/name/file.gguf')
    .option('--revision <name>', 'a branch, a tag or a commit (default: main)')
    .option('--allow-pickle', 'accept weights in .bin files where there are no others')
    .option('--offline', 'look in the cache only')
    .action(async (model: string, options: { revision?: string; allowPickle?: boolean; offline?: boolean }) => {
      console.log(await resolveModel(model, { ...options, onProgress: progressLine() }));
    });
}

/** The `upload` command. */
export function uploadCommand(): Command {
  return new Command('upload')
    .description('upload the folder of a model or an adapter to the Hugging Face hub (needs HF_TOKEN)')
    .argument('<FOLDER>', 'a folder with config.json or adapter_config.json')
    .argument('<REPO>', 'owner/name; made if it does not exist')
    .option('--revision <name>', 'the branch (default: main)')
    .option('--message <text>', 'the title of the commit')
    .option('--private', 'make a new repository private')
    .action(
      async (folder: string, repo: string, options: { revision?: string; message?: string; private?: boolean }) => {
        const { url } = await uploadFolder(fromHome(folder), repo, { ...options, onProgress: progressLine() });
        console.log(url);
      },
    );
}

/** Shows progress in one line of a terminal, ten times a second at most; elsewhere nothing. */
export function progressLine(): (progress: DownloadProgress) => void {
  let next = 0;
  return ({ file, bytes, total }) => {
    if (process.stderr.isTTY !== true || (performance.now() < next && bytes < total)) return;
    next = performance.now() + 100;
    const line = `${megabytes(bytes)} of ${megabytes(total)}  ${file}`;
    process.stderr.write(`\r${line.slice(0, 79).padEnd(79)}${bytes < total ? '' : '\n'}`);
  };
}
