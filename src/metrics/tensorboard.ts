/**
 * Event files of TensorBoard: records of the TFRecord format, each an `Event` in protocol buffers with the scalars of a step
 * (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto).
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { checkKind, FUNCTION, PATH } from '../checks/kinds.ts';
import { asFileError } from '../files/file-error.ts';
import { type MetricsSink, type Numbers, splitStep, type StepMetrics } from './metrics.ts';

/**
 * Writes metrics and, under `timing/`, times and speeds to an event file in a run folder, for `tensorboard --logdir`. The file
 * is created with the first step. Where steps are repeated, in a resumed run or after a rollback, TensorBoard drops the earlier
 * ones.
 */
export class TensorBoardMetrics implements MetricsSink {
  readonly #directory: string;
  readonly #now: () => number;
  #file: { path: string; descriptor: number } | undefined;
  #step = Number.POSITIVE_INFINITY;

  /** @param now the time in milliseconds since 1970 */
  constructor(directory: string, now: () => number = Date.now) {
    checkKind('directory', directory, PATH);
    checkKind('now', now, FUNCTION);
    this.#directory = directory;
    this.#now = now;
  }

  /** @throws FileError if the file cannot be written. */
  write(row: StepMetrics): void {
    const { step, metrics, timing } = splitStep(row);
    if (step <= this.#step) this.#begin(step);
    this.#step = step;
    const timed = Object.entries(timing).map(([name, value]) => [`timing/${name}`, value] as const);
    const values = Object.entries({ ...metrics, ...Object.fromEntries(timed) });
    this.#append(step, bytesField(SUMMARY, Buffer.concat(values.flatMap(scalar))));
  }

  async flush(): Promise<void> {
    this.#attempt(({ descriptor }) => fsyncSync(descriptor));
  }

  async close(): Promise<void> {
    this.#attempt(({ descriptor }) => closeSync(descriptor));
    this.#file = undefined;
  }

  /** Opens the file, and says that the steps from `step` on follow. */
  #begin(step: number): void {
    if (this.#file === undefined) {
      const path = join(this.#directory, `events.out.tfevents.${Math.floor(this.#now() / 1000)}.${process.pid}`);
      try {
        this.#file = { path, descriptor: openSync(path, 'a') };
      } catch (error) {
        throw asFileError(error, path, 'a file to append to');
      }
      this.#append(0, bytesField(FILE_VERSION, Buffer.from('brain.Event:2')));
    }
    this.#append(step, bytesField(SESSION_LOG, intField(STATUS, START)));
  }

  #append(step: number, content: Buffer): void {
    const event = [doubleField(WALL_TIME, this.#now() / 1000), intField(STEP, step), content];
    this.#attempt(({ descriptor }) => writeSync(descriptor, record(Buffer.concat(event))));
  }

  #attempt(action: (file: { descriptor: number }) => unknown): void {
    if (this.#file === undefined) return;
    try {
      action(this.#file);
    } catch (error) {
      throw asFileError(error, this.#file.path, 'a file to append to');
    }
  }
}

/** Fields of an Event. */
const WALL_TIME = 1;
const STEP = 2;
const FILE_VERSION = 3;
const SUMMARY = 5;
const SESSION_LOG = 7;
/** Fields of a SessionLog, whose status START drops earlier events from its step on. */
const STATUS = 1;
const START = 1;
/** Fields of a Summary and of its values. */
const VALUE = 1;
const TAG = 1;
const SIMPLE_VALUE = 2;

function scalar([name, value]: [string, Numbers[string]]): Buffer[] {
  if (value === undefined) return [];
  return [bytesField(VALUE, Buffer.concat([bytesField(TAG, Buffer.from(name)), floatField(SIMPLE_VALUE, value)]))];
}

// The wire format of protocol buffers: a key of field number and type, then the value.
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

function keyOf(field: number, type: number): Buffer {
  return varint(8 * field + type);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}

function intField(field: number, value: number): Buffer {
  return Buffer.concat([keyOf(field, VARINT), varint(value)]);
}

function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([keyOf(field, FIXED64), bytes]);
}

function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([keyOf(field, FIXED32), bytes]);
}

function bytesField(field: number, content: Buffer): Buffer {
  return Buffer.concat([keyOf(field, BYTES), varint(content.length), content]);
}

/** A TFRecord: length and content, each followed by its masked checksum. */
function record(content: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(content.length));
  return Buffer.concat([length, maskedChecksum(length), content, maskedChecksum(content)]);
}

function maskedChecksum(bytes: Buffer): Buffer {
  const sum = crc32c(bytes);
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0);
  return masked;
}

/** CRC-32C (Castagnoli), polynomial 0x1EDC6F41, reflected. */
export function crc32c(bytes: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = (TABLE[(sum ^ byte) & 0xff] as number) ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0x82f63b78 : sum >>> 1;
  return sum;
});
