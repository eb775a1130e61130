/**
 * Trains a reward model on ratings from 1 to 5, then has it rate new answers. Run it with
 * `npx tsx examples/reward-model.ts`.
 */
import { AdamW, PaLM, RewardModel } from 'palm-rlhf';

const device = process.argv[2] ?? 'cpu';

// Our rater counts the kind words in an answer. Those in the prompt do not count.
const words = ['thanks', 'gladly', 'please', 'welcome', 'no', 'never', 'whatever', 'nonsense'];
const isKind = (word: number) => word < 4;
const fourWords = () => Array.from({ length: 4 }, () => Math.floor(Math.random() * words.length));

function ratedDialogues(count: number) {
  const dialogues = Array.from({ length: count }, () => ({ prompt: fourWords(), answer: fourWords() }));
  return {
    sequence: dialogues.map(({ prompt, answer }) => [...prompt, ...answer]),
    promptMask: dialogues.map(({ prompt, answer }) => [...prompt.map(() => true), ...answer.map(() => false)]),
    ratings: dialogues.map(({ answer }) => 1 + answer.filter(isKind).length),
  };
}

// Five bins, one per rating. Training changes a scope of adapters and the head, so other models can share the trunk.
using model = new PaLM({ numTokens: words.length, dim: 32, depth: 2, heads: 4, dimHead: 8, device });
using rewardModel = new RewardModel(model, { numBins: 5 });
using optimizer = new AdamW(rewardModel.parameters(), { lr: 5e-3 });

for (let step = 0; step <= 200; step++) {
  const { sequence, promptMask, ratings } = ratedDialogues(32);
  using loss = await rewardModel.loss(sequence, { promptMask, ratings });
  await loss.backward();
  await optimizer.step({ maxGradNorm: 1 });
  optimizer.zeroGrad();
  if (step % 40 === 0) console.log(`step ${step}: loss ${(await loss.item()).toFixed(2)}`);
}

const { sequence, promptMask, ratings } = ratedDialogues(5);
using score = await rewardModel.score(sequence, { promptMask }); // the expected bin, counted from 0
for (const [row, bin] of (await score.data()).entries()) {
  const [prompt, answer] = [sequence[row]?.slice(0, 4), sequence[row]?.slice(4)];
  const text = (tokens: number[] = []) => tokens.map((token) => words[token]).join(' ');
  console.log(`${text(prompt)} | ${text(answer)}: rated ${ratings[row]}, predicted ${(1 + Number(bin)).toFixed(1)}`);
}
