/** What the compiler accepts and refuses of `train`: checked with the types of the tests, never run. */
import { type ImplicitPRM, type TrainedJudge, type TrainedPolicy, train } from '../src/index.ts';

const reward = (answers: { response: string }[]) => answers.map(({ response }) => response.length);

export async function right() {
  const policy: TrainedPolicy = await train({ model: 'runs/base', reward, prompts: ['Hi'] });
  const sampling = { samplesPerPrompt: 8, maxNewTokens: 16 };
  await train({
    model: 'm',
    reward,
    prompts: [{ prompt: '2+2=' }],
    config: { method: 'grpo', sampling, advantage: { scale: 'none' } },
  });
  await train({
    model: 'm',
    reward,
    prompts: { file: 'prompts.jsonl' },
    config: { klWeight: 0.1, critic: { warmup: 0 } },
  });
  const parts = [{ name: 'length', reward, weight: 0.1 }, { reward: { model: 'runs/judge' } }];
  await train({ model: 'm', reward: parts, prompts: ['Hi'], stop: '\n' });
  await train({
    model: 'm',
    reward: { url: 'https://judge.example', headers: { authorization: 'x' } },
    prompts: ['Hi'],
  });
  await train({ model: 'm', reward: async (answers) => answers.map(({ prompt }) => prompt.length), prompts: ['Hi'] });
  await train({ model: 'm', comparisons: { file: 'pairs.jsonl' } });
  await train({ model: 'm', comparisons: [{ prompt: 'p', chosen: 'c', rejected: 'r' }], config: { beta: 0.2 } });
  const comparisons = { file: 'pairs.jsonl' };
  const judge: TrainedJudge = await train({ model: 'm', comparisons, config: { method: 'reward', pooling: 'all' } });
  await train({ model: 'm', comparisons, validation: { file: 'held-out.jsonl' }, device: 'cuda' });
  await train({ model: 'm', comparisons, config: { method: 'simpo', gammaOverBeta: 0.4 } });
  const samples = [{ prompt: 'p', completion: 'c' }];
  const tuned: TrainedPolicy = await train({ model: 'm', samples, config: { packing: false } });
  await train({ model: 'm', samples, rewards: [1], config: { loss: { tau: 0.9 } } });
  await train({ model: 'm', samples: { file: 'scored.jsonl' }, config: { method: 'ilql', loss: { tau: 0.9 } } });
  await train({
    model: 'm',
    labels: [{ ...samples[0], prompt: 'p', completion: 'c', label: true }],
    config: { loss: 'bco' },
  });
  const steps = [{ prompt: 'p', completions: ['a'], labels: [true] }];
  const implicit = await train({ model: 'm', labels: { file: 'l' }, config: { method: 'implicit-prm', beta: 0.1 } });
  const rewards: ImplicitPRM = implicit.rewardModel;
  const graded: TrainedJudge = await train({ model: 'm', steps, config: { neutral: 'skip' } });
  rewards.dispose();
  tuned.dispose();
  graded.dispose();
  const run = train({ model: 'm', reward, prompts: ['x'], signal: AbortSignal.timeout(1) });
  for await (const { step, metrics } of run) console.log(step, metrics.score);
  const [text] = await (await run).generate('Hi', { n: 4 });
  return [policy, judge, text, await judge.score([{ prompt: 'p', response: 'r' }])];
}

export async function wrong() {
  const comparisons = { file: 'p' };
  // @ts-expect-error two kinds of feedback at once
  await train({ model: 'm', reward, prompts: ['x'], comparisons });
  // @ts-expect-error a reward without prompts
  await train({ model: 'm', reward });
  // @ts-expect-error a method that needs a reward
  await train({ model: 'm', comparisons, config: { method: 'grpo' } });
  // @ts-expect-error an option of another method
  await train({ model: 'm', reward, prompts: ['x'], config: { method: 'grpo', adaptiveKl: { target: 1 } } });
  // @ts-expect-error an unknown key
  await train({ model: 'm', reward, prompts: ['x'], config: { method: 'grpo', groups: 8 } });
  // @ts-expect-error rewards without samples
  await train({ model: 'm', rewards: [1] });
  // @ts-expect-error rewards for a file, whose rows have their own
  await train({ model: 'm', samples: { file: 'p' }, rewards: [1] });
  // @ts-expect-error a label that is not true or false
  await train({ model: 'm', labels: [{ prompt: 'p', completion: 'c', label: 1 }] });
  // @ts-expect-error nothing to learn from
  await train({ model: 'm' });
  // @ts-expect-error a policy does not score
  (await train({ model: 'm', comparisons })).score([]);
}
