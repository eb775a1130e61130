/**
 * The simplest judge: logistic regression on which n-grams a response has, whatever the prompt. P(chosen better) = σ(w · x), where
 * x is 1 for an n-gram that only the chosen response has and -1 for one that only the rejected response has.
 */

/** What is tried: n-grams of words, up to `most` long, and the weight of |w|² / 2 against a pair. */
export const NGRAMS = {
  'n-grams of 1–2 words': { most: 2, decay: 0.01 },
  'n-grams of 1–2 words, more decay': { most: 2, decay: 0.05 },
};

const PASSES = 100;
/** An n-gram counts if so many training responses have it. */
const LEAST = 3;

/** Gaps (the log odds that the chosen response is better) of the pairs `held`, by weights learned from `train`. */
export function ngramGaps(train, held, { most, decay }) {
  const grams = (text) => gramsOf(wordsOf(text), most);
  const numbers = numbered(train.flatMap(({ chosen, rejected }) => [grams(chosen), grams(rejected)]));
  const features = ({ chosen, rejected }) => difference(grams(chosen), grams(rejected), numbers);
  const weights = weightsOf(train.map(features), numbers.size, decay);
  return held.map((pair) => dot(features(pair), weights));
}

function wordsOf(text) {
  return text.toLowerCase().match(/[\p{L}\p{N}']+|[^\s\p{L}\p{N}]/gu) ?? [];
}

function gramsOf(units, most) {
  const grams = new Set();
  for (let i = 0; i < units.length; i++) {
    for (let n = 1; n <= most && i + n <= units.length; n++) grams.add(units.slice(i, i + n).join('\u0001'));
  }
  return grams;
}

function numbered(responses) {
  const counts = new Map();
  for (const grams of responses) for (const gram of grams) counts.set(gram, (counts.get(gram) ?? 0) + 1);
  const kept = [...counts].filter(([, count]) => count >= LEAST);
  return new Map(kept.map(([gram], i) => [gram, i]));
}

function difference(chosen, rejected, numbers) {
  const only = (a, b) => [...a].filter((gram) => !b.has(gram) && numbers.has(gram)).map((gram) => numbers.get(gram));
  return { plus: only(chosen, rejected), minus: only(rejected, chosen) };
}

function dot({ plus, minus }, weights) {
  let sum = 0;
  for (const i of plus) sum += weights[i];
  for (const i of minus) sum -= weights[i];
  return sum;
}

/** Minimises mean log(1 + e^(-w·x)) + decay |w|² / 2 by gradient descent with momentum. */
function weightsOf(rows, size, decay) {
  const weights = new Float64Array(size);
  const velocity = new Float64Array(size);
  const widest = Math.max(...rows.map(({ plus, minus }) => plus.length + minus.length));
  const rate = 4 / widest;
  for (let pass = 0; pass < PASSES; pass++) {
    const gradient = weights.map((weight) => decay * weight);
    for (const row of rows) {
      const push = 1 / (1 + Math.exp(dot(row, weights))) / rows.length;
      for (const i of row.plus) gradient[i] -= push;
      for (const i of row.minus) gradient[i] += push;
    }
    for (let i = 0; i < size; i++) {
      velocity[i] = 0.9 * velocity[i] - rate * gradient[i];
      weights[i] += velocity[i];
    }
  }
  return weights;
}
