/** Configuration files: YAML, of which JSON is a part. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { ConfigError, FileError } from '../errors.ts';

/**
 * The object that a configuration file holds; an empty file is an empty object. Nothing is checked beyond the syntax.
 * @throws FileError when the file cannot be read, ConfigError when it is not one YAML mapping.
 */
export function readConfigFile(path: string): Record<string, unknown> {
  const value = parseYaml(readText(path), path) ?? {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    const received = Array.isArray(value) ? 'a list' : `a ${typeof value}`;
    throw new ConfigError({
      argument: path,
      received,
      expected: 'keys and values',
      fix: 'Write lines such as `steps: 100`.',
    });
  }
  return value as Record<string, unknown>;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const received = `the error ${(cause as NodeJS.ErrnoException).code}`;
    throw new FileError({ argument: path, received, expected: 'a readable file', fix: 'Check the path.', cause });
  }
}

function parseYaml(text: string, path: string): unknown {
  try {
    return parse(text, { logLevel: 'error' });
  } catch (cause) {
    // The library adds a drawing of the place below its first line.
    const [received] = (cause as Error).message.split('\n');
    throw new ConfigError({ argument: path, received: `this: ${received}`, expected: 'YAML or JSON', cause });
  }
}
