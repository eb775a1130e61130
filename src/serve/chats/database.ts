/** SQLite, by Node's own module where it has one and else by the package libsql: the few calls that both have. */
import { ConfigError, FileError } from '../../errors.ts';

/** A value of a column. */
export type Value = string | number | null;

/** A connection, as node:sqlite and libsql both have it. */
export interface Driver {
  exec(sql: string): unknown;
  prepare(sql: string): { all(...values: Value[]): unknown[]; run(...values: Value[]): unknown };
  close(): unknown;
}
/** Opens the file `path`. */
type Open = (path: string) => Driver;
/** Where a driver may come from; undefined if it is not there. */
export type DriverSource = () => Promise<Open | undefined>;

/** Part of Node.js from 22.13 on. */
export const fromNode: DriverSource = async () => {
  const found = process.getBuiltinModule('node:sqlite') as { DatabaseSync: new (path: string) => Driver } | undefined;
  return found && ((path) => new found.DatabaseSync(path));
};
/** An optional package for older ones. */
export const fromLibsql: DriverSource = async () => {
  const found = await import('libsql').catch(() => undefined);
  return found && ((path) => new found.default(path) as Driver);
};

/** A database that this process alone writes to: what is committed is on disk. */
export class Database {
  readonly path: string;
  readonly #driver: Driver;
  readonly #statements = new Map<string, ReturnType<Driver['prepare']>>();
  #inTransaction = false;

  private constructor(path: string, driver: Driver) {
    this.path = path;
    this.#driver = driver;
  }

  /**
   * Opens the file `path`, or creates it.
   * @throws ConfigError if there is no driver
   * @throws FileError unless the file is a database
   */
  static async open(path: string, sources: readonly DriverSource[] = [fromNode, fromLibsql]): Promise<Database> {
    const open = await firstOf(sources);
    try {
      const driver = open(path);
      // FULL: a commit returns once its log is on disk. secure_delete: what is deleted is overwritten.
      driver.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 0');
      driver.exec('PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON');
      return new Database(path, driver);
    } catch (error) {
      throw failed(path, error);
    }
  }

  /** Runs statements without values. */
  exec(sql: string): void {
    this.#driver.exec(sql);
  }

  /** The rows that a query gives. */
  all(sql: string, ...values: Value[]): unknown[] {
    return this.#prepared(sql).all(...values);
  }

  run(sql: string, ...values: Value[]): void {
    this.#prepared(sql).run(...values);
  }

  /**
   * Does `work` as a whole, or not at all; it is on disk when this returns. Within another transaction it is a part of that one.
   * @throws FileError if the file cannot be written; what `work` throws
   */
  transaction<T>(work: () => T): T {
    if (this.#inTransaction) return work();
    this.#turn('BEGIN IMMEDIATE');
    this.#inTransaction = true;
    try {
      const result = work();
      this.#turn('COMMIT');
      return result;
    } catch (error) {
      this.#rollBack();
      throw error;
    } finally {
      this.#inTransaction = false;
    }
  }

  /** Empties the log, in which text that was deleted may still be. */
  emptyLog(): void {
    this.all('PRAGMA wal_checkpoint(TRUNCATE)');
  }

  close(): void {
    this.#statements.clear();
    this.#driver.close();
  }

  #prepared(sql: string) {
    const known = this.#statements.get(sql) ?? this.#driver.prepare(sql);
    this.#statements.set(sql, known);
    return known;
  }

  /** Begins or ends a transaction. */
  #turn(sql: string): void {
    try {
      this.exec(sql);
    } catch (error) {
      throw failed(this.path, error);
    }
  }

  #rollBack(): void {
    try {
      this.exec('ROLLBACK');
    } catch {
      // SQLite has rolled back by itself, as when the disk is full; the first error is the one to report.
    }
  }
}

async function firstOf(sources: readonly DriverSource[]): Promise<Open> {
  for (const source of sources) {
    const found = await source();
    if (found !== undefined) return found;
  }
  throw new ConfigError({
    argument: 'SQLite',
    received: `Node.js ${process.versions.node}, which has no node:sqlite`,
    expected: 'Node.js 22.13 or later, or the package libsql',
    fix: 'Install it with: npm i libsql',
  });
}

function failed(path: string, cause: unknown): FileError {
  const received = cause instanceof Error ? cause.message : String(cause);
  const expected = 'a SQLite database that can be written';
  const fix = 'Check the file and the room on its disk, or choose another folder.';
  return new FileError({ argument: path, received, expected, fix, cause });
}
