/** Hostile GGUF files: a typed error or a good model, little memory, and never long. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { GgufError, PalmError } from '../../src/errors.ts';
import { openGguf } from '../../src/files/gguf/gguf.ts';
import { bytesOf } from '../../src/files/number-formats.ts';
import { openGgufModel } from '../../src/import/gguf/model.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { gguf, MALFORMED, TYPES, text, u32, u64 } from '../gguf-file.ts';
import { mutated } from './mutate.ts';
import { record, times } from './report.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'palm-hostile-gguf-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'hostile.gguf');

it('files that break a rule are refused, each for its own reason', async () => {
  const files = Object.entries(MALFORMED).flatMap(([reason, all]) => all.map(([, bytes]) => [reason, bytes] as const));
  expect(files.length).toBeGreaterThanOrEqual(45);
  for (const [reason, bytes] of files) {
    writeFileSync(path, bytes);
    const error = await openGguf(path).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(GgufError);
    expect((error as GgufError).reason).toBe(reason);
  }
  record({
    promise: 'a GGUF file that breaks a rule of the format is refused, with a reason that is stable',
    fault: `hand-made files for ${Object.keys(MALFORMED).length} reasons`,
    times: files.length,
    outcome: 'each refused for its reason',
  });
});

describe('a header of up to 64 MiB', () => {
  const key = (encoded: Buffer) => gguf({ metadata: [['k', encoded]] });
  const words = (count: number, bytes: number) =>
    Buffer.concat([
      u32(TYPES.list),
      u32(TYPES.text),
      u64(count),
      Buffer.alloc(count * (8 + bytes), text('é'.repeat(bytes / 2))),
    ]);
  const keys = (count: number) => {
    const pairs = Array.from({ length: count }, (_, i) =>
      Buffer.concat([text(String(i)), u32(TYPES.u8), Buffer.from([1])]),
    );
    return Buffer.concat([gguf({ keyCount: 0 }).subarray(0, 16), u64(count), ...pairs, Buffer.alloc(64)]);
  };
  const tensors = Array.from({ length: 99_999 }, (_, i) => ({
    name: `${'x'.repeat(500)}${i}`,
    sizes: [1],
    offset: 32 * i,
  }));
  const numbers = (type: number, count: number, bytes: number) =>
    Buffer.concat([u32(TYPES.list), u32(type), u64(count), Buffer.alloc(count * bytes)]);
  const large: [what: string, make: () => Buffer][] = [
    ['a text of 60 MB', () => key(Buffer.concat([u32(TYPES.text), u64(60e6), Buffer.alloc(60e6, 'é')]))],
    ['4 million empty texts', () => key(words(3_999_990, 0))],
    ['4 million texts of a character', () => key(words(3_999_990, 2))],
    ['60 million booleans', () => key(numbers(TYPES.bool, 60_000_000, 1))],
    ['8 million doubles', () => key(numbers(TYPES.f64, 8_000_000, 8))],
    ['a million keys', () => keys(1_000_000)],
    ['100,000 tensors with long names', () => gguf({ tensors, data: Buffer.alloc(32) })],
  ];
  it('takes less than six times its size and 64 MiB in memory', () => {
    const script = `
      import { readFileSync } from 'node:fs';
      import { openGguf } from './src/files/gguf/gguf.ts';
      const before = process.memoryUsage.rss();
      const begin = process.cpuUsage();
      const outcome = await openGguf(process.argv[1]).then(() => 'read', (error) => error.code);
      const { user, system } = process.cpuUsage(begin);
      // Not maxRSS of getrusage, which counts the parent's memory before exec.
      const peak = /VmHWM:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1] * 1024;
      const growth = peak - before;
      console.log(JSON.stringify({ outcome, growth, seconds: (user + system) / 1e6 }));`;
    const tried = large.slice(0, times(2, large.length));
    let [worst, slowest] = [0, 0];
    for (const [what, make] of tried) {
      writeFileSync(path, make());
      const args = ['--import', 'tsx', '--input-type=module', '-e', script, path];
      const { outcome, growth, seconds } = JSON.parse(
        execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' }),
      );
      expect(['read', 'ERR_GGUF'], what).toContain(outcome);
      expect(growth, what).toBeLessThan(6 * statSync(path).size + 64 * 2 ** 20);
      expect(seconds, what).toBeLessThan(15);
      worst = Math.max(worst, growth / statSync(path).size);
      slowest = Math.max(slowest, seconds);
    }
    record({
      promise: 'a hostile GGUF header takes less than six times its size and 64 MiB in memory',
      fault: tried.map(([what]) => what).join(', '),
      times: tried.length,
      outcome: `at most ${worst.toFixed(2)} times the size of the file and ${slowest.toFixed(1)} s`,
    });
  });
});

describe('changed at random', () => {
  const originals = ['llama', 'gemma3', 'gpt2'].map((name) =>
    readFileSync(join(root, `test/fixtures/gguf/${name}.gguf`)),
  );

  /** Reads all that a model needs. */
  async function read(): Promise<void> {
    await using model = await openGgufModel(path);
    for (const { shape, dtype, reader } of model.tensors.values()) {
      await reader()(
        new Uint8Array(
          bytesOf(
            dtype,
            shape.reduce((product, size) => product * size, 1),
          ),
        ),
      );
    }
    const tokenizer = await loadTokenizer(path);
    tokenizer.decode(tokenizer.encode('ab ab</s> \u{1f600} c'));
  }

  it('nothing changed is read', async () => {
    for (const original of originals) {
      writeFileSync(path, original);
      await read();
    }
  });

  const count = times(1000, 100_000);
  it('is read or refused with a typed error', { timeout: times(300_000, 7_200_000) }, async () => {
    const random = new Random(7);
    const reasons = new Set<string>();
    let [good, slowest] = [0, 0];
    for (let i = 0; i < count; i++) {
      const original = originals[i % originals.length] as Buffer;
      const begin = 4000 + random.int(2000);
      writeFileSync(path, Buffer.concat([mutated(original.subarray(0, begin), random), original.subarray(begin)]));
      const before = process.cpuUsage();
      const error = await read().then(
        () => undefined,
        (error: unknown) => error,
      );
      const { user, system } = process.cpuUsage(before);
      slowest = Math.max(slowest, (user + system) / 1e6);
      if (error === undefined) good++;
      else if (error instanceof GgufError) reasons.add(error.reason);
      else if (!(error instanceof PalmError)) throw new Error(`change ${i}`, { cause: error });
    }
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(slowest).toBeLessThan(1);
    expect(good).toBeGreaterThan(0);
    expect(good).toBeLessThan(count / 2);
    expect(reasons.size).toBeGreaterThanOrEqual(times(8, 12));
    record({
      promise: 'a damaged file is refused with a typed error in less than a second: GGUF',
      fault: 'one to four random changes to the header of a valid model: bytes, parts, values',
      times: count,
      outcome: `${count - good} refused with typed errors, of ${reasons.size} reasons, ${good} still valid, no prototype changed`,
    });
  });
});
