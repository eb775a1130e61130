/** Trains a PaLM on a poem, byte by byte, and has it recite it. Run it with `npx tsx examples/language-model.ts`. */
import { AdamW, PaLM } from 'palm-rlhf';

const device = process.argv[2] ?? 'cpu';

// Christina Rossetti, 1872.
const poem = `Who has seen the wind?
Neither I nor you:
But when the leaves hang trembling,
The wind is passing through.

Who has seen the wind?
Neither you nor I:
But when the trees bow down their heads,
The wind is passing by.
`;
const bytes = [...Buffer.from(poem)];

using model = new PaLM({ numTokens: 128, dim: 64, depth: 2, heads: 4, dimHead: 16, device });
using optimizer = new AdamW(model.parameters(), { lr: 3e-3 });

for (let step = 0; step <= 120; step++) {
  using loss = await model.loss([bytes]); // a batch of one row; next-token cross-entropy in nats per byte
  await loss.backward();
  await optimizer.step({ maxGradNorm: 1 });
  optimizer.zeroGrad();
  if (step % 20 === 0) console.log(`step ${step}: loss ${(await loss.item()).toFixed(2)}`);
}

const prompt = 'Who has';
const maxNewTokens = poem.length - prompt.length;
process.stdout.write(`\n${prompt}`);
for await (const { token } of model.stream({ prompt: [...Buffer.from(prompt)], maxNewTokens, temperature: 0 })) {
  process.stdout.write(String.fromCharCode(token));
}
