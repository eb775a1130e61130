import { isUtf8 } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { Random } from '../src/data/random.ts';
import { invalidUtf8 } from '../src/files/regular-file.ts';

describe('the first byte that is not UTF-8', () => {
  const VALID = ['a', 'é', '€', '\ud7ff', '\ue000', '😀', '\u{10ffff}', '\0'];
  const INVALID = [
    ...['80', 'bf', 'c080', 'c1bf', 'c3', 'e0809f', 'e08080', 'e282', 'eda080', 'edbfbf', 'f0808080', 'f0829080'],
    ...['f09f98', 'f4908080', 'f5808080', 'fe', 'ff', 'e228a1', 'c3c3'],
  ];

  it('is found after any characters', () => {
    const random = new Random(1);
    for (const invalid of INVALID) {
      for (let i = 0; i < 50; i++) {
        const before = Buffer.from(
          Array.from({ length: random.int(9) }, () => VALID[random.int(VALID.length)]).join(''),
        );
        const after = Buffer.from('a'.repeat(random.int(3)));
        expect(invalidUtf8(Buffer.concat([before, Buffer.from(invalid, 'hex'), after])), invalid).toBe(before.length);
        expect(invalidUtf8(before)).toBeUndefined();
      }
    }
  });

  it('exists exactly if Node.js reports invalid UTF-8', () => {
    const random = new Random(2);
    for (let i = 0; i < 20_000; i++) {
      const bytes = Uint8Array.from(
        { length: 1 + random.int(4) },
        () => [random.int(256), 128 + random.int(64)][i % 2] as number,
      );
      bytes[0] = 192 + random.int(64);
      expect(invalidUtf8(bytes) === undefined).toBe(isUtf8(bytes));
    }
  });
});
