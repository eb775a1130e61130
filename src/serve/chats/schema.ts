/** The tables of chats, and how those of earlier versions become them. */
import { renameSync, rmSync } from 'node:fs';
import * as z from 'zod';
import { FileError } from '../../errors.ts';
import { temporaryPath } from '../../files/atomic-write.ts';
import type { Database } from './database.ts';

// Texts are strings of JSON: a model may write characters, as U+0000, at which libsql would end them.
const FIRST = `
CREATE TABLE chat (
  id TEXT PRIMARY KEY,
  title TEXT NOT NULL,
  training INTEGER NOT NULL CHECK (training IN (0, 1)),
  parameters TEXT NOT NULL,
  leaf TEXT,
  created_at TEXT NOT NULL
) STRICT;
CREATE TABLE chat_message (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  chat TEXT NOT NULL REFERENCES chat ON DELETE CASCADE,
  parent TEXT REFERENCES chat_message (id) ON DELETE CASCADE,
  role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
  text TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX chat_message_chat ON chat_message (chat);
CREATE INDEX chat_message_parent ON chat_message (parent);
CREATE TABLE answer (
  message TEXT PRIMARY KEY REFERENCES chat_message (id) ON DELETE CASCADE,
  turn TEXT NOT NULL,
  place INTEGER NOT NULL,
  model TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  request TEXT NOT NULL,
  sample INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('in_progress', 'complete', 'stopped', 'failed', 'lost')),
  finish TEXT CHECK (finish IN ('stop', 'length')),
  tokens INTEGER NOT NULL,
  log_prob REAL NOT NULL,
  UNIQUE (turn, place)
) STRICT;
CREATE TABLE vote (
  seq INTEGER PRIMARY KEY,
  message TEXT NOT NULL REFERENCES chat_message (id) ON DELETE CASCADE,
  value INTEGER NOT NULL CHECK (value IN (-1, 0, 1)),
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX vote_message ON vote (message);
CREATE TABLE pick (
  seq INTEGER PRIMARY KEY,
  turn TEXT NOT NULL,
  chosen TEXT NOT NULL REFERENCES chat_message (id) ON DELETE CASCADE,
  inferior TEXT NOT NULL,
  shown TEXT NOT NULL,
  blind INTEGER NOT NULL CHECK (blind IN (0, 1)),
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX pick_chosen ON pick (chosen);
CREATE TABLE mutation (
  key TEXT PRIMARY KEY,
  request TEXT NOT NULL,
  response TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;`;

/** What makes version i + 1 of version i. A step is never changed once it has been released. */
export const MIGRATIONS: readonly string[] = [FIRST];

const versionRow = z.object({ user_version: z.number().int() });

/**
 * Brings a database to the last version. Before it changes one that has chats, it copies it to a file beside it.
 * @throws FileError if it is of a later version than this program knows
 */
export function migrate(database: Database, migrations: readonly string[] = MIGRATIONS): void {
  const { user_version: version } = versionRow.parse(database.all('PRAGMA user_version')[0]);
  if (version === migrations.length) return;
  if (version > migrations.length) throw tooNew(database.path, version, migrations.length);
  if (version > 0) copyTo(database, `${database.path}.version-${version}`);
  database.transaction(() => {
    for (const step of migrations.slice(version)) database.exec(step);
    database.exec(`PRAGMA user_version = ${migrations.length}`);
  });
}

function copyTo(database: Database, path: string): void {
  const aside = temporaryPath(path);
  try {
    database.run('VACUUM INTO ?', aside);
    renameSync(aside, path);
  } finally {
    rmSync(aside, { force: true });
  }
}

function tooNew(path: string, version: number, known: number): FileError {
  return new FileError({
    argument: path,
    received: `version ${version} of the tables`,
    expected: `version ${known} or earlier`,
    fix: 'Use the version of palm-rlhf that wrote it, or a later one.',
  });
}
