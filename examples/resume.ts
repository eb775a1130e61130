/**
 * A training loop of your own with checkpoints: press Ctrl-C, or kill it, and run it again to resume.
 *
 *   npx tsx examples/resume.ts [device] [folder]
 */
import { AdamW, Batches, openCheckpoints, PaLM } from 'palm-rlhf';

const [device = 'cpu', directory = 'runs/resume'] = process.argv.slice(2);

// Each row counts from 0 in steps of 1, 2, 3 ..., modulo 32.
const rows = Array.from({ length: 31 }, (_, i) => Array.from({ length: 24 }, (_, t) => (t * (i + 1)) % 32));

using model = new PaLM({ numTokens: 32, dim: 64, depth: 2, heads: 4, dimHead: 16, device });
using optimizer = new AdamW(model.parameters(), { lr: 3e-3 });
const batches = new Batches({ size: rows.length, batchSize: 8, seed: 0 });

async function* train(start: number): AsyncGenerator<{ step: number; loss: number }> {
  for (let step = start; step < 200; step++) {
    using loss = await model.loss(batches.next().map((row) => rows[row] as number[]));
    await loss.backward();
    await optimizer.step({ maxGradNorm: 1 });
    optimizer.zeroGrad();
    yield { step: step + 1, loss: await loss.item() };
  }
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

// Everything that training changes; a checkpoint holds exactly these.
const parts = { model, optimizer, batches };
await using checkpoints = await openCheckpoints({ directory, parts, every: 20, signal: stop.signal });
console.log(`resuming from step ${await checkpoints.restore()}`);
for await (const { step, loss } of checkpoints.during(train)) {
  if (step % 20 === 0 || stop.signal.aborted) console.log(`step ${step}: loss ${loss.toFixed(6)}`);
}
