/**
 * The numbers of palm-rlhf-pytorch 0.7.5, from the same weights. The recordings lie in `recorded/`, made by `record.py`;
 * PALM_PARITY_DIR names another folder of the same layout.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { entropy, maskedMean, whiten } from '../../src/losses/reductions.ts';
import { AdamAtan2, AdamW, AdoptAtan2 } from '../../src/optim.ts';
import { PaLM } from '../../src/models/palm.ts';
import { RewardModel } from '../../src/models/reward-model.ts';
import { Tensor } from '../../src/tensor/tensor.ts';
import { device } from '../device.ts';
import {
  asFile,
  type Case,
  distance,
  type Recorded,
  type RecordedTensors,
  readCases,
  relativeDistance,
  rows,
} from './numbers.ts';
import { type PythonParameter, pythonParameters } from './python-parameters.ts';

const FORWARD = 2e-4; // largest difference of a logit, an embedding, a score
const LOSS = 1e-5;
const GRADIENT = 1e-3; // of the gradient's norm
const CURVE = 2e-4; // loss and gradient norm of a training step
const MOVED = 1e-2; // of the way that a weight went in training
const OPTIMIZER = 1e-6;

const cases = readCases(process.env.PALM_PARITY_DIR ?? fileURLToPath(new URL('recorded', import.meta.url)));

/** The recorded case, of which there is certainly one. */
function recorded(name: string): Case {
  const found = cases.get(name);
  if (found === undefined) throw new Error(`no recording of ${name}`);
  return found;
}

/** Those of the names that this folder has recordings of. */
function present(...names: string[]): string[] {
  return names.filter((name) => cases.has(name));
}

/** The constructor options of a case, named as ours are; what the shapes of the weights say is left out. */
function options({ about }: Case) {
  const recordedOptions = about.options as Record<string, unknown>;
  const given = Object.entries(recordedOptions).filter(([name]) => !['scopes', 'use_lora', 'lora_r'].includes(name));
  return Object.fromEntries(given.map(([name, value]) => [OURS[name] ?? camelCase(name), value]));
}

const OURS: Record<string, string> = { cross_entropy_ignore_index: 'ignoreIndex', num_binned_output: 'numBins' };

function camelCase(name: string): string {
  return name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function loadPalm(from: Case): Promise<PaLM> {
  return asFile(from.all('w.'), (path) => PaLM.load(path, { options: options(from), device }));
}

function loadRewardModel(from: Case): Promise<RewardModel> {
  return asFile(from.all('w.'), (path) => RewardModel.load(path, { options: options(from), device }));
}

async function expectClose(actual: Tensor, expected: Recorded, tolerance: number): Promise<void> {
  expect(actual.shape).toEqual(expected.shape);
  expect(distance(await actual.data(), expected.data)).toBeLessThanOrEqual(tolerance);
}

/** Every recorded gradient is there within its norm, and what has no recorded gradient has none here either. */
async function expectGradients(parameters: PythonParameter[], expected: RecordedTensors): Promise<void> {
  const differences: Record<string, number> = {};
  for (const parameter of parameters) {
    const reference =
      expected.get(parameter.name)?.data ?? new Float64Array(parameter.shape.reduce((a, b) => a * b, 1));
    const difference = relativeDistance((await parameter.grad()) ?? new Float64Array(reference.length), reference);
    if (!(difference <= GRADIENT)) differences[parameter.name] = difference;
  }
  expect(differences).toEqual({});
  expect(parameters.map(({ name }) => name)).toEqual(expect.arrayContaining([...expected.keys()]));
}

describe('the language model', () => {
  const models = present('palm-causal', 'palm-qk-rmsnorm', 'palm-xpos-64', 'palm-ignore-none', 'palm-noncausal');

  it.each(models)('%s: logits and embeddings', async (name) => {
    const of = recorded(name);
    using palm = await loadPalm(of);
    using out = await palm.forward(rows(of.get('in.x')));
    await expectClose(out.logits, of.get('out.logits'), FORWARD);
    await expectClose(out.embeddings, of.get('out.embeds'), FORWARD);
  });

  it.each(models.filter((name) => recorded(name).has('out.loss')))('%s: loss and gradients', async (name) => {
    const of = recorded(name);
    using palm = await loadPalm(of);
    using loss = await palm.loss(rows(of.get('in.x')));
    await expectClose(loss, of.get('out.loss'), LOSS);
    await loss.backward();
    await expectGradients(pythonParameters(palm), of.all('g.'));
  });

  it('reads a file that lacks the aliases and buffers of the Python module', async () => {
    const of = recorded('palm-causal');
    const bare = new Map([...of.all('w.')].filter(([name]) => !/beta|rotary_emb|to_logits/.test(name)));
    using palm = await asFile(bare, (path) => PaLM.load(path, { options: options(of), device }));
    using out = await palm.forward(rows(of.get('in.x')));
    await expectClose(out.logits, of.get('out.logits'), FORWARD);
  });

  it('infers the sizes from shapes', async () => {
    const of = recorded('palm-causal');
    using palm = await asFile(of.all('w.'), (path) => PaLM.load(path, { device }));
    expect(palm.config).toMatchObject(options(of));
    using out = await palm.forward(rows(of.get('in.x')));
    await expectClose(out.logits, of.get('out.logits'), FORWARD);
  });

  it('decodes greedily to the same sequences', async () => {
    const of = recorded('palm-greedy');
    const prompts = rows(of.get('in.prompt'));
    const expected = rows(of.get('out.sequence'));
    const maxNewTokens = (expected[0] as number[]).length - (prompts[0] as number[]).length;
    using palm = await loadPalm(of);
    using out = await palm.generate({ prompts, maxNewTokens, temperature: 0 });
    expect(Array.from(await out.sequences.data(), Number)).toEqual(expected.flat());
  });
});

describe('low-rank scopes', () => {
  const of = recorded('palm-lora');
  const x = rows(of.get('in.x'));

  it.each([undefined, 'actor', 'critic'])('logits with scope %s', async (scope) => {
    using palm = await loadPalm(of);
    using out = await palm.forward(x, { scope });
    await expectClose(out.logits, of.get(`out.logits.${scope ?? 'none'}`), FORWARD);
  });

  it('loss and gradients of one scope and of the trunk under it, none of the other', async () => {
    using palm = await loadPalm(of);
    using loss = await palm.loss(x, { scope: 'actor' });
    await expectClose(loss, of.get('out.loss.actor'), LOSS);
    await loss.backward();
    expect(palm.scopes).toEqual(['actor', 'critic']);
    await expectGradients(pythonParameters(palm), of.all('g.'));
  });

  it('computes the recorded logits once the adapters are merged', async () => {
    using palm = await loadPalm(of);
    await palm.mergeScope('actor');
    using out = await palm.forward(x);
    await expectClose(out.logits, of.get('out.logits.merged'), FORWARD);
  });
});

describe('training', () => {
  it('twenty steps of AdamW: losses, gradient norms and where the weights end', async () => {
    const of = recorded('palm-adamw-curve');
    const { lr, betas, eps, weight_decay, clip } = of.about.optimizer as AdamWRecording;
    const curve = of.about.loss_and_grad_norm as [number, number][];
    using palm = await loadPalm(of);
    using optimizer = new AdamW(palm.parameters(), { lr, betas, eps, weightDecay: weight_decay });
    const measured: number[] = [];
    for (const x of batches(of.get('in.xs'))) {
      using loss = await palm.loss(x);
      await loss.backward();
      const { gradNorm } = await optimizer.step({ maxGradNorm: clip });
      optimizer.zeroGrad();
      measured.push(await loss.item(), gradNorm);
    }
    expect(distance(measured, curve.flat())).toBeLessThanOrEqual(CURVE);

    const start = of.all('w.');
    for (const parameter of pythonParameters(palm)) {
      const { data: from } = start.get(parameter.name) as Recorded;
      const expected = of.get(`out.w.${parameter.name}`).data.map((end, i) => end - (from[i] as number));
      const moved = (await parameter.value()).map((end, i) => end - (from[i] as number));
      expect(relativeDistance(moved, expected), parameter.name).toBeLessThanOrEqual(MOVED);
    }
  });

  it.each(present('optim-adopt-atan2', 'optim-adopt-atan2-decay', 'optim-adam-atan2', 'optim-adam-atan2-decay'))(
    '%s: every step',
    async (name) => {
      const of = recorded(name);
      const { lr, betas, weight_decay } = of.about as unknown as AtanRecording;
      const Rule = name.startsWith('optim-adopt') ? AdoptAtan2 : AdamAtan2;
      const start = of.get('in.p');
      using parameter = Tensor.parameter(Float32Array.from(start.data), { shape: start.shape, device });
      using optimizer = new Rule([parameter], { lr, betas, weightDecay: weight_decay });
      for (let step = 0; of.has(`in.grad.${step}`); step++) {
        using grad = onDevice(of.get(`in.grad.${step}`));
        await parameter.setGrad(grad);
        await optimizer.step();
        using value = await parameter.value();
        await expectClose(value, of.get(`out.p.${step}`), OPTIMIZER);
      }
    },
  );
});

interface AdamWRecording {
  lr: number;
  betas: [number, number];
  eps: number;
  weight_decay: number;
  clip: number;
}

/** Recordings without betas or decay used the reference's defaults, which are ours too. */
interface AtanRecording {
  lr: number;
  betas?: [number, number];
  weight_decay?: number;
}

/** [count, rows, width] as that many matrices. */
function batches({ dtype, shape, data }: Recorded): number[][][] {
  const [count = 0, height = 0, width = 0] = shape;
  const size = height * width;
  return Array.from({ length: count }, (_, i) =>
    rows({ dtype, shape: [height, width], data: data.subarray(i * size, (i + 1) * size) }),
  );
}

function onDevice({ shape, data }: Recorded): Tensor {
  return Tensor.from(Float32Array.from(data), { shape, device });
}

describe('reward models', () => {
  const inputs = (of: Case) => ({
    plain: {},
    lengths: { promptLengths: [...of.get('in.prompt_lengths').data] },
    masked: { promptLengths: [...of.get('in.prompt_lengths').data], mask: rows(of.get('in.mask')) },
    ...(of.has('in.prompt_mask') ? { prompt_masked: { promptMask: rows(of.get('in.prompt_mask')) } } : {}),
  });

  it.each(present('reward-scalar', 'reward-binned', 'reward-noncausal'))('%s: the raw head', async (name) => {
    const of = recorded(name);
    using model = await loadRewardModel(of);
    for (const [kind, input] of Object.entries(inputs(of))) {
      using head = await model.forward(rows(of.get('in.x')), input);
      await expectClose(head, of.get(`out.${kind}`), FORWARD);
    }
  });

  it.each(present('reward-scalar', 'reward-binned', 'reward-noncausal'))('%s: loss and gradients', async (name) => {
    const of = recorded(name);
    using model = await loadRewardModel(of);
    using loss = await model.loss(rows(of.get('in.x')), {
      ...inputs(of).masked,
      labels: [...of.get('in.labels').data],
    });
    await expectClose(loss, of.get('out.loss'), LOSS);
    await loss.backward();
    await expectGradients(pythonParameters(model), of.all('g.'));
  });

  it('a binned score is the expected bin', async () => {
    const of = recorded('reward-binned');
    using model = await loadRewardModel(of);
    using score = await model.score(rows(of.get('in.x')), inputs(of).masked);
    const expected = rows(of.get('out.masked')).map((logits) => {
      const weights = logits.map(Math.exp);
      const total = weights.reduce((a, b) => a + b);
      return weights.reduce((sum, weight, bin) => sum + (bin * weight) / total, 0);
    });
    expect(distance(await score.data(), expected)).toBeLessThanOrEqual(FORWARD);
  });
});

describe('the arithmetic of PPO', () => {
  const of = recorded('ppo-arithmetic');
  const mask = rows(of.get('in.mask'));
  const { shape, data } = of.get('in.p1');
  const [, length = 0, width = 0] = shape;

  it('gives the recorded masked mean of each row', async () => {
    for (const [row, expected] of of.get('out.masked_mean').data.entries()) {
      const first = Float32Array.from({ length }, (_, t) => data[(row * length + t) * width] as number);
      using values = Tensor.from(first, { shape: [1, length], device });
      using mean = await maskedMean(values, [mask[row] as number[]]);
      expect(Math.abs((await mean.item()) - expected)).toBeLessThanOrEqual(LOSS);
    }
  });

  it('masked entropy', async () => {
    let total = 0;
    for (const [row, rowMask] of mask.entries()) {
      const logits = Float32Array.from(data.subarray(row * length * width, (row + 1) * length * width), Math.log);
      using of = Tensor.from(logits, { shape: [1, length, width], device });
      using values = await entropy(of);
      using mean = await maskedMean(values, [rowMask]);
      total += await mean.item();
    }
    expect(Math.abs(total / mask.length - (of.get('out.entropy').data[0] as number))).toBeLessThanOrEqual(LOSS);
  });

  it('normalisation', async () => {
    using values = onDevice(of.get('in.v'));
    using normalized = await whiten(values);
    await expectClose(normalized, of.get('out.normalized'), LOSS);
  });
});
