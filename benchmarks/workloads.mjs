/** What is measured, in which systems, and what is claimed of it. */

const shape = (name, numTokens, dim, depth, heads, dimHead = 64) => ({ name, numTokens, dim, depth, heads, dimHead });
const tiny = shape('tiny', 256, 128, 4, 2);
const small = shape('small', 256, 256, 4, 8, 32);
const mid = shape('mid', 256, 512, 8, 8);

/** Programs under systems/ with the mode that each is asked for. `precision` says how closely its losses must agree. */
export const systems = {
  'ours-fp32': { program: 'palm-rlhf.mjs', mode: 'float32', precision: 'float32' },
  'ours-bf16': { program: 'palm-rlhf.mjs', mode: 'bfloat16', precision: 'bfloat16' },
  'ours-int8': { program: 'palm-rlhf.mjs', mode: 'int8', precision: 'int8' },
  'pytorch-default': { program: 'palm-rlhf-pytorch.py', mode: 'default', precision: 'float32' },
  'pytorch-compile': { program: 'palm-rlhf-pytorch.py', mode: 'compile', precision: 'float32' },
  'pytorch-tuned': { program: 'palm-rlhf-pytorch.py', mode: 'tuned', precision: 'bfloat16' },
  'pytorch-tuned-math': { program: 'palm-rlhf-pytorch.py', mode: 'tuned-math', precision: 'bfloat16' },
  'transformers-fp32': { program: 'hf-transformers.py', mode: 'float32', precision: 'float32' },
  'transformers-bf16': { program: 'hf-transformers.py', mode: 'bfloat16', precision: 'bfloat16' },
  'transformers-compile-fp32': { program: 'hf-transformers.py', mode: 'float32-compile', precision: 'float32' },
  'transformers-compile-bf16': { program: 'hf-transformers.py', mode: 'bfloat16-compile', precision: 'bfloat16' },
  'trl-grpo-fp32': { program: 'trl-grpo.py', mode: 'float32' },
  'trl-grpo-bf16': { program: 'trl-grpo.py', mode: 'bfloat16' },
  'trl-sft-bf16': { program: 'trl-sft.py', mode: 'bfloat16' },
  'llama-cpp': { program: 'llama-cpp.mjs', mode: 'F16' },
  'llama-cpp-q8': { program: 'llama-cpp.mjs', mode: 'Q8_0' },
  'llama-cpp-q4': { program: 'llama-cpp.mjs', mode: 'Q4_1' },
  'products-fp32': { program: 'products.py', mode: 'float32' },
  'products-bf16': { program: 'products.py', mode: 'bfloat16' },
  'memory-bf16': { program: 'memory-bandwidth.py', mode: 'bfloat16' },
  'memory-int8': { program: 'memory-bandwidth.py', mode: 'int8' },
};

const ours = ['ours-fp32', 'ours-bf16'];
/** The products of a training step alone: what the step is measured by beside its competitors. */
const products = ['products-fp32', 'products-bf16'];
const trainers = [...ours, 'pytorch-default', 'pytorch-compile', 'pytorch-tuned', 'pytorch-tuned-math'];
/** Where every run is a process of its own, and compiles anew. */
const compiledOnce = { 'pytorch-compile': 1, 'pytorch-tuned': 1, 'pytorch-tuned-math': 1 };
const starters = [...ours, 'transformers-fp32', 'transformers-bf16', 'llama-cpp'];

/** How a workload's runs become one number each, and which way is better. */
export const units = {
  train: { unit: 'ms a step', value: ({ seconds, steps }) => (1000 * seconds) / steps, less: true },
  decode: { unit: 'tokens/s', value: ({ tokens, seconds }) => tokens / seconds, less: false },
  ppo: { unit: 'samples/s', value: ({ samples, seconds }) => samples / seconds, less: false },
  start: { unit: 's', value: ({ seconds }) => seconds, less: true },
  memory: { unit: 'MiB', value: ({ peakBytes }) => peakBytes / 2 ** 20, less: true },
  share: { unit: '% of the time', value: ({ share }) => 100 * share, less: true },
};

function train(model, batch, length, steps, more = {}) {
  const rest = {
    model,
    batch,
    length,
    steps,
    lossSteps: 5,
    lr: 1e-3,
    optimizer: true,
    systems: [...trainers, ...products],
  };
  return { kind: 'train', unit: 'train', ...rest, ...more };
}

/** 128 tokens after 32. The Python library computes all of a sequence for each token: it gets two sizes. */
function decode(model, batch, more = {}) {
  const slow = batch === 1 || batch === 16 ? ['pytorch-default'] : [];
  const lengths = { promptLength: 32, newTokens: 128, greedyTokens: 16 };
  return {
    kind: 'decode',
    unit: 'decode',
    model,
    batch,
    ...lengths,
    systems: ['ours-int8', ...starters, ...slow],
    ...more,
  };
}

function share(of) {
  return { kind: 'share', unit: 'share', of, steps: 16, systems: ours };
}

const batches = [1, 8, 16, 64, 256];
const decodes = (model, more) =>
  Object.fromEntries(batches.map((batch) => [`decode-${model.name}-${batch}`, decode(model, batch, more)]));

const cpu = {
  'train-tiny': train(tiny, 4, 64, 40),
  'train-small': train(small, 4, 256, 8),
  'train-mid': train(mid, 2, 512, 2),
  ...decodes(small),
  ...decodes(mid),
  // These take minutes each.
  'decode-mid-16': decode(mid, 16, { runs: { 'pytorch-default': 2 } }),
  'decode-mid-256': decode(mid, 256, { runs: { 'llama-cpp': 2 } }),
  'ppo-small': {
    ...{ kind: 'ppo', unit: 'ppo', model: small, prompts: 64, fewPrompts: 8, promptLength: 32, newTokens: 128 },
    ...{ minibatch: 16, systems: [...ours, 'pytorch-default', 'trl-grpo-fp32', 'trl-grpo-bf16'] },
  },
  'loss-head': train(shape('head', 32768, 512, 1, 8), 8, 512, 1, {
    ...{ optimizer: false, lossSteps: 2, systems: [...ours, 'pytorch-default', 'pytorch-tuned'] },
  }),
  start: {
    kind: 'start',
    unit: 'start',
    model: small,
    promptLength: 32,
    fresh: true,
    systems: [...starters, 'pytorch-default'],
  },
  memory: train(mid, 2, 512, 2, { unit: 'memory', fresh: true, runs: compiledOnce, systems: trainers }),
  'share-step': { ...train(small, 4, 256, 16), ...share('step') },
  'share-token': { ...decode(small, 1), ...share('token') },
  'share-streamed-token': { ...decode(small, 1), ...share('streamed token') },
};

/** SmolLM2-135M-Instruct, which `npm run fetch:smollm2` gets. */
const smollm2 = {
  ...{ name: 'smollm2', real: true, numTokens: 49152, parameters: 134_515_008 },
  ...{ dim: 576, depth: 30, heads: 9, kvHeads: 3, dimHead: 64, ff: 1536 },
};
const transformers = ['transformers-fp32', 'transformers-bf16'];
const compiled = ['transformers-compile-fp32', 'transformers-compile-bf16'];
const llamaCpp = ['llama-cpp', 'llama-cpp-q8', 'llama-cpp-q4'];
const judged = { reference: 'transformers-fp32' };

function decodeSmollm2(batch, others) {
  return decode(smollm2, batch, {
    ...judged,
    systems: ['ours-int8', ...ours, ...transformers, ...compiled, ...others],
  });
}

/** A group of 8 answers to each of 8 prompts, all weights trained, against a reference. */
function grpo(model, more) {
  const sizes = { prompts: 8, group: 8, promptLength: 32, newTokens: 64, minibatch: 16, klWeight: 0.04 };
  return { kind: 'grpo', unit: 'ppo', model, ...sizes, systems: [...ours, 'trl-grpo-fp32', 'trl-grpo-bf16'], ...more };
}

const real = {
  'train-smollm2-lora': train(smollm2, 2, 512, 2, {
    ...{ ...judged, lora: 16, lr: 1e-4, systems: [...ours, ...transformers, ...compiled, ...products] },
  }),
  'train-smollm2': train(smollm2, 2, 512, 2, {
    ...{ ...judged, lr: 1e-5, systems: [...ours, ...transformers, ...compiled, ...products] },
  }),
  'decode-smollm2-1': decodeSmollm2(1, [...llamaCpp, 'memory-bf16', 'memory-int8']),
  'decode-smollm2-16': decodeSmollm2(16, llamaCpp),
  'start-smollm2': {
    ...{ kind: 'start', unit: 'start', model: smollm2, promptLength: 32, fresh: true },
    systems: [...ours, ...transformers, 'llama-cpp'],
  },
  'memory-smollm2': train(smollm2, 2, 512, 2, {
    ...{ unit: 'memory', fresh: true, lora: 16, lr: 1e-4, lossSteps: 1, systems: ['ours-bf16', 'trl-sft-bf16'] },
  }),
  'grpo-small': grpo(small),
  'grpo-smollm2': grpo(smollm2, { pairs: 3 }),
};

const models = {
  '30m': [shape('30m', 256, 512, 8, 8), 32, 1024],
  '125m': [shape('125m', 32768, 768, 12, 12), 32, 1024],
  '350m': [shape('350m', 32768, 1024, 22, 16), 16, 2048],
  '1.3b': [shape('1.3b', 32768, 2048, 21, 32), 8, 2048],
};

// The systems take turns only where all of them fit on the device together.
const cuda = Object.fromEntries(
  Object.entries(models).flatMap(([name, [model, batch, length]]) => {
    const alone = name === '350m' || name === '1.3b';
    const longer = { promptLength: 128, newTokens: 512, alone, runs: { 'pytorch-default': 1 } };
    return [
      [`train-${name}`, train(model, batch, length, 10, { alone, lr: 3e-4 })],
      ...batches.map((rows) => {
        const systems = [...starters.slice(0, -1), ...(rows === 1 ? ['pytorch-default'] : [])];
        return [`decode-${name}-${rows}`, decode(model, rows, { ...longer, systems })];
      }),
    ];
  }),
);

export const workloads = { cpu: { ...cpu, ...real }, cuda };

/** What the README says, and what it is measured by: `ours` against the fastest of `peers`. */
export const claims = {
  cpu: [
    ...['train-small', 'train-mid'].flatMap((workload) => [
      { workload, ours: ['ours-bf16'], peers: ['pytorch-default'], goal: 3.5 },
      { workload, ours: ['ours-bf16'], peers: ['pytorch-tuned', 'pytorch-tuned-math'], goal: 1.4 },
      { workload, ours: ['ours-fp32'], peers: ['pytorch-default'], goal: 2 },
      { workload, ours: ['ours-fp32'], peers: ['pytorch-compile'], goal: 2 },
    ]),
    ...decodeClaims('decode-small-1', [15, 8, 2]),
    ...decodeClaims('decode-small-16', [100, 5, 8]),
    ...decodeClaims('decode-mid-1', [30, 6, 1.4]),
    ...decodeClaims('decode-mid-16', [100, 4, 5]),
    { workload: 'ppo-small', ours, peers: ['pytorch-default'], goal: 50 },
    { workload: 'ppo-small', ours, peers: ['trl-grpo-fp32', 'trl-grpo-bf16'], goal: 5 },
    { workload: 'start', ours, peers: ['pytorch-default'], goal: 8 },
    { workload: 'memory', ours: ['ours-bf16'], peers: ['pytorch-default'], goal: 2 },
    { workload: 'memory', ours: ['ours-bf16'], peers: ['pytorch-tuned', 'pytorch-tuned-math'], goal: 1.25 },
    ...['train-smollm2-lora', 'train-smollm2'].map((workload) => {
      return { workload, ours, peers: [...transformers, ...compiled], goal: 1.15 };
    }),
    { workload: 'decode-smollm2-1', ours: ['ours-bf16'], peers: ['memory-bf16'], goal: 0.7 },
    { workload: 'decode-smollm2-1', ours: ['ours-int8'], peers: ['llama-cpp-q8'], goal: 0.95 },
    { workload: 'decode-smollm2-1', ours, peers: ['llama-cpp'], goal: 1 },
    { workload: 'decode-smollm2-1', ours: [...ours, 'ours-int8'], peers: ['llama-cpp-q4'], goal: 1 },
    { workload: 'decode-smollm2-1', ours, peers: transformers, goal: 3 },
    { workload: 'decode-smollm2-1', ours, peers: compiled, goal: 2 },
    { workload: 'decode-smollm2-16', ours, peers: [...transformers, ...compiled], goal: 2 },
    { workload: 'decode-smollm2-16', ours, peers: ['llama-cpp'], goal: 2 },
    { workload: 'start-smollm2', ours, peers: transformers, goal: 3 },
    { workload: 'memory-smollm2', ours: ['ours-bf16'], peers: ['trl-sft-bf16'], goal: 1.67 },
    ...['grpo-small', 'grpo-smollm2'].map((workload) => {
      return { workload, ours, peers: ['trl-grpo-fp32', 'trl-grpo-bf16'], goal: 1.8 };
    }),
  ],
  cuda: ['30m', '125m', '350m', '1.3b'].flatMap((name) => [
    { workload: `train-${name}`, ours: ['ours-bf16'], peers: ['pytorch-default'], goal: 8 },
    { workload: `train-${name}`, ours: ['ours-bf16'], peers: ['pytorch-tuned', 'pytorch-tuned-math'], goal: 1.3 },
  ]),
};

function decodeClaims(workload, [python, transformers, llama]) {
  return [
    { workload, ours, peers: ['pytorch-default'], goal: python },
    { workload, ours, peers: ['transformers-fp32', 'transformers-bf16'], goal: transformers },
    { workload, ours, peers: ['llama-cpp'], goal: llama },
  ];
}
