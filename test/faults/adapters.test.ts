/** Adapters changed by somebody who means no good: a typed error or a good scope, in little time. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { LanguageModel, PalmError } from '../../src/index.ts';
import { RECORDED } from '../parity/families/case.ts';
import { device } from '../device.ts';
import { mutated } from './mutate.ts';
import { record, times } from './report.ts';

const ADAPTER = join(RECORDED, '..', 'adapters', 'llama-patterns');
const folder = mkdtempSync(join(tmpdir(), 'palm-hostile-adapters-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('an adapter whose files were changed at random', () => {
  const count = times(60, 25_000);

  it.each(['adapter_config.json', 'adapter_model.safetensors'])(
    '%s',
    { timeout: times(60_000, 3_600_000) },
    async (file) => {
      using model = await LanguageModel.load(join(RECORDED, 'llama'), { device });
      cpSync(ADAPTER, folder, { recursive: true });
      const original = readFileSync(join(ADAPTER, file));
      const random = new Random(5);
      let good = 0;
      for (let i = 0; i < count; i++) {
        const content = mutated(original, random);
        writeFileSync(join(folder, file), content);
        const before = process.cpuUsage();
        try {
          await model.loadAdapter('hostile', folder);
          good++;
          model.removeScope('hostile');
        } catch (error) {
          if (!(error instanceof PalmError))
            throw new Error(`change ${i}: ${content.toString('latin1')}`, { cause: error });
        }
        const { user, system } = process.cpuUsage(before);
        expect(user + system, `change ${i}`).toBeLessThan(2e6);
        expect(model.scopes).toEqual([]);
      }
      expect(({} as { polluted?: number }).polluted).toBeUndefined();
      expect(good).toBeGreaterThan(0);
      expect(good).toBeLessThan(count);
      record({
        promise: `a damaged adapter is refused with a typed error in less than two seconds: ${file}`,
        fault: 'one to four random changes to a valid file: bytes, parts, values',
        times: count,
        outcome: `${count - good} refused with typed errors, ${good} still valid, no scope left behind, no prototype changed`,
      });
    },
  );
});

describe('a regular expression made to be slow', () => {
  it.each([
    '(a*)*b',
    '(.*)*(.*)*(.*)*x',
    '((((.{9999}){9999}){9999}){9999})',
    `${'('.repeat(5000)}`,
    '(()*)*x',
    '.*'.repeat(400_000),
  ])('%.40s', async (pattern) => {
    using model = await LanguageModel.load(join(RECORDED, 'llama'), { device });
    cpSync(ADAPTER, folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(ADAPTER, 'adapter_config.json'), 'utf8')) as object;
    for (const change of [
      { target_modules: pattern },
      { exclude_modules: pattern },
      { alpha_pattern: { [pattern]: 1 } },
    ]) {
      writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...config, ...change }));
      const before = process.cpuUsage();
      await model.loadAdapter('hostile', folder).then(
        () => model.removeScope('hostile'),
        (error) => {
          expect(error).toBeInstanceOf(PalmError);
        },
      );
      const { user, system } = process.cpuUsage(before);
      expect(user + system).toBeLessThan(4e6);
    }
  });
});
