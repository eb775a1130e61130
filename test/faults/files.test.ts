/** Files from outside, made or changed by somebody who means no good: a typed error or a good result, and never much memory. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyCheckpoint, writeCheckpoint } from '../../src/checkpoint/checkpoint.ts';
import { type Manifest, manifestText } from '../../src/checkpoint/manifest.ts';
import { openSafetensors, planSafetensors } from '../../src/files/safetensors/safetensors.ts';
import { readConfigFile } from '../../src/config/file.ts';
import { mergeFlags } from '../../src/config/flags.ts';
import { ppoConfig } from '../../src/config/ppo.ts';
import { parseConfig } from '../../src/config/schema.ts';
import { loadPreferences } from '../../src/data/preferences.ts';
import { loadPrompts } from '../../src/data/prompts.ts';
import { Random } from '../../src/data/random.ts';
import { FileError, PalmError, SafetensorsError } from '../../src/errors.ts';
import { PaLM } from '../../src/models/palm.ts';
import { RewardModel } from '../../src/models/reward-model.ts';
import { ByteTokenizer } from '../../src/tokenizer/byte.ts';
import { ChatTemplate } from '../../src/tokenizer/chat-template.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { device } from '../device.ts';
import { fileOf, MALFORMED, tensor } from '../malformed-safetensors.ts';
import { mutated } from './mutate.ts';
import { record, times } from './report.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'palm-files-'));
afterAll(() => rmSync(folder, { recursive: true }));
const inFolder = (name: string) => join(folder, name);
const bytes = new ByteTokenizer();

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('safetensors that break a rule', () => {
  it('are refused, each for its own reason', async () => {
    const files = Object.entries(MALFORMED).flatMap(([reason, list]) => list.map(([, content]) => [reason, content]));
    expect(files.length).toBeGreaterThanOrEqual(60);
    for (const [reason, content] of files) {
      writeFileSync(inFolder('malformed'), content as Buffer);
      const error = await errorOf(openSafetensors(inFolder('malformed')));
      expect(error).toBeInstanceOf(SafetensorsError);
      expect((error as SafetensorsError).reason).toBe(reason);
    }
    record({
      promise: 'a safetensors file that breaks a rule of the format is refused, with a reason that is stable',
      fault: `hand-made files for ${Object.keys(MALFORMED).length} reasons`,
      times: files.length,
      outcome: 'each refused for its reason',
    });
  });

  // As many bytes of data as of header: with fewer such a header is refused before it is read.
  const withData = (header: string) => fileOf(header, header.length);
  const many = (count: number, last: string, name = (i: number) => `layers.${i}.norm`) => {
    const tensors = Array.from({ length: count }, (_, i) => tensor(name(i), '[1]', `[${i},${i + 1}]`, 'U8'));
    return withData(`{${tensors.join()},${last}}`);
  };
  const long = (i: number) => `${'x'.repeat(600)}${i}`;
  const large: [what: string, make: () => Buffer, reason: string][] = [
    ['a million tensors', () => many(1e6, tensor('a', '[0]', '[0,0]')), 'too-many-tensors'],
    ['a name of 90 MB', () => withData(`{${tensor('x'.repeat(90e6), '[]', '[0,9]')}}`), 'bad-string'],
    ['a header of 90 MB and no data', () => fileOf(' '.repeat(90e6)), 'header-too-large'],
    ['long names, one of them twice', () => many(99_999, tensor(long(7), '[0]', '[0,0]'), long), 'duplicate-key'],
    ['long names of tensors that overlap', () => many(99_999, tensor('a', '[1]', '[5,6]', 'U8'), long), 'overlap'],
    ['a shape of fifty million sizes', () => withData(`{"a":{"shape":[${'1,'.repeat(49e6)}`), 'bad-shape'],
    ['a number of 90 MB', () => withData(`{"a":{"shape":[${'1'.repeat(90e6)}`), 'bad-shape'],
    ['nesting of 90 MB', () => withData(`{"a":${'['.repeat(90e6)}`), 'bad-tensor'],
    ['90 MB of blanks', () => withData(' '.repeat(90e6)), 'not-an-object'],
    ['metadata of 90 MB, cut off', () => withData(`{"__metadata__":{"a":"${'x'.repeat(90e6)}`), 'bad-string'],
  ];

  it('take less than twice their size and 32 MiB in memory while they are refused', () => {
    const script = `
      import { openSafetensors } from './src/files/safetensors/safetensors.ts';
      const before = process.memoryUsage.rss();
      const error = await openSafetensors(process.argv[1]).catch((error) => error);
      console.log(JSON.stringify({ reason: error.reason, growth: process.resourceUsage().maxRSS * 1024 - before }));`;
    const tried = large.slice(0, times(3, large.length));
    const path = inFolder('large');
    let worst = 0;
    for (const [what, make, reason] of tried) {
      writeFileSync(path, make());
      const args = ['--import', 'tsx', '--input-type=module', '-e', script, path];
      const result = JSON.parse(execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' }));
      expect(result, what).toMatchObject({ reason });
      worst = Math.max(worst, result.growth / statSync(path).size);
      expect(result.growth, what).toBeLessThan(2 * statSync(path).size + 32 * 2 ** 20);
      rmSync(path);
    }
    record({
      promise: 'a hostile safetensors file takes less than twice its size and 32 MiB in memory',
      fault: `headers of up to 98 MB with as much data: ${tried.map(([what]) => what).join(', ')}`,
      times: tried.length,
      outcome: `refused; at most ${worst.toFixed(2)} times the size of the file`,
    });
  });
});

/** One kind of file: valid ones, and what reads a file of that kind, completely. */
interface Format {
  name: string;
  originals: string[] | Buffer[];
  /** How often it is changed in a short run; 4000 times unless given. */
  few?: number;
  read(path: string): unknown;
}

const BPE = {
  type: 'BPE',
  unk_token: null,
  vocab: { '</s>': 0, '<pad>': 1, a: 2, b: 3, ' ': 4, ab: 5 },
  merges: ['a b'],
};
const added = (id: number, content: string, options: object = {}) => ({
  ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  ...options,
});
const TOKENIZERS = [
  {
    added_tokens: [added(0, '</s>'), added(1, '<pad>', { lstrip: true })],
    normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Prepend', prepend: '_' }] },
    pre_tokenizer: { type: 'Split', pattern: { Regex: '\\s+|\\p{L}+' }, behavior: 'Isolated', invert: false },
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [{ type: 'Replace', pattern: { String: '_' }, content: ' ' }, { type: 'Fuse' }],
    },
    model: BPE,
  },
  {
    added_tokens: [],
    normalizer: { type: 'Replace', pattern: { Regex: ' +' }, content: ' ' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'FixedLength', length: 2 },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: {},
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true },
    model: {
      type: 'Unigram',
      unk_id: 0,
      vocab: [
        ['<unk>', 0],
        ['a', -1.5],
        ['ab', -2.5],
        ['b', -2],
      ],
    },
  },
  {
    added_tokens: [added(0, '[UNK]')],
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: null,
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: { '[UNK]': 0, a: 1, '##b': 2, b: 3 },
    },
  },
];
const ROWS = [
  { prompt: 'What?', chosen: ' This.', rejected: ' That \ud83d\ude00.' },
  { chosen: '\n\nHuman: Hi\n\nAssistant: Yes', rejected: '\n\nHuman: Hi\n\nAssistant: No', id: 7 },
  { prompt: 'a', chosen: 'b', rejected: 'c', scores: [1, 2.5e3, null, true], more: { __proto__: null, a: {} } },
];
const CONFIG = {
  steps: 100,
  seed: 7,
  lora: false,
  loss: { clip: 0.2, valueClip: 0.4 },
  sampling: { temperature: 0.9, samplesPerPrompt: 4 },
};

const FORMATS: Format[] = [
  {
    name: 'safetensors',
    originals: [
      readFileSync(join(root, 'test/fixtures/safetensors/python-0.5.3.safetensors')),
      Buffer.from(planSafetensors([{ name: 'x', dtype: 'F32', shape: [0] }], new Map([['format', 'pt']])).header),
    ],
    async read(path) {
      await using file = await openSafetensors(path);
      for (const { begin, end } of file.entries.values()) await file.read(begin, new Uint8Array(end - begin));
    },
  },
  {
    name: 'tokenizer.json',
    originals: TOKENIZERS.map((tokenizer) => JSON.stringify(tokenizer)),
    async read(path) {
      const tokenizer = await loadTokenizer(path);
      tokenizer.decode(tokenizer.encode('ab a  b</s> \u{1f600} bab'));
    },
  },
  {
    name: 'chat template',
    few: 1_000,
    originals: [
      "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m.content | trim + '</s>\n' }}{% endfor %}",
      '{%- set ns = namespace(n=0) -%}{%- for m in messages[::-1] if m.role != "x" -%}{%- set ns.n = ns.n + 1 -%}{{ m | tojson }}{% endfor %}{{ ns.n }}',
    ],
    async read(path) {
      await new ChatTemplate(readFileSync(path, 'latin1')).render([{ role: 'user', content: ' Hi ' }]);
    },
  },
  {
    name: 'JSONL',
    originals: [ROWS.map((row) => JSON.stringify(row)).join('\n')],
    async read(path) {
      await loadPrompts(path, bytes, { maxPromptLength: 20 });
      await loadPreferences(path, bytes, { maxLength: 40 });
    },
  },
  {
    name: 'configuration',
    originals: [
      JSON.stringify(CONFIG, null, 2),
      'steps: 100 # few\nlora: false\nloss: &l\n  clip: 0.2\n  valueClip: 0.4\nsampling: {temperature: 0.9, samplesPerPrompt: 4}\n',
    ],
    read: (path) => parseConfig(ppoConfig, mergeFlags(readConfigFile(path), { 'loss.clip': 0.1 }), 'ppo'),
  },
];

describe('changed at random', () => {
  it.each(FORMATS)('$name: what is changed is valid', async ({ originals, read }) => {
    for (const original of originals) {
      const path = join(folder, 'valid');
      writeFileSync(path, original);
      await read(path);
    }
  });

  const [FEW, MANY] = [4_000, 100_000];
  const timeout = times(300_000, 3_600_000);

  /** Reads `content` after it was written; true where it was good. Anything but a typed error, or much time, is a failure. */
  async function survives(what: string, read: () => unknown): Promise<boolean> {
    const before = process.cpuUsage();
    let refused: unknown;
    try {
      await read();
    } catch (error) {
      refused = error;
    }
    const { user, system } = process.cpuUsage(before);
    if (refused !== undefined && !(refused instanceof PalmError)) throw new Error(what, { cause: refused });
    if (user + system > 1e6) throw new Error(`${what} took ${(user + system) / 1e6} seconds`);
    return refused === undefined;
  }

  function expectPrototypesClean(): void {
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    for (const prototype of [Object.prototype, Array.prototype, Function.prototype]) {
      expect(Object.keys(prototype)).toEqual([]);
    }
  }

  function tell(name: string, count: number, good: number): void {
    record({
      promise: `a damaged file is refused with a typed error in less than a second: ${name}`,
      fault: 'one to four random changes to a valid file: bytes, parts, values',
      times: count,
      outcome: `${count - good} refused with typed errors, ${good} still valid, no prototype changed`,
    });
  }

  it.each(FORMATS)('$name is read or refused', { timeout }, async ({ name, originals, read, few = FEW }) => {
    const count = times(few, MANY);
    const random = new Random(7);
    const path = inFolder('changed');
    let good = 0;
    for (let i = 0; i < count; i++) {
      const content = mutated(Buffer.from(originals[i % originals.length] as string), random);
      writeFileSync(path, content);
      if (await survives(`change ${i} of ${name}: ${content.toString('latin1')}`, () => read(path))) good++;
    }
    expectPrototypesClean();
    expect(good).toBeGreaterThan(0);
    expect(good).toBeLessThan(count);
    tell(name, count, good);
  });

  describe('a checkpoint', () => {
    const step = join(inFolder('run'), 'step-000012');
    const states = { optimizer: { learningRate: 1e-3 }, batches: { epoch: 1, position: 5, __proto__: null } };
    beforeAll(async () => {
      execFileSync('mkdir', [inFolder('run')]);
      await writeCheckpoint(inFolder('run'), {
        run: 'r',
        environment: { libtorch: '2.13.0', threads: 2 },
        files: [{ name: 'weights.safetensors', pieces: [Buffer.alloc(9)] }],
        state: { step: 12, parts: states },
      });
    });

    it('is verified or refused, also where the manifest was made to fit', { timeout }, async () => {
      const count = times(FEW, MANY);
      const random = new Random(8);
      const files = ['state.json', 'manifest.json'].map(
        (name) => [join(step, name), readFileSync(join(step, name))] as const,
      );
      const { sha256: _, ...whole } = JSON.parse(readFileSync(join(step, 'manifest.json'), 'utf8'));
      let good = 0;
      for (let i = 0; i < count; i++) {
        const [path, original] = files[i % 2] as (typeof files)[number];
        const content = mutated(original, random);
        writeFileSync(path, content);
        if (i % 4 === 0) writeFileSync(join(step, 'manifest.json'), fitted(whole, content));
        const what = `change ${i} of a checkpoint: ${content.toString('latin1')}`;
        if (await survives(what, () => verifyCheckpoint(step))) good++;
        for (const [path, original] of files) writeFileSync(path, original);
      }
      expectPrototypesClean();
      expect((await verifyCheckpoint(step)).state.parts).toEqual(JSON.parse(JSON.stringify(states)));
      expect(good).toBeGreaterThan(0);
      expect(good).toBeLessThan(count / 2);
      tell('state.json and manifest.json', count, good);
    });

    /** The manifest of a checkpoint with this state.json. */
    function fitted(whole: Manifest, state: Buffer): string {
      const sha256 = createHash('sha256').update(state).digest('hex');
      return manifestText({ ...whole, files: { ...whole.files, 'state.json': { bytes: state.length, sha256 } } });
    }
  });
});

describe('a model file that describes what it does not hold', () => {
  const path = inFolder('model');
  let file: Buffer;
  let reward: Buffer;
  beforeAll(async () => {
    using palm = new PaLM({ numTokens: 9, dim: 8, depth: 2, heads: 2, dimHead: 4, device });
    palm.addScope('a', { rank: 2 });
    await palm.save(path);
    file = readFileSync(path);
    using model = new RewardModel(palm, { numBins: 3, lora: false });
    await model.save(path);
    reward = readFileSync(path);
  });

  /** The file with `change` made to what its metadata say. */
  function described(original: Buffer, change: (metadata: Described) => unknown): Buffer {
    const length = Number(original.readBigUInt64LE());
    const header = JSON.parse(original.toString('utf8', 8, 8 + length));
    const metadata = JSON.parse(header.__metadata__['palm-rlhf']);
    const changed = change(metadata);
    header.__metadata__['palm-rlhf'] = JSON.stringify(changed === undefined ? metadata : changed);
    return Buffer.concat([fileOf(JSON.stringify(header)), original.subarray(8 + length)]);
  }
  type Described = { palm: { config: Record<string, unknown>; scopes: Record<string, unknown> } } & Record<
    string,
    unknown
  >;
  const config = (values: object) => (metadata: Described) => void Object.assign(metadata.palm.config, values);
  const scopes = (scopes: unknown) => (metadata: Described) => void Object.assign(metadata.palm, { scopes });

  it('is refused before anything is made for it', async () => {
    const changes: ((metadata: Described) => unknown)[] = [
      ...[config({ depth: 1e9 }), config({ dim: 2 ** 40 }), config({ numTokens: 2 ** 50 }), config({ heads: 2 ** 30 })],
      ...[config({ dimHead: 2 ** 40 }), config({ ffMult: 1e15 }), config({ depth: 3 }), config({ dim: 2 ** 53 })],
      ...[config({ depth: -1 }), config({ dim: '8' }), config({ dtype: 'int8' }), config({ unknown: 1 })],
      ...[scopes({ a: 1e9 }), scopes({ a: -1e9, b: 1e9 }), scopes({ a: 'two' }), scopes([1]), scopes(null), scopes({})],
      ...[scopes(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`s${i}`, 2]))), scopes({ a: { rank: 2 } })],
      ...[() => null, () => [], () => 7, () => ({}), (all: Described) => ({ ...all, format: 2 })],
      ...[(all: Described) => ({ ...all, palm: null }), (all: Described) => ({ ...all, palm: { config: [] } })],
      ...[{}, 7, null, '\u001b[31m', 'x'.repeat(1e6)].map((model) => (all: Described) => ({ ...all, model })),
    ];
    const before = process.resourceUsage().maxRSS;
    for (const [i, change] of changes.entries()) {
      writeFileSync(path, described(file, change));
      expect(await errorOf(PaLM.load(path, { device })), `change ${i}`).toBeInstanceOf(FileError);
    }
    const bins = [1e9, -1, 2, '3', null, {}, 2 ** 60];
    for (const numBins of bins) {
      writeFileSync(
        path,
        described(reward, (all: Described) => ({ ...all, numBins })),
      );
      expect(await errorOf(RewardModel.load(path, { device })), `${numBins} bins`).toBeInstanceOf(FileError);
    }
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(100_000); // kilobytes
    record({
      promise: 'a model file that describes more than it holds makes nothing',
      fault: 'sizes of up to 2^60, ranks, bins, kinds and types in the metadata',
      times: changes.length + bins.length,
      outcome: 'each refused with a typed error, without memory for it',
    });
  });

  it('is read or refused when the description is changed at random', async () => {
    const random = new Random(9);
    const count = times(500, 10_000);
    for (let i = 0; i < count; i++) {
      const text = (metadata: object) => mutated(Buffer.from(JSON.stringify(metadata)), random).toString('utf8');
      const length = Number(file.readBigUInt64LE());
      const header = JSON.parse(file.toString('utf8', 8, 8 + length));
      header.__metadata__['palm-rlhf'] = text(JSON.parse(header.__metadata__['palm-rlhf']));
      writeFileSync(path, Buffer.concat([fileOf(JSON.stringify(header)), file.subarray(8 + length)]));
      const result = await PaLM.load(path, { device }).catch((error: unknown) => error);
      if (result instanceof PaLM) result.dispose();
      else if (!(result instanceof PalmError)) throw new Error(header.__metadata__['palm-rlhf'], { cause: result });
    }
    record({
      promise: 'a damaged description of a model is refused with a typed error',
      fault: 'one to four random changes to the metadata',
      times: count,
      outcome: 'read, or refused with a typed error',
    });
  });
});
