/** A chat is a tree; what is shown is one thread of it, from the first message to a leaf. */
import type { ShownAnswer, ShownMessage, ShownTree, ShownUser } from '../chats/shown.ts';

/** A message and the answers to it that are shown. */
export interface Exchange {
  user: ShownUser;
  /** Messages at the same place, this one among them. */
  versions: ShownUser[];
  /** The answers of a turn, in their places. */
  answers: ShownAnswer[];
  /** All turns of the message, this one among them. */
  turns: ShownAnswer[][];
  /** The answer that the thread goes on from. */
  on: ShownAnswer;
}

/** The exchanges of the thread that ends with the leaf of a chat. */
export function threadOf({ messages, leaf }: ShownTree): Exchange[] {
  const byId = new Map(messages.map((one) => [one.id, one]));
  const exchanges: Exchange[] = [];
  let on = leaf === null ? undefined : byId.get(leaf);
  while (on?.role === 'assistant') {
    const user = byId.get(on.parent) as ShownUser;
    exchanges.unshift(exchangeOf(messages, user, on));
    on = user.parent === null ? undefined : byId.get(user.parent);
  }
  return exchanges;
}

function exchangeOf(messages: readonly ShownMessage[], user: ShownUser, on: ShownAnswer): Exchange {
  const turns = turnsOf(messages, user.id);
  const answers = turns.find((turn) => turn[0]?.turn === on.turn) as ShownAnswer[];
  const versions = messages.filter((one): one is ShownUser => one.role === 'user' && one.parent === user.parent);
  return { user, versions, answers, turns, on };
}

function turnsOf(messages: readonly ShownMessage[], user: string): ShownAnswer[][] {
  const answers = messages.filter((one): one is ShownAnswer => one.role === 'assistant' && one.parent === user);
  const turns = [...new Set(answers.map(({ turn }) => turn))];
  return turns.map((turn) => answers.filter((one) => one.turn === turn).sort((a, b) => a.place - b.place));
}

/** The leaf of the newest thread below a message, or below one of the answers of a turn. */
export function leafBelow(messages: readonly ShownMessage[], user: string): string {
  return leafOfTurn(messages, turnsOf(messages, user).at(-1) ?? []);
}

export function leafOfTurn(messages: readonly ShownMessage[], answers: readonly ShownAnswer[]): string {
  const below = messages
    .filter(({ role, parent }) => role === 'user' && answers.some(({ id }) => id === parent))
    .at(-1);
  if (below !== undefined) return leafBelow(messages, below.id);
  return (answers.find(({ picked }) => picked === true) ?? (answers[0] as ShownAnswer)).id;
}

/** What an answer is called among those of its turn. */
export function letterOf({ place }: ShownAnswer): string {
  return 'ABCD'[place] as string;
}

/** Whether answers wait for somebody to say which is the best. */
export function canPick(answers: readonly ShownAnswer[]): boolean {
  return answers.length > 1 && answers.every(({ picked }) => picked === null);
}
