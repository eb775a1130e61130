/** The environment variables and files of huggingface_hub, which this client shares with it. */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { readWholeText } from '../files/regular-file.ts';

const ENDPOINT = 'https://huggingface.co';

/** The folder of all cached repositories: HF_HUB_CACHE, else `hub` in HF_HOME. */
export function cacheFolder(): string {
  const named = process.env.HF_HUB_CACHE || process.env.HUGGINGFACE_HUB_CACHE;
  return named ? expanded(named) : join(home(), 'hub');
}

/** True if HF_HUB_OFFLINE, or TRANSFORMERS_OFFLINE, forbids the network. */
export function offlineByEnvironment(): boolean {
  return isTrue(process.env.HF_HUB_OFFLINE || process.env.TRANSFORMERS_OFFLINE);
}

/** True if the cache must hold files instead of symbolic links. */
export function withoutSymlinks(): boolean {
  return isTrue(process.env.HF_HUB_DISABLE_SYMLINKS);
}

/** The address of the hub: HF_ENDPOINT or huggingface.co. @throws ArgumentError */
export function endpoint(): URL {
  const named = process.env.HF_ENDPOINT || ENDPOINT;
  const url = URL.canParse(named) ? new URL(named) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.username + url.password === '') return url;
  throw new ArgumentError({
    argument: 'HF_ENDPOINT',
    received: printable(named),
    expected: `a URL such as ${ENDPOINT}`,
  });
}

/** The token of HF_TOKEN or of `hf auth login`, unless HF_HUB_DISABLE_IMPLICIT_TOKEN is set; undefined if there is none. */
export function savedToken(): string | undefined {
  if (isTrue(process.env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const named = process.env.HF_TOKEN || process.env.HUGGING_FACE_HUB_TOKEN;
  return clean(named) ?? clean(tokenFile());
}

function tokenFile(): string | undefined {
  const path = process.env.HF_TOKEN_PATH ? expanded(process.env.HF_TOKEN_PATH) : join(home(), 'token');
  try {
    return readWholeText(path, { expected: 'a file with a token', most: 64 * 2 ** 10 });
  } catch (error) {
    if (error instanceof FileError) return undefined;
    throw error;
  }
}

/** @throws ArgumentError for a token with characters that a header cannot have. */
function clean(token: string | undefined): string | undefined {
  const text = token?.trim();
  if (!text) return undefined;
  checkToken(text);
  return text;
}

/** @throws ArgumentError, which does not quote the token. */
export function checkToken(token: string): void {
  if (/^[\x21-\x7e]+$/.test(token)) return;
  const received = 'blanks or characters that no token has';
  throw new ArgumentError({ argument: 'token', received, expected: 'a token, such as hf_…' });
}

function home(): string {
  if (process.env.HF_HOME) return expanded(process.env.HF_HOME);
  const caches = process.env.XDG_CACHE_HOME;
  return join(caches ? expanded(caches) : join(userHome(), '.cache'), 'huggingface');
}

/** A path with `~` and `$NAME` replaced, as huggingface_hub does. */
function expanded(path: string): string {
  const named = path.replace(/\$(?:\{(\w+)\}|(\w+))/g, (all, braced, plain) => process.env[braced ?? plain] ?? all);
  const whole = /^~(?=\/|$)/.test(named) ? join(userHome(), named.slice(1)) : named;
  return isAbsolute(whole) ? whole : resolve(whole);
}

function userHome(): string {
  try {
    return homedir();
  } catch (cause) {
    const problem = 'does not exist';
    throw new ArgumentError({ argument: 'the home folder', problem, fix: 'Set HF_HOME to a folder.', cause });
  }
}

/** The values that huggingface_hub takes for true. */
function isTrue(value: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(value ?? '');
}
