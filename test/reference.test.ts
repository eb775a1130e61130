/** docs/api.md names everything that the package exports, as it is now. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { apiReference } from '../scripts/api-reference.ts';

it('docs/api.md is what `npm run options` writes, and short enough to read', () => {
  const page = readFileSync(join(import.meta.dirname, '../docs/api.md'), 'utf8');
  expect(page).toBe(apiReference());
  expect(page.split('\n').length).toBeLessThan(720);
  expect(page).not.toMatch(/^## .*\n\n\n/m);
  expect(page).toContain('- `dpo(parts: DpoParts, options: DpoConfig, start = 0): AsyncGenerator<DpoStep>` — ');
});
