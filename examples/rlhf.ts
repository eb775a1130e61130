/**
 * Reinforcement learning from human feedback, from start to finish: a model that counts up and down learns that we
 * prefer counting up. Run it with `npx tsx examples/rlhf.ts`.
 */
import { AdamW, type Answer, PaLM, RLHFTrainer } from 'palm-rlhf';

const device = process.argv[2] ?? 'cpu';

// Here a text becomes tokens, one per digit. `loadTokenizer` returns tokenizers for any text.
const encode = (text: string) => [...text].map(Number);

// The training data: ten digits counting up, 7 8 9 0 1 2 ..., or down, 7 6 5 4 3 2 ..., from every start.
const digits = encode('0123456789');
const up = digits.map((start) => digits.map((i) => (start + i) % 10));
const down = up.map((row) => row.toReversed());

// First, pretraining: the model learns to count.
using model = new PaLM({ numTokens: 10, dim: 32, depth: 2, heads: 4, dimHead: 8, device });
using optimizer = new AdamW(model.parameters(), { lr: 5e-3 });
for (let step = 0; step < 100; step++) {
  using loss = await model.loss([...up, ...down]);
  await loss.backward();
  await optimizer.step({ maxGradNorm: 1 });
  optimizer.zeroGrad();
}

// Then it learns our preference. The reward is the share of an answer's digits that are one above the digit before.
// Here a function gives it. A RewardModel works too, and so does an asynchronous function that asks a person.
const rising = ({ prompt, response }: Answer) => {
  const before = [...prompt, ...response];
  return response.filter((digit, i) => digit === ((before[i] as number) + 1) % 10).length / response.length;
};
using trainer = new RLHFTrainer({
  model,
  rewardModel: (answers) => answers.map(rising),
  promptTokenIds: [...'0123456789'].map(encode),
  config: {
    sampling: { maxNewTokens: 9, samplesPerPrompt: 6 },
    klWeight: 0.05,
    lr: 1e-2,
    critic: { warmup: 1 },
    warmupSteps: 2,
  },
});
const steps = await trainer.train({ numEpisodes: 600 });
for (const { step, score, kl } of steps) {
  console.log(`iteration ${step}: score ${score.toFixed(2)}, KL to the first model ${kl?.toFixed(2)} nats`);
}

// The best of ten answers, by the same reward.
const best = await trainer.generate(10, { prompt: encode('7'), numSamples: 10 });
console.log(`best of ten: ${best.join(' ')}`);
