/** Configuration files: YAML, of which JSON is a part. */
import { parse, YAMLParseError } from 'yaml';
import { ConfigError, printable } from '../errors.ts';
import { readWholeText } from '../files/regular-file.ts';

/** Ten times what a configuration has. The library takes the square of the number of keys to find one that is there twice. */
const MAX_BYTES = 16 * 1024;

/**
 * The object that a configuration file holds; an empty file is an empty object. Nothing is checked beyond the syntax.
 * @throws FileError when the file cannot be read, is not UTF-8 or has more than 16 KiB; ConfigError, which names `file:line`,
 * when it is not one YAML mapping, has a key twice, or refers to its own parts again and again.
 */
export function readConfigFile(path: string): Record<string, unknown> {
  const text = readWholeText(path, { expected: 'a readable configuration file', most: MAX_BYTES });
  const value = parseYaml(text, path) ?? {};
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

function parseYaml(text: string, path: string): unknown {
  try {
    return parse(text, { logLevel: 'error' });
  } catch (cause) {
    // The library adds a drawing of the place below its first line.
    const [received = ''] = (cause as Error).message.split('\n');
    const line = cause instanceof YAMLParseError ? cause.linePos?.[0].line : undefined;
    const argument = line === undefined ? path : `${path}:${line}`;
    throw new ConfigError({ argument, received: `this: ${printable(received)}`, expected: 'YAML or JSON', cause });
  }
}
