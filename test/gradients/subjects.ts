/**
 * Gradients of small models over thousands of tokens, by the names of the weights: what rounded sums would spoil. As a
 * program it prints those of every subject in bfloat16.
 */
import { pathToFileURL } from 'node:url';
import { ActorCritic } from '../../src/models/actor-critic.ts';
import { ppoLoss } from '../../src/losses/policy.ts';
import { Tensor, type Parameter } from '../../src/tensor/tensor.ts';
import { device } from '../device.ts';
import { drawn, ids, normals, palmOf, palmShapes, rewardModelOf, rewardShapes } from '../parity/weights.ts';

export type Gradients = Record<string, number[]>;
/** Adds the gradients of `rows` sequences up, in so many backward passes. */
type Subject = (dtype: 'float32' | 'bfloat16', pieces: number, rows: number) => Promise<Gradients>;

// Few tokens: the rows of the embedding and the scales of the norms have long sums.
const SIZE = { numTokens: 12, dim: 32, depth: 2, heads: 2, dimHead: 16, ffMult: 2 };
const LENGTH = 257;

const sequences = (rows: number) => Array.from({ length: rows }, (_, row) => ids(LENGTH, SIZE.numTokens, 900 + row));

function inPieces<T>(all: readonly T[], pieces: number): T[][] {
  const size = all.length / pieces;
  return Array.from({ length: pieces }, (_, piece) => all.slice(piece * size, (piece + 1) * size));
}

async function backward(loss: Promise<Tensor>): Promise<void> {
  using value = await loss;
  await value.backward();
}

async function gradientsOf(parameters: readonly Parameter[]): Promise<Gradients> {
  const all: Gradients = {};
  for (const parameter of parameters) {
    using grad = await parameter.grad();
    if (grad !== null) all[parameter.name] = Array.from(await grad.data(), Number);
  }
  return all;
}

interface Variant {
  qkRmsnorm?: boolean;
  causal?: boolean;
  attnDropout?: number;
}

/** The next-token loss of all weights, read through an adapter; a dropout of nearly 0 is there for the plain blocks. */
function language(variant: Variant): Subject {
  return async (dtype, pieces, rows) => {
    const weights = drawn(palmShapes({ ...SIZE, ...variant }, { actor: 3 }), 21);
    using palm = await palmOf(weights, { ...SIZE, ...variant, dtype });
    if (variant.attnDropout) palm.train();
    const all = sequences(rows);
    for (const piece of inPieces(all, pieces)) {
      const denominator = all.length * (LENGTH - 1);
      await backward(palm.loss(piece, { scope: 'actor', denominator }));
    }
    return await gradientsOf([...palm.parameters(), ...palm.parameters({ scope: 'actor' })]);
  };
}

/** The ranking loss of a reward model: embeddings of prompt and response, adapters and head. */
const ranking: Subject = async (dtype, pieces, rows) => {
  using model = await rewardModelOf(drawn(rewardShapes(SIZE, 3), 22), { ...SIZE, dtype });
  const pairs = inPieces(sequences(rows), rows / 2);
  for (const piece of inPieces(pairs, pieces)) {
    const groups = piece.flatMap((_, pair) => [pair, pair]);
    const ranks = piece.flatMap(() => [0, 1]);
    const promptLengths = piece.flatMap(() => [40, 60]);
    await backward(model.rankingLoss(piece.flat(), { groups, ranks, promptLengths, denominator: pairs.length }));
  }
  return await gradientsOf(model.parameters());
};

/** PPO's loss of a policy that trains all weights, with its value head. */
const policy: Subject = async (dtype, pieces, rows) => {
  using palm = await palmOf(drawn(palmShapes(SIZE), 23), { ...SIZE, dtype });
  using actorCritic = new ActorCritic(palm, { lora: false });
  const all = sequences(rows);
  const normal = normals(24);
  const advantages = all.map((row) => row.map(() => 1 + normal()));
  const table = (values: number[][]) => Tensor.from(values, { device });
  for (const [k, piece] of inPieces(all, pieces).entries()) {
    const filled = (value: number) => table(piece.map((row) => row.map(() => value)));
    const advantage = table(inPieces(advantages, pieces)[k] as number[][]);
    const logProbs = { samplerLogProb: filled(-2.5), rolloutLogProb: filled(-2.5), referenceLogProb: filled(-2.5) };
    const sequence = Tensor.from(piece, { device, dtype: 'int64' });
    const responseMask = Tensor.from(
      piece.map((row) => row.map((_, t) => Number(t > 20))),
      { device, dtype: 'bool' },
    );
    const returns = { rolloutValue: filled(0), returns: filled(1) };
    const experience = { sequence, responseMask, ...logProbs, ...returns, advantage };
    const options = { clip: 1e3, valueClip: 1e3, valueWeight: 1, entropyWeight: 0.1, denominator: all.length * LENGTH };
    await backward(ppoLoss(await actorCritic.evaluate(sequence), experience, options));
  }
  return await gradientsOf(actorCritic.parameters());
};

export const SUBJECTS: Record<string, Subject> = {
  'fused blocks': language({}),
  'plain blocks': language({ attnDropout: 1e-9 }),
  qkRmsnorm: language({ qkRmsnorm: true }),
  'causal: false': language({ causal: false }),
  'a reward model': ranking,
  'a policy': policy,
};

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const all: Record<string, Gradients> = {};
  for (const [name, subject] of Object.entries(SUBJECTS)) all[name] = await subject('bfloat16', 1, 4);
  process.stdout.write(JSON.stringify(all));
}
