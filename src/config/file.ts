/** Configuration files in YAML, which includes JSON. */
import { createRequire } from 'node:module';
import type { Node, Pair } from 'yaml';
import { ConfigError, printable } from '../errors.ts';
import { readWholeText } from '../files/regular-file.ts';

/** The library, loaded with the first file: programs that read none start faster. */
const yaml = () => createRequire(import.meta.url)('yaml') as typeof import('yaml');

/** Ten times the size of a full configuration. A limit is needed because the library's check for duplicate keys is quadratic. */
const MAX_BYTES = 16 * 1024;

/**
 * Reads the object in a configuration file; an empty file gives an empty object. Checks only the syntax.
 * @throws FileError if the file cannot be read, is not UTF-8 or is larger than 16 KiB.
 * @throws ConfigError, naming `file:line`, if it is not a single YAML mapping, repeats a key, or uses too many aliases.
 */
export function readConfigFile(path: string): Record<string, unknown> {
  const value = parseYaml(readText(path), path) ?? {};
  if (typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    return value as Record<string, unknown>;
  }
  throw new ConfigError({
    argument: path,
    received: Array.isArray(value) ? 'a list' : printable(value),
    expected: 'keys and values',
    fix: 'Write lines such as `steps: 100`.',
  });
}

/**
 * The line of a setting in a configuration file that has been read: of the last of the nested `keys` that the file has.
 * Undefined if it does not have the first.
 */
export function lineOfKey(path: string, keys: readonly string[]): number | undefined {
  const { isAlias, isSeq, LineCounter, parseDocument } = yaml();
  const lineCounter = new LineCounter();
  const document = parseDocument(readText(path), { lineCounter, logLevel: 'silent' });
  let node: Node | null | undefined = document.contents;
  let offset: number | undefined;
  for (const key of keys) {
    const found: Node | undefined = isAlias(node) ? node.resolve(document) : (node ?? undefined);
    const next = isSeq(found) ? { key: undefined, value: found.items[Number(key)] } : pairIn(found, key);
    if (next === undefined) break;
    node = next.value as Node | null | undefined;
    offset = ((next.key ?? next.value) as Node | undefined)?.range?.[0] ?? offset;
  }
  return offset === undefined ? undefined : lineCounter.linePos(offset).line;
}

function pairIn(node: Node | undefined, key: string): Pair | undefined {
  const { isMap, isScalar } = yaml();
  return isMap(node) ? node.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === key) : undefined;
}

function readText(path: string): string {
  return readWholeText(path, { expected: 'a readable configuration file', most: MAX_BYTES });
}

function parseYaml(text: string, path: string): unknown {
  const { parse, YAMLParseError } = yaml();
  try {
    return parse(text, { logLevel: 'error' });
  } catch (cause) {
    // The library draws the offending place below the first line.
    const [received = ''] = (cause as Error).message.split('\n');
    const line = cause instanceof YAMLParseError ? cause.linePos?.[0].line : undefined;
    const argument = line === undefined ? path : `${path}:${line}`;
    throw new ConfigError({
      argument,
      received: `an error: ${printable(received)}`,
      expected: 'valid YAML or JSON',
      cause,
    });
  }
}
