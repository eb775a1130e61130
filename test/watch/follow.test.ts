/** Following files that grow, are cut back and go: what is known is always what reading the whole file gives. */
import { appendFileSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { DataError, FileError } from '../../src/errors.ts';
import { FollowedFile, type Lines } from '../../src/watch/follow.ts';
import { MetricLines } from '../../src/watch/metric-lines.ts';
import { readSample, SampleLines } from '../../src/watch/sample-lines.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-follow-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

/** Everything that is known of a file of metrics. */
function known(lines: MetricLines) {
  const series = [...lines.series].map(([name, each]) => {
    const { count, total, marks, recent } = each;
    return { name, count, total, marks, recent, pieces: each.pieces() };
  });
  return { steps: lines.steps, damaged: lines.damaged, series };
}

async function whole(path: string) {
  const lines = new MetricLines();
  await new FollowedFile(path, lines).advance();
  return known(lines);
}

/** A line of a run: mostly the same metrics, sometimes others, and now and then something odd. */
function lineOf(random: Random, step: number): string {
  const row: Record<string, number | null> = { step, loss: random.next() * 10 ** (random.int(60) - 30), kl: step / 3 };
  if (random.int(5) === 0) row.validationLoss = -random.next();
  if (random.int(7) === 0) row.loss = null;
  if (random.int(9) === 0) row[`score."${random.int(3)}" ü`] = random.int(1e6);
  const text = JSON.stringify(row);
  const odd = ['{', '[]', 'null', '{"step":"x"}', text.replace(':', ': ')];
  return `${random.int(40) === 0 ? odd[random.int(odd.length)] : text}\n`;
}

describe('a followed file', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'is known as the whole file is, after appends, cuts and removals: seed %d',
    async (seed) => {
      const random = new Random(seed);
      const path = at(`metrics-${seed}.jsonl`);
      const lines = new MetricLines();
      const file = new FollowedFile(path, lines);
      let text = '';
      let step = 0;
      const append = () => {
        let more = '';
        for (let i = random.int(40); i >= 0; i--) more += lineOf(random, ++step);
        // Half a line may be gone on with by the next append, or stay damaged.
        const cut = random.int(3) === 0 ? 1 + random.int(20) : 0;
        const part = more.slice(0, more.length - cut);
        text += part;
        appendFileSync(path, part);
      };
      const actions: (() => void)[] = [
        ...Array.from({ length: 7 }, () => append),
        () => {
          const bytes = random.int(Buffer.byteLength(text) + 1);
          text = Buffer.from(text).subarray(0, bytes).toString();
          writeFileSync(path, '', { flag: 'a' });
          truncateSync(path, bytes);
          step = random.int(step + 1); // as a resumed run, which goes back by some steps
          if (random.int(2) === 0) append();
        },
        () => {
          rmSync(path, { force: true });
          [text, step] = ['', 0];
        },
        () => {
          [text, step] = [lineOf(random, 1), 1];
          writeFileSync(`${path}.tmp`, text);
          renameSync(`${path}.tmp`, path);
        },
      ];
      for (let round = 0; round < 120; round++) {
        (actions[random.int(actions.length)] as () => void)();
        if (random.int(3) > 0) await file.advance();
        if (random.int(8) === 0) {
          await file.advance();
          expect(known(lines)).toEqual(await whole(path));
        }
      }
    },
  );

  it('is not read again while nothing has changed, and waits for the end of its last line', async () => {
    const path = at('growing.jsonl');
    const lines = new MetricLines();
    const file = new FollowedFile(path, lines);
    expect(await file.advance()).toEqual({ read: 0, again: false });
    appendFileSync(path, '{"step":1,"loss":3}\n{"step":2,"lo');
    expect(await file.advance()).toEqual({ read: 20, again: false });
    expect(await file.advance()).toEqual({ read: 0, again: false });
    appendFileSync(path, 'ss":2.5}\n');
    expect(await file.advance()).toEqual({ read: 22, again: false });
    expect(lines.series.get('loss')?.recent).toEqual([3, 2.5]);
  });

  it('begins again when it was cut back, also if it has grown since, and when it was removed or replaced', async () => {
    const path = at('cut.jsonl');
    const lines = new MetricLines();
    const file = new FollowedFile(path, lines);
    const rows = (from: number, to: number, loss: number) =>
      Array.from({ length: to - from }, (_, i) => `{"step":${from + i},"loss":${loss}}\n`).join('');
    const steps = async (text: string) => {
      writeFileSync(path, text);
      const { again } = await file.advance();
      return [lines.steps, lines.series.get('loss')?.total, again];
    };
    expect(await steps(rows(1, 10, 1))).toEqual([9, 9, false]);
    expect(await steps(rows(1, 5, 1))).toEqual([4, 4, true]);
    expect(await steps(rows(1, 3, 1) + rows(3, 30, 2))).toEqual([29, 56, true]);
    writeFileSync(`${path}.new`, rows(1, 30, 3));
    renameSync(`${path}.new`, path);
    expect((await file.advance()).again).toBe(true);
    expect(lines.series.get('loss')?.total).toBe(87);
    rmSync(path);
    expect((await file.advance()).again).toBe(true);
    expect([lines.steps, lines.series.size]).toEqual([0, 0]);
    expect((await file.advance()).again).toBe(false);
  });

  it('may have lines longer than what is read at once, but not endless ones', async () => {
    const path = at('long.jsonl');
    const seen: number[] = [];
    const lines: Lines = { reset: () => {}, add: (bytes, offset) => void seen.push(offset, bytes.length) };
    writeFileSync(path, `${'a'.repeat(9_000_000)}\nb\n${'c'.repeat(5_000_000)}\n`);
    await new FollowedFile(path, lines).advance();
    expect(seen.filter((_, i) => i % 2 === 1).reduce((sum, length) => sum + length)).toBe(14_000_004);
    writeFileSync(path, `x\n${'a'.repeat(70 * 2 ** 20)}`);
    const error = await new FollowedFile(path, lines).advance().catch((found: unknown) => found);
    expect(error).toBeInstanceOf(DataError);
    expect(String(error)).toContain('a line of more than 67108864 bytes at byte 2');
  });

  it('that cannot be read is an error that names it', async () => {
    const error = await new FollowedFile(folder, new MetricLines()).advance().catch((found: unknown) => found);
    expect(error).toBeInstanceOf(FileError);
    expect(String(error)).toContain(folder);
  });
});

describe('lines of metrics', () => {
  const read = (...rows: string[]) => {
    const lines = new MetricLines();
    lines.add(Buffer.from(`${rows.join('\n')}\n`));
    return lines;
  };
  const lastOf = (text: string) => read(`{"step":1,"x":${text}}`).series.get('x')?.recent[0];

  it('have numbers as JSON does: exact up to 15 digits, and else right to two units in the last place', () => {
    const random = new Random(1);
    const exact = ['0', '-0', '7', '1e3', '2E-3', '-1.5e+2', '123456789012345', '0.000123', '1e-22', '1e22', '5e-324'];
    for (const text of [...exact, '0.1', '1e-40']) expect([text, lastOf(text)]).toEqual([text, JSON.parse(text)]);
    for (let i = 0; i < 20_000; i++) {
      const value = (random.next() - 0.5) * 10 ** (random.int(60) - 30);
      const float = i % 2 === 0 ? value : Math.fround(value);
      const found = lastOf(JSON.stringify(float)) as number;
      expect(Math.abs(found - float)).toBeLessThanOrEqual(2 * 2.3e-16 * Math.abs(float));
    }
  });

  it('may change their metrics, have nulls, names of any kind, and blanks', () => {
    const lines = read(
      '{"step":1,"a":1,"b":2}',
      '{"step":2,"b":3,"a":null}',
      '{"step":3,"c.\\"d":4,"ü":5,"a":6}',
      ' {"step": 4, "a": 7, "b": "text"}',
    );
    expect([lines.steps, lines.damaged]).toEqual([4, 0]);
    const found = [...lines.series].map(([name, { count, recent }]) => [name, count, recent]);
    expect(found).toEqual([
      ['a', 4, [1, 6, 7]],
      ['b', 3, [2, 3]],
      ['c."d', 1, [4]],
      ['ü', 1, [5]],
    ]);
  });

  it('that are damaged are counted, and so are steps that go back', () => {
    const lines = read(
      '{"step":1,"a":1}',
      '{"step":2,"a":',
      '{"a":3}',
      '[1]',
      '',
      '{"step":1,"a":4}',
      '{"step":3,"a":5}',
    );
    expect([lines.steps, lines.damaged]).toEqual([3, 5]);
    expect(lines.series.get('a')?.recent).toEqual([1, 5]);
  });
});

describe('lines of samples', () => {
  it('are known by step, prompt and numbers, and read whole from the file when they are shown', async () => {
    const path = at('samples.jsonl');
    const token = { id: 5, text: ',"tokens":[', logRatio: 0.5 };
    const rows = [
      { step: 5, prompt: 'Tiger, "tiger"', response: ',"tokens":[', score: 1, kl: null, tokens: [token] },
      { step: 5, prompt: [1, 2], response: [3] },
      { step: 10, prompt: 'Tiger, "tiger"', response: 'burning', score: 2, kl: 0.5, tokens: [] },
    ];
    writeFileSync(path, `${rows.map((row) => JSON.stringify(row)).join('\n')}\n{"step":1}\n?\n`);
    const lines = new SampleLines();
    const file = new FollowedFile(path, lines);
    await file.advance();
    expect(lines.prompts).toEqual(['Tiger, "tiger"', '[1,2]']);
    expect(lines.damaged).toBe(2);
    expect(lines.all.map(({ step, prompt, score, kl, hasTokens }) => [step, prompt, score, kl, hasTokens])).toEqual([
      [5, 0, 1, undefined, true],
      [5, 1, undefined, undefined, false],
      [10, 0, 2, 0.5, true],
    ]);
    for (const [i, known] of lines.all.entries()) expect(await readSample(path, known)).toEqual(rows[i]);
    const last = lines.all[2];
    truncateSync(path, 30);
    expect(last && (await readSample(path, last))).toBeUndefined();
    await file.advance();
    expect(lines.all).toEqual([]);
    rmSync(path);
    expect(last && (await readSample(path, last))).toBeUndefined();
  });
});
