/** Mistakes planted in descriptions: each moves the logits of the case that it names by more than the tolerance. */
import { describe, expect, it } from 'vitest';
import type { DecoderDescription, RopeDescription } from '../../../src/native/addon.ts';
import { LanguageModel } from '../../../src/index.ts';
import { openFolder } from '../../../src/models/hf-folder.ts';
import { device } from '../../device.ts';
import { distance } from '../numbers.ts';
import { FamilyCase, logitsOf, RECORDED } from './case.ts';

type Mutate = (decoder: DecoderDescription) => Partial<DecoderDescription>;

const windows = (by: (window: number, layer: number) => number): Mutate => {
  return ({ layers }) => ({ layers: layers.map((layer, i) => ({ ...layer, window: by(layer.window, i) })) });
};
const scales = (by: (scale: number, layer: number) => number): Mutate => {
  return ({ layers }) => ({ layers: layers.map((layer, i) => ({ ...layer, scale: by(layer.scale, i) })) });
};
const ropeOfLayers = (by: (rope: number) => number): Mutate => {
  return ({ layers }) => ({ layers: layers.map((layer) => ({ ...layer, rope: by(layer.rope) })) });
};
const ropes = (by: (rope: RopeDescription) => Partial<RopeDescription>): Mutate => {
  return (decoder) => ({ ropes: decoder.ropes.map((rope) => ({ ...rope, ...by(rope) })) });
};
/** Frequencies as if nothing were scaled. */
const unscaled = (theta: number) =>
  ropes(({ inverseFrequency: all }) => ({
    inverseFrequency: all.map((_, i) => Math.fround(1 / Math.fround(theta ** (i / all.length)))),
  }));
const epsilon: Mutate = ({ norm }) => ({ norm: { ...norm, eps: 10 * norm.eps } });
const unit =
  (key: 'embeddingScale' | 'residualScale' | 'logitScale'): Mutate =>
  () => ({ [key]: 1 });

const MISTAKES: readonly (readonly [name: string, what: string, mutate: Mutate])[] = [
  ['mistral', 'a window of one token more', windows((window) => window + 1)],
  ['mistral', 'a window of one token less', windows((window) => window - 1)],
  ['phi3', 'no window', windows(() => 0)],
  ['qwen2', 'a window in every layer', windows(() => 5)],
  ['gemma2', 'the window in the other layers', windows((window) => (window === 0 ? 5 : 0))],
  ['gpt-neo', 'a window in every layer', windows(() => 5)],
  ['starcoder2', 'no window', windows(() => 0)],
  ['smollm3', 'positions in every layer', ropeOfLayers(() => 0)],
  ['gemma3', 'the same positions in every layer', ropeOfLayers(() => 0)],
  ['olmo3', 'scaled positions in every layer', ropeOfLayers(() => 0)],
  ['llama', 'another theta', ropes(({ inverseFrequency: all }) => ({ inverseFrequency: all.map((one) => one / 2) }))],
  ['llama-linear', 'no scaling', unscaled(10_000)],
  ['llama-llama3', 'no scaling', unscaled(500)],
  ['llama-yarn', 'no attention factor', ropes(() => ({ factor: 1 }))],
  ['llama-yarn', 'no scaling', unscaled(50)],
  ['phi3-longrope-short', 'no attention factor', ropes(() => ({ factor: 1 }))],
  ['phi', 'whole heads that turn', ropes(({ inverseFrequency: all }) => ({ inverseFrequency: [...all, ...all] }))],
  ['gemma', 'norms that multiply by w', ({ norm }) => ({ norm: { ...norm, offset: 0 } })],
  ['gemma', 'embeddings as they are', unit('embeddingScale')],
  ['gemma', 'exact gelu', () => ({ activation: 'gelu' })],
  ['gpt2', 'exact gelu', () => ({ activation: 'gelu' })],
  ['neox', 'gelu by tanh', () => ({ activation: 'geluTanh' })],
  ['opt', 'silu', () => ({ activation: 'silu' })],
  ['gpt-neo', 'scaled scores', scales(() => 4 ** -0.5)],
  ['gpt2-scaled', 'the same scale in every layer', scales((scale, layer) => scale * (layer + 1))],
  ['gpt2-unscaled', 'scaled scores', scales(() => 4 ** -0.5)],
  ['gemma2', 'a scale by the width of heads', scales(() => 6 ** -0.5)],
  ['gemma2', 'no cap of scores', () => ({ softcap: undefined })],
  ['gemma2', 'no cap of logits', () => ({ finalSoftcap: undefined })],
  ['opt', 'positions from row 1', () => ({ positions: { rows: 25, offset: 1 } })],
  ['neox', 'sequential blocks', () => ({ parallel: false })],
  ['neox-sequential', 'parallel blocks', () => ({ parallel: true })],
  ['opt-350m', 'norms before', () => ({ form: 'pre' })],
  ['bloom-residual-of-norm', 'residuals from before the norm', () => ({ residualFromNorm: false })],
  ['bloom', 'slopes of eight heads', ({ alibi }) => ({ alibi: alibi.map((_, i) => 2 ** -(i + 1)) })],
  ['bloom', 'no slopes', () => ({ alibi: [] })],
  ['olmo', 'no clamp', () => ({ clipQkv: undefined })],
  ['olmo2', 'a norm for each head', ({ qkNorm }) => ({ qkNorm: qkNorm && { ...qkNorm, over: 'perHead' } })],
  ['cohere-qk-norm', 'one norm for all heads', ({ qkNorm }) => ({ qkNorm: qkNorm && { ...qkNorm, over: 'all' } })],
  ['llama-tiny-embedding', 'ten times the epsilon', epsilon],
  ['gpt2-tiny-embedding', 'ten times the epsilon', epsilon],
  ['cohere', 'logits as they are', unit('logitScale')],
  ['granite', 'logits as they are', unit('logitScale')],
  ['granite', 'embeddings as they are', unit('embeddingScale')],
  ['granite', 'branches as they are', unit('residualScale')],
  ['granite', 'a scale by the width of heads', scales(() => 4 ** -0.5)],
];

/** What the wrong model computes of the first row, from the files of the case. */
async function mistaken(recorded: FamilyCase, mutate: Mutate): Promise<Float64Array> {
  await using folder = await openFolder(recorded.path, { dtype: 'float32', device, longest: recorded.longest });
  const describe = (config: typeof folder.config) => {
    const right = folder.family.describe(config);
    return { ...right, ...mutate(right) };
  };
  using model = LanguageModel.of({ ...folder.family, describe }, folder.config, []);
  await folder.read(model.parameters());
  return await logitsOf(model, recorded.texts.slice(0, 1));
}

describe('a mistake in a description', () => {
  it.each(MISTAKES)('makes %s fail: %s', async (name, _, mutate) => {
    const recorded = new FamilyCase(name, RECORDED);
    expect(distance(await mistaken(recorded, () => ({})), recorded.logits(0))).toBeLessThan(2e-5);
    expect(distance(await mistaken(recorded, mutate), recorded.logits(0))).toBeGreaterThan(1e-4);
  });
});
