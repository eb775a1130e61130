/** Checks the important shapes in one process and reports each at once: `node scripts/gpu-smoke.mjs [device]`. */
import { appendFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { AdamW, PaLM, useDeterministic } from '../dist/index.js';
import { addon } from '../dist/internal.js';
import { modelOf, SMALL } from './gpu-families.mjs';

const device = process.argv[2] ?? 'cuda';
const only = process.argv.find((word) => word.startsWith('--only='))?.slice(7);
const began = performance.now();
let failed = 0;

function report(name, ok, facts) {
  if (!ok) failed++;
  const line = { name, ok, ...facts, at: Math.round(performance.now() - began) };
  if (process.env.OUT) appendFileSync(join(process.env.OUT, 'smoke.jsonl'), `${JSON.stringify(line)}\n`);
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name} ${JSON.stringify(facts)} ${line.at} ms`);
}
async function part(name, work) {
  if (only && !name.startsWith(only)) return;
  try {
    await work();
  } catch (error) {
    report(name, false, { error: String(error?.message ?? error).slice(0, 400) });
  }
}
const tokensOf = (rows, time, vocabulary, seed = 1) =>
  Array.from({ length: rows }, (_, r) =>
    Array.from({ length: time }, (_, t) => (Math.imul(t * 31 + r * 17 + seed, 2654435761) >>> 8) % vocabulary),
  );
const distance = (a, b) => {
  let diff = 0,
    size = 0;
  for (let i = 0; i < b.length; i++) {
    diff += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return Math.sqrt(diff / (size || 1));
};
async function readings(palm, tokens) {
  const all = {};
  {
    const { logits, embeddings } = await palm.forward(tokens);
    all.logits = await logits.data();
    logits.dispose();
    embeddings?.dispose();
  }
  const loss = await palm.loss(tokens);
  await loss.backward();
  all.loss = [await loss.item()];
  loss.dispose();
  for (const parameter of palm.parameters()) {
    const grad = await parameter.grad();
    if (grad) {
      all[parameter.name] = await grad.data();
      grad.dispose();
    }
  }
  return all;
}
async function withKernels(on, work) {
  await addon().useKernels(on);
  try {
    return await work();
  } finally {
    await addon().useKernels(true);
  }
}
async function read(options, tokens, kernels = true) {
  const palm = new PaLM({ ...options, device, seed: 5 });
  const numbers = await withKernels(kernels, () => readings(palm, tokens));
  palm.dispose();
  return numbers;
}
const worst = (a, b) =>
  Object.entries(b)
    .map(([name, numbers]) => [distance(a[name], numbers), name])
    .sort((x, y) => y[0] - x[0])[0];

await part('info', async () =>
  report('info', true, { ...addon().info(), ...(device === 'cpu' ? {} : await addon().cudaInfo()) }),
);

// 1. Training kernels and libtorch's attention against float64, at head widths that the fused backends support.
const base = { numTokens: 97, depth: 2, ffMult: 2 };
for (const [heads, dimHead, dim] of [
  [4, 64, 128],
  [3, 32, 96],
  [2, 128, 64],
  [1, 64, 64],
  [5, 8, 40],
])
  for (const time of device === 'cpu' ? [2, 65] : [2, 3, 64, 127, 129, 128, 257, 1025]) {
    const size = { ...base, heads, dimHead, dim },
      tokens = tokensOf(2, time, 97),
      name = `block ${heads}x${dimHead} T ${time}`;
    await part(name, async () => {
      const truth = await read({ ...size, dtype: 'float64' }, tokens);
      const [single, where] = worst(await read({ ...size, dtype: 'float32' }, tokens), truth);
      report(`${name} float32`, single < 5e-5, { error: single, where }); // an error near 5e-4 means that TF32 is on
      const plain = worst(await read({ ...size, dtype: 'bfloat16' }, tokens, false), truth)[0];
      const [fused, at] = worst(await read({ ...size, dtype: 'bfloat16' }, tokens), truth);
      report(`${name} bfloat16`, fused < 2 * plain + 5e-3, { error: fused, reference: plain, where: at });
    });
  }

// 2. The same shapes with other strides of the attention output: a plan cached without the strides gives wrong results.
await part('recompute levels', async () => {
  const size = { ...base, heads: 4, dimHead: 64, dim: 128, dtype: 'bfloat16' },
    tokens = tokensOf(3, 193, 97);
  const first = await read({ ...size, recompute: 'none' }, tokens);
  for (const recompute of ['selective', 'full', 'none', 'selective']) {
    const [error, where] = worst(await read({ ...size, recompute }, tokens), first);
    report(`recompute ${recompute} after none`, error < 1e-2, { error, where });
  }
});

// 3. The same run twice, compared bit by bit: by default (no guarantee), then with deterministic algorithms.
for (const dtype of ['float32', 'bfloat16'])
  await part(`twice ${dtype}`, async () => {
    const size = { ...base, heads: 4, dimHead: 64, dim: 128, dtype },
      tokens = tokensOf(3, device === 'cpu' ? 65 : 513, 97);
    const twice = async () => {
      const [a, b] = [await read(size, tokens), await read(size, tokens)];
      return { a, different: Object.keys(a).filter((name) => a[name].some((x, i) => !Object.is(x, b[name][i]))) };
    };
    const usual = await twice();
    report(`twice ${dtype}`, true, { bitwise: usual.different.length === 0, different: usual.different.slice(0, 3) });
    await useDeterministic(true);
    try {
      const { a, different } = await twice();
      const [error, where] = worst(a, usual.a);
      const near = error < (dtype === 'float32' ? 1e-5 : 2e-2);
      report(`deterministic ${dtype}`, different.length === 0 && near, {
        different: different.slice(0, 3),
        error,
        where,
      });
    } finally {
      await useDeterministic(false);
    }
  });

/** Adds a scope on all linear layers and trains it a little, so that it changes what is read. */
async function adapted(model) {
  const scope = 'tune';
  model.addScope(scope, { rank: 4, targets: 'all-linear' });
  const optimizer = new AdamW(model.parameters({ scope }), { lr: 0.05 });
  for (let i = 0; i < 2; i++) {
    const loss = await model.loss(tokensOf(4, 17, 97), { scope });
    await loss.backward();
    await optimizer.step();
    optimizer.zeroGrad();
    loss.dispose();
  }
  return scope;
}

/** Compares log-probabilities as they were drawn with those of the forward pass. */
async function checkDecoding(name, model, { rows, more, dtype, ...of }) {
  const prompts = tokensOf(rows, 9, 97).map((row, i) => row.slice(0, 1 + (i % 9)));
  const out = await model.generate({ prompts, maxNewTokens: more, seed: 2, ...of });
  const { logits, embeddings } = await model.forward(out.sequences, of);
  const [tokens, mask, drawn, all] = await Promise.all(
    [out.sequences, out.responseMask, out.logProbs, logits].map((tensor) => tensor.data()),
  );
  let gap = 0,
    count = 0;
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    const row = all.subarray((i - 1) * 97, i * 97),
      top = Math.max(...row);
    const lse = Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0)) + top;
    gap = Math.max(gap, Math.abs(row[Number(tokens[i])] - lse - drawn[i]));
    count++;
  }
  report(name, gap < (dtype === 'float32' ? 2e-4 : 0.2) && count === rows * more, { gap, count });
  for (const tensor of [out.sequences, out.responseMask, out.logProbs, logits, embeddings]) tensor?.dispose();
}

// 4. Decoding with the cache against the forward pass: several chunks of keys, and shapes that fill shared memory.
for (const [heads, dimHead, rows, more] of device === 'cpu'
  ? [[4, 64, 3, 20]]
  : [
      [12, 64, 1, 400],
      [12, 64, 3, 300],
      [12, 64, 300, 40],
      [64, 64, 2, 8],
      [32, 128, 2, 8],
      [16, 64, 65, 270],
    ])
  for (const dtype of ['bfloat16', 'float32'])
    await part(`decode ${heads}x${dimHead} rows ${rows} ${dtype}`, async () => {
      const palm = new PaLM({ ...base, heads, dimHead, dim: 128, dtype, device, seed: 3 });
      await checkDecoding(`decode ${heads}x${dimHead} rows ${rows} ${dtype}`, palm, { rows, more, dtype });
      palm.dispose();
    });

// The same for other families, whose heads of keys may be several; one through adapters on all sites.
for (const [family, config] of Object.entries(SMALL))
  for (const dtype of ['bfloat16', 'float32'])
    await part(`decode ${family} ${dtype}`, async () => {
      const model = await modelOf(config, { dtype, device });
      const sizes = { rows: 5, more: device === 'cpu' ? 20 : 300, dtype };
      await checkDecoding(`decode ${family} ${dtype}`, model, sizes);
      if (config.model_type === 'llama')
        await checkDecoding(`decode adapters ${dtype}`, model, { ...sizes, scope: await adapted(model) });
      model.dispose();
    });

// 5. Device memory after many generations: graphs must release theirs.
const used = () =>
  device === 'cpu'
    ? 0
    : Number(
        execFileSync('nvidia-smi', ['--query-gpu=memory.used', '--format=csv,noheader,nounits'], {
          encoding: 'utf8',
        }).trim(),
      );
await part('graphs', async () => {
  const palm = new PaLM({ ...base, numTokens: 8192, heads: 12, dimHead: 64, dim: 768, dtype: 'bfloat16', device });
  const memory = [];
  for (let i = 0; i < (device === 'cpu' ? 2 : 41); i++) {
    const out = await palm.generate({ prompts: tokensOf(64, 8, 8192), maxNewTokens: 4 });
    await out.sequences.data();
    for (const tensor of [out.sequences, out.responseMask, out.logProbs]) tensor.dispose();
    if (i % 10 === 0) memory.push(used());
  }
  palm.dispose();
  report('graphs', memory.at(-1) - memory[0] < 512, { usedMiB: memory });
});

// 6. Running out of memory raises an error with numbers, and the next call works.
if (device !== 'cpu')
  await part('out of memory', async () => {
    const palm = new PaLM({ numTokens: 97, dim: 4096, depth: 1, heads: 32, dimHead: 128, dtype: 'bfloat16', device });
    let error;
    try {
      const loss = await palm.loss(tokensOf(400, 4097, 97));
      await loss.backward();
      await loss.item();
    } catch (caught) {
      error = caught;
    }
    const again = await palm.loss(tokensOf(1, 9, 97));
    report('out of memory', error?.code === 'ERR_OUT_OF_MEMORY' || error?.constructor.name === 'OutOfMemoryError', {
      error: String(error?.message).slice(0, 200),
      again: await again.item(),
    });
    again.dispose();
    palm.dispose();
  });

// 7. A few steps of every training method.
await part('training', async () => {
  const palm = new PaLM({ ...base, heads: 4, dimHead: 64, dim: 128, dtype: 'bfloat16', device, seed: 4 });
  const optimizer = new AdamW(palm.parameters(), { lr: 1e-2 });
  const losses = [];
  for (let i = 0; i < 20; i++) {
    const loss = await palm.loss(tokensOf(4, 65, 97, 1));
    await loss.backward();
    await optimizer.step({ maxGradNorm: 1 });
    optimizer.zeroGrad();
    losses.push(await loss.item());
    loss.dispose();
  }
  report('training', losses.at(-1) < 0.5 * losses[0], { first: losses[0], last: losses.at(-1) });
});
console.log(`${failed} failed in ${((performance.now() - began) / 1000).toFixed(1)} s`);
process.exitCode = failed > 0 ? 1 : 0;
