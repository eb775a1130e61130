/** `palm libtorch install | use | where`. */
import { Command } from 'commander';
import { LibtorchError } from '../errors.ts';
import {
  findLibtorch,
  findLibtorchToBuild,
  formatTrace,
  type Libtorch,
  saveLibtorchChoice,
} from '../native/libtorch.ts';
import { installLibtorch } from '../native/install-libtorch.ts';
import { addon } from '../native/addon.ts';

/** The `libtorch` command with its three subcommands. Failures are thrown for the program to print. */
export function libtorchCommand(): Command {
  const command = new Command('libtorch').description('install, choose or locate libtorch, the tensor library');
  command
    .command('install')
    .description('download libtorch with pip into your cache, where it is found')
    .option('--cuda', 'the build for NVIDIA GPUs instead of the CPU build')
    .action(async ({ cuda = false }: { cuda?: boolean }) => {
      const { path, version, variant } = await installLibtorch({ cuda, note: console.error });
      console.log(`libtorch ${version}+${variant} is in ${path}`);
    });
  command
    .command('use')
    .description('use the libtorch at PATH from now on')
    .argument('<PATH>', 'a libtorch folder, or the torch folder of a Python installation')
    .action((path: string) => {
      const { version, variant, path: absolute } = saveLibtorchChoice(path);
      console.log(`libtorch ${version}+${variant} at ${absolute} will be used from now on.`);
    });
  command
    .command('where')
    .description('print the folder of the libtorch in use, and the places searched')
    .action(() => {
      const { path, trace } = libtorchInUse();
      console.error(formatTrace(trace));
      console.log(path);
    });
  return command;
}

/**
 * The libtorch that the addon loads or, if it is not built yet, would be compiled against.
 * @throws LibtorchError if there is none.
 */
export function libtorchInUse(): Libtorch {
  try {
    return findLibtorch(addon().info().libtorch);
  } catch (error) {
    if (error instanceof LibtorchError) throw error;
    return findLibtorchToBuild();
  }
}
