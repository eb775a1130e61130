/**
 * How far the log-probabilities that decoding gives are from those of the forward pass that training uses, for each element
 * type and for int8 weights: `node benchmarks/sampler-gap.mjs`. Random weights; temperature 0.1 makes the distribution as
 * sharp as that of a trained model.
 */
import { ActorCritic, PaLM } from '../dist/index.js';

const MODELS = {
  small: { dim: 256, depth: 4, heads: 8, dimHead: 32 },
  mid: { dim: 512, depth: 8, heads: 8, dimHead: 64 },
};
const prompts = Array.from({ length: 16 }, (_, row) =>
  Array.from({ length: 8 + row }, (_, t) => (row * 31 + t * 7) % 256),
);

/** Mean and largest |difference| over the response tokens, and the mean difference: that of the log perplexity. */
async function gapOf(actorCritic, scope, options) {
  const out = await actorCritic.model.generate({ prompts, scope, maxNewTokens: 128, seed: 1, ...options });
  const { temperature } = options;
  const now = await actorCritic.evaluate(out.sequences, { temperature, grad: false });
  const [drawn, exact, mask] = await Promise.all([out.logProbs, now.logProb, out.responseMask].map((x) => x.data()));
  out.dispose();
  now.dispose();
  const gaps = Array.from(drawn, (value, i) => value - exact[i]).filter((_, i) => mask[i]);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const sizes = gaps.map(Math.abs);
  return { mean: mean(sizes), largest: Math.max(...sizes), bias: mean(gaps) };
}

console.log('| model | weights | temperature | mean | largest | mean, signed |');
for (const [name, size] of Object.entries(MODELS)) {
  for (const dtype of ['float32', 'bfloat16']) {
    const palm = new PaLM({ numTokens: 256, ...size, dtype, seed: 1 });
    const actorCritic = new ActorCritic(palm);
    for (const weights of [undefined, 'int8']) {
      for (const temperature of [1, 0.1]) {
        const gap = await gapOf(actorCritic, 'actor', { temperature, ...(weights && { weights }) });
        const figures = [gap.mean, gap.largest, gap.bias].map((figure) => figure.toExponential(1));
        console.log(`| ${[name, weights ? `${dtype}, int8` : dtype, temperature, ...figures].join(' | ')} |`);
      }
    }
    actorCritic.dispose();
    palm.dispose();
  }
}
