import type { Random } from '../../src/data/random.ts';

/** What is put into files of every kind: ends, numbers without end, names that objects give a meaning, broken characters. */
const SNIPPETS = [
  ...'{ } [ ] , : " \\ \' # | >-'.split(' '),
  ...['\n', '\r\n', '\t', ' ', '\0', '\x7f', '\xff', '\xef\xbb\xbf', '\xed\xa0\x80'],
  ...'-1 0 1e999 -0 1.5 9007199254740993 99999999999999999999 NaN null true [] {} ""'.split(' '),
  ...[
    '"__proto__":{"polluted":1},',
    '"constructor":{"prototype":{"polluted":1}},',
    '"toString"',
    '"\\ud800"',
    '"\\u0000"',
  ],
  ...['[[[[[[[[', '{"a":{"a":{"a":', '&a ', '*a', '<<: *a', '!!binary ', '- ', '? ', '---\n', '%YAML 1.1\n'],
];

/** What takes the place of a name, a text or a number in JSON, which stays JSON then. */
const VALUES = [
  ...'0 -1 1 2.5 1e999 2147483648 9007199254740993 null true [] {} [[]] {"a":0}'.split(' '),
  ...'"" "a" "\\ud800" "\\u0000" "__proto__" "constructor" "length" "F32" "type" "Sequence"'.split(' '),
];
const VALUE = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null/g;

/**
 * `original` with one to four changes. Half of the time other values, so that what comes after the syntax is reached; else
 * anything: a byte, the end cut off, a part left out, put in again or in another place.
 */
export function mutated(original: Buffer, random: Random): Buffer {
  let bytes = original;
  if (random.int(2) === 0) {
    for (let count = 1 + random.int(2); count > 0; count--) bytes = otherValue(bytes, random);
    return bytes;
  }
  for (let count = 1 + random.int(4); count > 0 && bytes.length > 0; count--) bytes = change(bytes, random);
  return bytes;
}

function change(bytes: Buffer, random: Random): Buffer {
  const at = random.int(bytes.length);
  const other = random.int(bytes.length + 1);
  const length = random.int(40);
  switch (random.int(6)) {
    case 0:
      return splice(bytes, at, 1, Buffer.from([random.int(256)]));
    case 1:
      return bytes.subarray(0, at);
    case 2:
      return splice(bytes, at, length, Buffer.alloc(0));
    case 3:
      return splice(bytes, at, 0, bytes.subarray(other, other + length));
    case 4:
      return splice(bytes, at, length, bytes.subarray(other, other + length));
    default: {
      const snippet = Buffer.from(SNIPPETS[random.int(SNIPPETS.length)] as string, 'latin1');
      return splice(bytes, at, random.int(2) * snippet.length, snippet);
    }
  }
}

function otherValue(bytes: Buffer, random: Random): Buffer {
  const text = bytes.toString('latin1');
  const values = [...text.matchAll(VALUE)];
  const old = values[random.int(Math.max(1, values.length))];
  if (old === undefined) return bytes;
  const put = (VALUES[random.int(VALUES.length)] as string).padEnd(old[0].length); // headers stay as long as they were
  return splice(bytes, old.index, old[0].length, Buffer.from(put, 'latin1'));
}

function splice(bytes: Buffer, at: number, gone: number, put: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + gone)]);
}
