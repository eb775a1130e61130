/**
 * Makes the file system fail: `node --import test/faults/inject.mjs …` with PALM_FAULT="<kind>:<n>", where n counts the calls
 * that change something under a folder named `checkpoints`, from 1. Kinds:
 *
 *   count     counts only; the number is written to the file PALM_FAULT_COUNT
 *   kill      SIGKILL before the n-th call
 *   tear      the n-th call, if it writes, writes half of its bytes; then SIGKILL
 *   power     SIGKILL before the n-th call, after all that was not synced has been lost: bytes of files, names in folders
 *   short     the n-th call, if it writes, writes half of its bytes and says so
 *   ENOSPC …  the n-th call throws this error, with the name of any error of the system; "ENOSPC:7+" from the 7th on
 */
import fs, { renameSync, truncateSync, writeFileSync } from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, sep } from 'node:path';

const [, kind, number, open] = /^(\w+):(\d+)(\+?)$/.exec(process.env.PALM_FAULT ?? 'count:0') ?? [];
const hits = (n) => (open ? n >= Number(number) : n === Number(number));

let calls = 0;
const paths = new WeakMap();
const unsynced = new Set();
/** Renames whose folder was not synced yet: from, to. */
let renamed = [];

const real = { ...files };
const die = () => process.kill(process.pid, 'SIGKILL');
const counts = (path) => String(path).includes(`${sep}checkpoints${sep}`);

function losePower() {
  for (const path of unsynced) if (fs.existsSync(path)) truncateSync(path, 0);
  for (const [from, to] of renamed.reverse()) {
    if (fs.existsSync(to) && !fs.existsSync(from)) renameSync(to, from);
  }
  die();
}

/** Runs one call that changes something; `half` does half of what it would write. */
async function step(path, call, half) {
  if (!counts(path)) return await call();
  const n = ++calls;
  if (kind === 'count' || !hits(n)) return await call();
  if (kind === 'kill') return die();
  if (kind === 'power') return losePower();
  if (kind === 'tear') {
    await half?.();
    return die();
  }
  if (kind === 'short') return half ? await half() : await call();
  throw Object.assign(new Error(`${kind}: injected`), { code: kind });
}

files.open = async (path, flags, ...rest) => {
  const writes = flags !== undefined && flags !== 'r';
  const file = await (writes ? step(path, () => real.open(path, flags, ...rest)) : real.open(path, flags, ...rest));
  paths.set(file, String(path));
  if (writes && counts(path)) unsynced.add(String(path));
  return file;
};

const handle = await real.open(process.execPath, 'r');
const prototype = Object.getPrototypeOf(handle);
await handle.close();
const { write, sync } = prototype;
prototype.write = function (bytes, offset, length, ...rest) {
  const all = () => write.call(this, bytes, offset, length, ...rest);
  return step(paths.get(this), all, () => write.call(this, bytes, offset, length >> 1, ...rest));
};
prototype.sync = async function () {
  const path = paths.get(this);
  await step(`${path}${sep}`, () => sync.call(this));
  unsynced.delete(path);
  renamed = renamed.filter(([, to]) => dirname(to) !== path);
};

files.writeFile = (path, text, ...rest) => {
  const half = () => real.writeFile(path, String(text).slice(0, String(text).length >> 1));
  unsynced.add(String(path));
  // Of short writes it takes care itself.
  return step(path, () => real.writeFile(path, text, ...rest), kind === 'short' ? undefined : half).then(() => {
    if (rest[0]?.flush) unsynced.delete(String(path));
  });
};
files.rename = async (from, to) => {
  await step(to, () => real.rename(from, to));
  renamed.push([String(from), String(to)]);
  for (const path of [...unsynced]) {
    if (!path.startsWith(String(from))) continue;
    unsynced.delete(path);
    unsynced.add(String(to) + path.slice(String(from).length));
  }
};
for (const name of ['mkdir', 'rm', 'link', 'statfs']) {
  files[name] = (path, ...rest) => {
    const place = name === 'link' ? rest[0] : name === 'statfs' ? `${path}${sep}` : path;
    return step(place, () => real[name](path, ...rest));
  };
}
syncBuiltinESMExports();

process.on('exit', () => {
  if (process.env.PALM_FAULT_COUNT !== undefined) writeFileSync(process.env.PALM_FAULT_COUNT, String(calls));
});
