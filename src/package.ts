/** Where this package lies, and its version. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The path of a file or folder of this package, given from its top. Holds for the sources and for the bundle in dist/ alike. */
export function packagePath(...parts: string[]): string {
  return join(dirname(createRequire(import.meta.url).resolve('palm-rlhf/package.json')), ...parts);
}

/** The version of this package. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { version: string }).version;
}
