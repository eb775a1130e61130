import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openCheckpoints } from '../src/checkpoint/checkpoints.ts';
import { makeFolder } from '../src/folder.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-folder-'));
afterAll(() => rmSync(folder, { recursive: true }));

const refused = (path: string) => expect.objectContaining({ code: 'ERR_FILE', argument: path });

describe('a folder to write to', () => {
  it('is made with those above it, and may be there', () => {
    const path = join(folder, 'a', 'b', 'c');
    for (const again of [path, path, relative('.', join(folder, 'd', 'e'))]) makeFolder(again);
    expect([path, join(folder, 'd', 'e')].map((made) => existsSync(made))).toEqual([true, true]);
  });

  it('that the system refuses is an error at once', async () => {
    expect(() => makeFolder('/proc/xx')).toThrow(refused('/proc/xx'));
    expect(() => makeFolder('/proc/xx/yy')).toThrow(refused('/proc/xx/yy'));
    await expect(openCheckpoints({ directory: '/proc/xx', parts: {} })).rejects.toEqual(refused('/proc/xx'));
  });

  it('is no file, and in none', () => {
    const plain = join(folder, 'plain');
    writeFileSync(plain, '');
    for (const path of [plain, join(plain, 'run')]) expect(() => makeFolder(path)).toThrow(refused(path));
    const dangling = join(folder, 'dangling');
    symlinkSync(join(folder, 'nowhere'), dangling);
    expect(() => makeFolder(dangling)).toThrow(refused(dangling));
  });
});
