/** Event files, read back by a decoder that shares no code with the writer. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { FileError } from '../src/errors.ts';
import { crc32c, TensorBoardMetrics } from '../src/metrics/tensorboard.ts';

let folder = mkdtempSync(join(tmpdir(), 'palm-tensorboard-'));
afterEach(() => {
  rmSync(folder, { recursive: true });
  folder = mkdtempSync(join(tmpdir(), 'palm-tensorboard-'));
});

/** The fields of a message: numbers, or the bytes of strings and messages, by field number. */
function fieldsOf(bytes: Buffer): [field: number, value: number | Buffer][] {
  const fields: [number, number | Buffer][] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const [field, type] = [key >> 3, key & 7];
    if (type === 0) fields.push([field, varint()]);
    else {
      const length = type === 2 ? varint() : type === 1 ? 8 : 4;
      const content = bytes.subarray(at, at + length);
      expect(content).toHaveLength(length);
      at += length;
      fields.push([field, type === 2 ? content : type === 1 ? content.readDoubleLE() : content.readFloatLE()]);
    }
  }
  return fields;
}

/** CRC-32C bit by bit, and the mask of TFRecord. */
function masked(bytes: Buffer): number {
  let sum = 0xffffffffn;
  for (const byte of bytes) {
    sum ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) sum = (sum >> 1n) ^ (sum & 1n ? 0x82f63b78n : 0n);
  }
  sum ^= 0xffffffffn;
  return Number((((sum >> 15n) | (sum << 17n)) + 0xa282ead8n) & 0xffffffffn);
}

/** The events of the only event file. */
function events() {
  const names = readdirSync(folder);
  expect(names).toEqual([expect.stringMatching(/^events\.out\.tfevents\.\d+\.\d+$/)]);
  const bytes = readFileSync(join(folder, names[0] as string));
  const all: Record<string, unknown>[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).toBe(masked(bytes.subarray(at, at + 8)));
    const content = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(masked(content));
    at += 16 + length;
    all.push(
      Object.fromEntries(fieldsOf(content).map(([field, value]) => [NAMES[field] ?? field, decoded(field, value)])),
    );
  }
  return all;
}

const NAMES: Record<number, string> = { 1: 'time', 2: 'step', 3: 'version', 5: 'scalars', 7: 'session' };

function decoded(field: number, value: number | Buffer): unknown {
  if (typeof value === 'number') return value;
  if (field === 3) return value.toString();
  if (field === 7) return fieldsOf(value);
  return Object.fromEntries(
    fieldsOf(value).map(([, each]) => {
      const [[, tag], [, number]] = fieldsOf(each as Buffer) as [[number, Buffer], [number, number]];
      return [tag.toString(), number];
    }),
  );
}

describe('an event file', () => {
  it('holds the numbers of every step, with valid checksums', async () => {
    const sink = new TensorBoardMetrics(folder, () => 1_700_000_000_500);
    sink.write({ step: 1, loss: 0.5, validationLoss: undefined, timing: { seconds: 2 } });
    sink.write({ step: 300_000, loss: Number.NaN, samples: [{ prompt: 'a', response: 'b' }] });
    await sink.flush();
    await sink.close();
    await sink.close();
    const time = 1_700_000_000.5;
    expect(events()).toEqual([
      { time, step: 0, version: 'brain.Event:2' },
      { time, step: 1, session: [[1, 1]] },
      { time, step: 1, scalars: { loss: 0.5, 'timing/seconds': 2 } },
      { time, step: 300_000, scalars: { loss: Number.NaN } },
    ]);
  });

  it('begins a session where steps are repeated', () => {
    const sink = new TensorBoardMetrics(folder, () => 0);
    for (const step of [4, 5, 5]) sink.write({ step, loss: step });
    expect(events().flatMap(({ session, step }) => (session === undefined ? [] : [step]))).toEqual([4, 5]);
  });

  it('is not created without a step, and names a folder that is not there', async () => {
    await new TensorBoardMetrics(folder).close();
    expect(readdirSync(folder)).toEqual([]);
    expect(() => new TensorBoardMetrics(join(folder, 'none')).write({ step: 1 })).toThrow(FileError);
  });
});

it('computes CRC-32C', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa); // RFC 3720, B.4
});
