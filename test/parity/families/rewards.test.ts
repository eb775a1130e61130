/** Reward models of Hugging Face: recorded ones score as transformers does, have its gradients, and go back as they came. */
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FileError, LanguageModel, loadTensors, RewardModel, saveTensors, type Tensor } from '../../../src/index.ts';
import { device } from '../../device.ts';
import { distance } from '../numbers.ts';
import { bytesIn, FamilyCase, RECORDED } from './case.ts';

const REWARDS = join(import.meta.dirname, 'rewards');
const folder = mkdtempSync(join(tmpdir(), 'palm-rewards-'));
afterAll(() => rmSync(folder, { recursive: true }));

const norm = (values: Iterable<number>) => Math.hypot(...values);

describe.each(readdirSync(REWARDS))('%s', (name) => {
  const path = join(REWARDS, name);
  const recorded = new FamilyCase(name, REWARDS);
  const load = () => RewardModel.load(path, { options: { dtype: 'float32' }, device });

  it('has the scores of transformers, padded and alone', async () => {
    using model = await load();
    const want = [...recorded.get('scores').data];
    using padded = await model.score(recorded.ids, { lengths: recorded.lengths });
    expect(distance(Float64Array.from(await padded.data(), Number), want)).toBeLessThan(1e-5);
    for (const [i, text] of recorded.texts.entries()) {
      using score = await model.score([text]);
      expect(Math.abs((await score.item()) - (want[i] as number))).toBeLessThan(1e-5);
    }
  });

  it('has the gradients of transformers, by the names of the file', async () => {
    using model = await load();
    for (const text of recorded.texts) {
      using score = await model.forward([text], { grad: true });
      await score.backward();
    }
    const read = model.parameters().filter((one) => !/^(prompt|response)_embedding$/.test(one.name));
    const grads = read.map(async (one) => ({ name: one.name, tensor: (await one.grad()) as Tensor }));
    const file = join(folder, `${name}.safetensors`);
    await saveTensors(file, { tensors: await Promise.all(grads), metadata: new Map() });
    await loadTensors(
      file,
      read.map((one) => ({ name: one.name, tensor: one })),
    );
    const written = join(folder, `${name}-gradients`);
    await model.export(written, { dtype: 'float32' });
    const exported = await bytesIn(written);
    const wanted = recorded.gradients;
    const all = norm([...wanted.values()].map(norm));
    const off = [...wanted].map(([tensor, want]) => {
      const { buffer, byteOffset, byteLength } = (exported.get(tensor) as { bytes: Buffer }).bytes;
      const got = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
      return [
        tensor,
        norm(want.map((value, i) => value - (got[i] as number))) / Math.max(norm(want), 1e-3 * all),
      ] as const;
    });
    expect(off.filter(([, share]) => !(share <= 1e-4))).toEqual([]);
  });

  it('goes back as it came once its folder is gone', async () => {
    const [copied, written] = [join(folder, `${name}-in`), join(folder, `${name}-out`)];
    cpSync(path, copied, { recursive: true });
    using model = await RewardModel.load(copied, { device });
    rmSync(copied, { recursive: true });
    await model.export(written);
    expect(await bytesIn(written)).toEqual(await bytesIn(path));
    await model.save(join(folder, `${name}-own.safetensors`));
    using own = await RewardModel.load(join(folder, `${name}-own.safetensors`), { device });
    using a = await model.score(recorded.ids, { lengths: recorded.lengths });
    using b = await own.score(recorded.ids, { lengths: recorded.lengths });
    expect([...(await b.data())]).toEqual([...(await a.data())]);
  });
});

it('a folder says what it cannot hold', async () => {
  using model = await RewardModel.load(join(REWARDS, 'llama'), { device });
  model.shift = 1;
  await expect(model.export(join(folder, 'shifted'))).rejects.toThrow(/got a shift of scores/);
  using trunk = await LanguageModel.load(join(RECORDED, 'llama'), { device });
  using adapted = new RewardModel(trunk, { pooling: 'last' });
  await expect(adapted.export(join(folder, 'adapted'))).rejects.toThrow(/got adapters/);
  using whole = new RewardModel(trunk, { pooling: 'last', lora: false });
  await expect(whole.export(join(folder, 'whole'))).rejects.toThrow(/got a trunk that predicts tokens/);
  await expect(RewardModel.load(join(RECORDED, 'llama'), { device })).rejects.toBeInstanceOf(FileError);
  await expect(RewardModel.load(join(REWARDS, 'llama'), { options: { numBins: 2 }, device })).rejects.toThrow(
    /numBins/,
  );
});
