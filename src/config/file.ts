/** Configuration files in YAML, which includes JSON. */
import { parse, YAMLParseError } from 'yaml';
import { ConfigError, printable } from '../errors.ts';
import { readWholeText } from '../files/regular-file.ts';

/** Ten times the size of a full configuration. A limit is needed because the library's check for duplicate keys is quadratic. */
const MAX_BYTES = 16 * 1024;

/**
 * Reads the object in a configuration file; an empty file gives an empty object. Checks only the syntax.
 * @throws FileError if the file cannot be read, is not UTF-8 or is larger than 16 KiB.
 * @throws ConfigError, naming `file:line`, if it is not a single YAML mapping, repeats a key, or uses too many aliases.
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
