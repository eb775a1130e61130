/**
 * SmolLM2 learns 200 conversations with adapters: others like them become likelier, and so does the eos at the end of their answers,
 * although this model's padding token is its eos. PEFT computes the same with the exported adapter, if PALM_FAMILIES_PYTHON
 * names a Python that has it.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type ChatMessage,
  LanguageModel,
  loadRows,
  methods,
  openTokenizer,
  type Policy,
  parseConfig,
  saveTensors,
  sftConfig,
  Tensor,
} from '../../src/index.ts';
import type { TrainingExample } from '../../src/data/completions.ts';
import { padRight } from '../../src/data/prompts.ts';
import { smollm2 } from '../smollm2.ts';
import { conversations } from './conversations.ts';

const SETTINGS = { epochs: 1, batchSize: 8, lora: 8, lr: 1e-3, evaluateEvery: 1000, seed: 1 };
const timeout = 3_600_000; // on two free cores, a minute or two
const EOS = 2;
/** A Python with peft and transformers, and by how much logits may differ there: 30 layers of float32 sums. */
const PYTHON = process.env.PALM_FAMILIES_PYTHON;
const TOLERANCE = '3e-5';

interface Row {
  tokens: number[];
  targets: boolean[];
}

const folder = mkdtempSync(join(tmpdir(), 'palm-smollm2-'));
let learn: Row[];
let held: Row[];
let model: LanguageModel;
beforeAll(async () => {
  const all = conversations(240, 1);
  [learn, held] = [await rowsOf(all.slice(0, 200)), await rowsOf(all.slice(200))];
  model = await LanguageModel.load(smollm2(), { dtype: 'bfloat16' });
}, timeout);
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** Conversations as tokens, of which those that the assistant wrote are learned. */
async function rowsOf(talks: readonly ChatMessage[][]): Promise<Row[]> {
  const { tokenizer, chat } = await openTokenizer(smollm2());
  const file = join(folder, 'talks.jsonl');
  writeFileSync(file, talks.map((messages) => JSON.stringify({ messages })).join('\n'));
  const { rows } = await loadRows('turns', file, tokenizer, { maxLength: 256 }, { chat });
  return rows as Row[];
}

/** −log p of the targets of the held-out rows, and p of those that are eos: means. */
async function measured(policy: Policy): Promise<{ loss: number; eos: number }> {
  const { tokens, shape } = padRight(
    held.map((row) => row.tokens),
    EOS,
  );
  using sequence = Tensor.from(tokens, { shape });
  using found = await policy.logProb(sequence, { grad: false });
  const logProb = await found.logProb.data();
  const targets = held.flatMap((row, b) =>
    row.tokens.flatMap((token, t) => (row.targets[t] ? [{ token, logProb: Number(logProb[b * shape[1] + t]) }] : [])),
  );
  const ends = targets.filter(({ token }) => token === EOS);
  return { loss: -meanOf(targets.map((one) => one.logProb)), eos: meanOf(ends.map((one) => Math.exp(one.logProb))) };
}

const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The loss of a held-out conversation. */
async function lossOf(model: LanguageModel, scope?: string): Promise<number> {
  using loss = await model.loss([(held[0] as Row).tokens], { grad: false, scope });
  return await loss.item();
}

/** Learns `examples`; `then` gets the policy. */
async function tuned(name: string, examples: readonly TrainingExample[], then: (policy: Policy) => Promise<void>) {
  using copy = model.clone();
  const { parts, train } = methods.sft.assemble(parseConfig(sftConfig, SETTINGS, 'test'), { model: copy, examples });
  using policy = parts.weights;
  using _optimizer = parts.optimizer;
  const before = await measured(policy);
  for await (const _step of train());
  const after = await measured(policy);
  const shown = (key: 'loss' | 'eos') => `${key} ${before[key].toFixed(3)} → ${after[key].toFixed(3)}`;
  console.log(`${name}: held-out ${shown('loss')}, ${shown('eos')}`);
  await then(policy);
  return { before, after };
}

describe('SmolLM2, from 200 conversations', () => {
  let learned: Awaited<ReturnType<typeof tuned>>;
  let trained: number;
  beforeAll(async () => {
    learned = await tuned('sft', learn, async (policy) => {
      trained = await lossOf(policy.model, 'actor');
      await policy.model.exportAdapter('actor', join(folder, 'adapter'));
    });
  }, timeout);

  it('finds others likelier', () => {
    expect([learn.length, held.length]).toEqual([200, 40]);
    expect(learned.after.loss).toBeLessThan(learned.before.loss - 2);
  });

  it('ends its answers, more surely than where the eos is masked as padding is elsewhere', { timeout }, async () => {
    expect(learned.after.eos).toBeGreaterThan(learned.before.eos + 0.5);
    const masked = learn.map(({ tokens, targets }) => ({
      tokens,
      targets: targets.map((target, t) => target && tokens[t] !== EOS),
    }));
    const { after } = await tuned('sft without eos', masked, async () => {});
    expect(learned.after.eos).toBeGreaterThan(after.eos + 0.3);
  });

  it('computes the same with its exported adapter', { timeout }, async () => {
    using copy = model.clone();
    await copy.loadAdapter('again', join(folder, 'adapter'));
    expect(await lossOf(copy, 'again')).toBe(trained);
    expect(await lossOf(copy)).not.toBe(trained);
  });

  if (PYTHON !== undefined) {
    it('computes in peft what it computes here', { timeout }, async () => {
      using exact = await LanguageModel.load(smollm2(), { dtype: 'float32' });
      await exact.loadAdapter('tuned', join(folder, 'adapter'));
      const { tokens, shape, lengths } = padRight(
        held.slice(0, 2).map((row) => row.tokens),
        EOS,
      );
      using input_ids = Tensor.from(tokens, { shape });
      using length = Tensor.from(lengths);
      using out = await exact.forward(input_ids, { scope: 'tuned' });
      const tensors = Object.entries({ input_ids, length, logits: out.logits }).map(([name, tensor]) => ({
        name,
        tensor,
      }));
      const files = ['base', 'adapter', 'expected.safetensors'].map((name) => join(folder, name));
      const [base, , expected] = files as [string, string, string];
      await exact.export(base);
      await saveTensors(expected, { tensors, metadata: new Map() });
      const script = fileURLToPath(new URL('../parity/families/check_peft.py', import.meta.url));
      const said = execFileSync(PYTHON, [script, ...files, TOLERANCE], { encoding: 'utf8', stdio: 'pipe' });
      console.log(said);
      expect(said).toMatch(/^equal/);
    });
  }
});
