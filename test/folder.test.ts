import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openCheckpoints } from '../src/checkpoint/checkpoints.ts';
import { makeOut } from '../src/runs/run-directory.ts';
import { makeFolder } from '../src/files/folder.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-folder-'));
afterAll(() => rmSync(folder, { recursive: true }));

const refused = (code: string) => expect.objectContaining({ code });

describe('a folder to write to', () => {
  it('is created with its parents, and may exist already', () => {
    const path = join(folder, 'a', 'b', 'c');
    const other = join(folder, 'd', 'e');
    for (const again of [path, path, relative('.', other)]) makeFolder(again);
    expect([path, other].map((made) => existsSync(made))).toEqual([true, true]);
  });

  it('fails at once if the system refuses it, as --out and for checkpoints', async () => {
    for (const path of ['/proc/xx', '/proc/xx/yy']) {
      expect(() => makeFolder(path)).toThrow(refused('ERR_FILE'));
      expect(() => makeOut(path)).toThrow(refused('ERR_FILE'));
      await expect(openCheckpoints({ directory: path, parts: {} })).rejects.toEqual(refused('ERR_FILE'));
    }
  });

  it('cannot be a file or lie below one', () => {
    const plain = join(folder, 'plain');
    writeFileSync(plain, '');
    const dangling = join(folder, 'dangling');
    symlinkSync(join(folder, 'nowhere'), dangling);
    for (const path of [plain, dangling]) expect(() => makeFolder(path)).toThrow(refused('ERR_FILE'));
    for (const path of [plain, dangling, join(plain, 'run')]) expect(() => makeOut(path)).toThrow(refused('ERR_FILE'));
  });
});
