/** What npm runs in a clone: `npm ci` builds, and `npx` must not. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

function prepare(folder: string) {
  const env = { ...process.env, npm_command: 'exec', PATH: '/nowhere' }; // no compiler can be found
  return spawnSync(process.execPath, [join(folder, 'scripts/prepare.mjs')], { env, encoding: 'utf8' });
}

it('does nothing for npx in a built clone (npx-in-clone)', () => {
  expect(prepare('.')).toMatchObject({ status: 0, stdout: '', stderr: '' });
});

it('says what is missing in a clone that is not built (npx-in-clone)', () => {
  const clone = mkdtempSync(join(tmpdir(), 'palm-clone-'));
  cpSync('scripts', join(clone, 'scripts'), { recursive: true });
  const { status, stderr } = prepare(clone);
  rmSync(clone, { recursive: true });
  expect(status).toBe(1);
  expect(stderr).toMatch(/npm ci/);
});
