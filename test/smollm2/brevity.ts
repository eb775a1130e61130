/**
 * What SmolLM2 learns from a reward: asked for one short sentence, it goes on for long. The reward is fixed here, with the questions that
 * it learns from and others, on which it is judged.
 */
import { type Answer, type Chat, LanguageModel, type Preference, type RewardFunction } from '../../src/index.ts';
import { MODEL_KINDS } from '../../src/models/registry.ts';
import { judgeAnswers, meanOf } from '../../src/rewards/evaluation.ts';
import { answerPrompts } from '../../src/runs/answers.ts';
import { findModelOf, type ModelText, textOf } from '../../src/runs/model-file.ts';
import { endTokens } from '../../src/tokenizer/tokenizer.ts';
import { chunks } from '../../src/trainers/rollouts.ts';
import { smollm2 } from '../smollm2.ts';

/** Tokens of an answer at most. */
export const LIMIT = 32;
const SYSTEM = 'Answer with one short sentence.';

/** The questions to learn from. */
const QUESTIONS = [
  'What does a baker do?',
  'What is a hammer for?',
  'Where do penguins live?',
  'What do cows eat?',
  'What is snow?',
  'What colour is grass?',
  'Who was Mozart?',
  'What is bread made of?',
  'Why do people sleep?',
  'What does a dentist do?',
  'Where do camels live?',
  'What is a ladder for?',
  'What do bees make?',
  'What is a river?',
  'Who was Shakespeare?',
  'What is glass made of?',
  'Why do leaves fall?',
  'What does a pilot do?',
  'Where do whales live?',
  'What is an umbrella for?',
  'What do rabbits eat?',
  'What is a volcano?',
  'Who was Einstein?',
  'What is cheese made of?',
  'Why does ice melt?',
  'What does a farmer do?',
  'Where do tigers live?',
  'What is a needle for?',
  'What do horses eat?',
  'What is a desert?',
  'Who was Columbus?',
  'What is paper made of?',
];
/** The questions on which it is judged. */
const HELD_OUT = [
  'What does a nurse do?',
  'What is a spoon for?',
  'Where do owls live?',
  'What do sheep eat?',
  'What is rain?',
  'What colour is the sky?',
  'Who was Beethoven?',
  'What is butter made of?',
  'Why do people laugh?',
  'What does a plumber do?',
  'Where do sharks live?',
  'What is a broom for?',
  'What do spiders make?',
  'What is an island?',
  'Who was Napoleon?',
  'What is wine made of?',
];

/** From 0 to almost 1: the fewer tokens, the better; 0 for an answer without text, and for one that did not end within LIMIT. */
export function brevity(eosTokens: readonly number[]): RewardFunction {
  const score = ({ response, responseText = '' }: Answer) => {
    const ended = eosTokens.includes(response.at(-1) as number);
    return ended && responseText.trim() !== '' ? 1 - response.length / LIMIT : 0;
  };
  return (answers) => answers.map(score);
}

/** SmolLM2 in bfloat16, its text, and the questions as its chat template writes them. */
export interface Task {
  base: LanguageModel;
  text: ModelText;
  prompts: number[][];
  heldOut: number[][];
  reward: RewardFunction;
}

/** Loads SmolLM2; dispose of `base`. */
export async function openTask(): Promise<Task> {
  const text = await textOf({}, await findModelOf(smollm2(), MODEL_KINDS));
  const [prompts, heldOut] = [await asked(text, QUESTIONS), await asked(text, HELD_OUT)];
  const base = await LanguageModel.load(smollm2(), { dtype: 'bfloat16' });
  return { base, text, prompts, heldOut, reward: brevity(endTokens(text) ?? []) };
}

async function asked({ chat }: ModelText, questions: readonly string[]): Promise<number[][]> {
  const prompts: number[][] = [];
  for (const content of questions) {
    const prompt = await (chat as Chat).prompt([
      { role: 'system', content: SYSTEM },
      { role: 'user', content },
    ]);
    prompts.push(prompt);
  }
  return prompts;
}

/** The mean score of four answers to each held-out question, drawn with the same seed each time; `scope` names the adapters that answer. */
export async function heldOutScore({ text, heldOut, reward }: Task, model: LanguageModel, scope?: string) {
  const drawing = { maxNewTokens: LIMIT, samplesPerPrompt: 4, temperature: 1, seed: 1, scope };
  const judging = { ...drawing, batchSize: heldOut.length, timeout: 60 };
  const { scores, answers } = await judgeAnswers(model, text, heldOut, reward, judging);
  return { score: meanOf(scores), example: answers[0]?.responseText ?? '' };
}

/**
 * Pairs of the model's own answers, eight to each question: the best is chosen over the worst, the second best over the second worst,
 * and the third best over the third worst, unless they are equally good.
 */
export async function comparedPairs({ base, text, prompts, reward }: Task, seed: number): Promise<Preference[]> {
  const drawing = { maxNewTokens: LIMIT, samplesPerPrompt: 8, temperature: 1, seed };
  const answers = await answerPrompts(base, text, prompts, drawing);
  const scores = await reward(
    answers.map((answer) => ({ ...answer, prompt: [...answer.prompt], responseText: answer.text })),
  );
  const ranked = chunks(
    answers.map(({ prompt, response }, row) => ({ prompt: [...prompt], response, score: Number(scores[row]) })),
    8,
  );
  return ranked.flatMap((some) => {
    const best = some.toSorted((a, b) => b.score - a.score);
    const worst = best.toReversed();
    return best.slice(0, 3).flatMap(({ prompt, response, score }, place) => {
      const other = worst[place] as (typeof best)[number];
      return score > other.score ? [{ prompt, chosen: response, rejected: other.response }] : [];
    });
  });
}
