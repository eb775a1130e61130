/** SQLite by either driver: what is committed, what is rolled back, and what is no database. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, FileError } from '../../../src/errors.ts';
import { Database, type DriverSource, fromLibsql, fromNode } from '../../../src/serve/chats/database.ts';
import { migrate, MIGRATIONS } from '../../../src/serve/chats/schema.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-database-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
const newPath = () => join(folder, `${++files}.db`);
const none: DriverSource = async () => undefined;

/** Those that this Node.js has: libsql everywhere, its own from 22.13 on. */
const sources: [string, DriverSource][] = [['libsql', fromLibsql]];
if (process.getBuiltinModule('node:sqlite') !== undefined) sources.push(['node:sqlite', fromNode]);

describe.each(sources)('a database by %s', (_name, source) => {
  let database: Database;
  beforeAll(async () => {
    database = await Database.open(newPath(), [none, source]);
    database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, number REAL) STRICT');
  });
  afterAll(() => database.close());
  const all = () => database.all('SELECT id, text, number FROM t ORDER BY id');

  it('is in WAL mode, and syncs every commit', () => {
    expect(database.all('PRAGMA journal_mode')).toMatchObject([{ journal_mode: 'wal' }]);
    expect(database.all('PRAGMA synchronous')).toMatchObject([{ synchronous: 2 }]);
  });

  it('does a transaction as a whole or not at all, also one within another', () => {
    const insert = (text: string) => database.run('INSERT INTO t (text, number) VALUES (?, ?)', text, null);
    database.transaction(() => database.transaction(() => insert('kept \u{1f600}')));
    const before = all();
    expect(before).toMatchObject([{ id: 1, text: 'kept \u{1f600}', number: null }]);
    const failing = () =>
      database.transaction(() => {
        database.transaction(() => insert('lost'));
        throw new RangeError('planted');
      });
    expect(failing).toThrow(RangeError);
    expect(all()).toEqual(before);
    expect(() => database.transaction(() => database.run('INSERT INTO t (id) VALUES (1)'))).toThrow(/UNIQUE/);
    database.transaction(() => insert('after'));
    expect(all()).toHaveLength(2);
  });

  it('refuses a file that is no database, and a folder that is not there', async () => {
    const path = newPath();
    writeFileSync(path, 'not a database, and long enough to be looked at '.repeat(100));
    await expect(Database.open(path, [source])).rejects.toThrow(FileError);
    await expect(Database.open(join(folder, 'none', 'x.db'), [source])).rejects.toThrow(FileError);
  });

  it('is copied before it is brought to a later version, and refused if it is of one', async () => {
    const path = newPath();
    const old = await Database.open(path, [source]);
    migrate(old);
    old.run("INSERT INTO chat VALUES ('a', 'Old', 1, '{}', NULL, 'then')");
    migrate(old, [...MIGRATIONS, "ALTER TABLE chat ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'"]);
    expect(old.all('SELECT title, mood FROM chat')).toMatchObject([{ title: 'Old', mood: 'calm' }]);
    const later = [...MIGRATIONS, '', 'CREATE TABLE more (id TEXT) STRICT; planted'];
    expect(() => migrate(old, later)).toThrow(/planted/);
    expect(old.all('PRAGMA user_version')).toMatchObject([{ user_version: 2 }]);
    expect(old.all("SELECT name FROM sqlite_schema WHERE name = 'more'")).toEqual([]);
    expect(() => migrate(old)).toThrow(/version 2 of the tables, expected version 1/);
    old.close();
    const copy = await Database.open(`${path}.version-1`, [source]);
    expect(copy.all('SELECT * FROM chat')).toHaveLength(1);
    expect(copy.all('PRAGMA user_version')).toMatchObject([{ user_version: 1 }]);
    expect(Object.keys(copy.all('SELECT * FROM chat')[0] as object)).not.toContain('mood');
    copy.close();
  });

  it('keeps no text that was deleted, once the log is empty', async () => {
    const path = newPath();
    const secret = await Database.open(path, [source]);
    secret.exec('CREATE TABLE s (text TEXT) STRICT');
    for (let i = 0; i < 50; i++) secret.run('INSERT INTO s VALUES (?)', `secret-${'x'.repeat(i * 100)}`);
    const kept = () => [path, `${path}-wal`].some((file) => readFileSync(file).includes('secret-'));
    expect(kept()).toBe(true);
    secret.run('DELETE FROM s');
    secret.emptyLog();
    expect(kept()).toBe(false);
    secret.close();
  });
});

it('without a driver says which package to install', async () => {
  const opened = Database.open(newPath(), [none, none]);
  await expect(opened).rejects.toThrow(ConfigError);
  await expect(opened).rejects.toThrow(/npm i libsql/);
});
