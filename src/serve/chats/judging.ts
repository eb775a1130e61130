/** What people say about answers: that one is good or bad, or better than others of its turn. */
import { ApiError } from '../../web/api-error.ts';
import type { Answer, Vote } from './rows.ts';
import type { ChatStore } from './store.ts';

/** Says that an answer is good, bad, or neither. @throws ApiError unless there is something to judge */
export function vote(store: ChatStore, id: string, value: Vote): { id: string; value: Vote } {
  judged(store.answer(id));
  store.vote(id, value);
  return { id, value };
}

/**
 * Says that an answer is better than others of its turn; all others that have ended, unless `inferior` names some.
 * @throws ApiError unless there is something to compare
 */
export function pick(store: ChatStore, id: string, inferior: readonly string[] | undefined): { turn: string } {
  const chosen = judged(store.answer(id));
  const answers = store.turn(chosen.turn);
  const others = answers.filter((one) => one.id !== id && isJudged(one)).map((one) => one.id);
  const worse = inferior ?? others;
  if (worse.length === 0) throw new ApiError(409, `there is no other answer to compare ${id} with`);
  const wrong = worse.find((one, i) => !others.includes(one) || worse.indexOf(one) !== i);
  if (wrong !== undefined) {
    const message = `${JSON.stringify(wrong)} is not another finished answer to the same message, named once`;
    throw new ApiError(400, message, { param: 'inferior' });
  }
  const isKnown = store.tree(chosen.chat).picks.has(chosen.turn);
  const shown = answers.map((one) => one.id);
  const { turn, chat } = chosen;
  store.pick(chat, { turn, chosen: id, inferior: [...worse], shown, blind: isBlind(answers, isKnown) });
  return { turn };
}

function isJudged({ state }: Answer): boolean {
  return state === 'complete' || state === 'stopped';
}

/** @throws ApiError unless an answer can be judged */
function judged(answer: Answer): Answer {
  if (isJudged(answer)) return answer;
  throw new ApiError(409, `the answer ${answer.id} cannot be judged: it is ${answer.state.replace('_', ' ')}`);
}

/** Whether whoever judges cannot know which model gave which answer: their names were not shown, and none of several names itself. */
export function isBlind(answers: readonly Pick<Answer, 'model' | 'text'>[], areShown: boolean): boolean {
  const models = [...new Set(answers.map(({ model }) => model))];
  if (models.length === 1) return true;
  return (
    !areShown && !models.some((model) => answers.some(({ text }) => names(text, model.split('/').at(-1) as string)))
  );
}

/** Whether a text has a name as a word. */
function names(text: string, name: string): boolean {
  const escaped = name.replace(/[^\p{L}\p{N}\s]/gu, '\\$&');
  return new RegExp(`(?<![\\p{L}\\p{N}])${escaped}(?![\\p{L}\\p{N}])`, 'iu').test(text);
}
