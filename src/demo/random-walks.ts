/**
 * The random-walks task of trlX (examples/randomwalks): 21 nodes, a to u, of which a is the goal. A model is trained on
 * random walks and then learns from a score alone to take the shortest way. The graph is the one that trlX draws with
 * seed 1000; only d and n lead to a.
 */
import { ArgumentError, printable } from '../errors.ts';
import { checkTokens, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { Random } from '../data/random.ts';

const LETTERS = 'abcdefghijklmnopqrstu';
const GOAL = 'a';
/** Maximum number of nodes in a walk, including its start. */
const MAX_NODES = 10;

const EDGES =
  'b:dju c:ekor d:alt e:bs f:dhim g:cqru h:c i:dh j:n k:bgjn l:b m:befghs n:ab o:r p:ju q:fj r:gjo s:du t:k u:bis';

/** The nodes that each node leads to; the goal leads nowhere. */
export const neighbours: ReadonlyMap<string, string> = new Map(
  EDGES.split(' ').map((edges) => [edges.charAt(0), edges.slice(2)]),
);

/** The 20 nodes other than the goal, one prompt each. */
export const walkPrompts: readonly string[] = [...neighbours.keys()];

/** The number of nodes in the shortest walk to the goal from each node, counting both ends. */
export const shortest: ReadonlyMap<string, number> = shortestWalks();

/**
 * The letters as tokens 0 to 20, then eos (21) and padding (22). It has no `describe`, as no file is needed to restore
 * it.
 */
export const letterTokenizer: Omit<Tokenizer, 'describe'> = {
  vocabSize: LETTERS.length + 2,
  eosToken: LETTERS.length,
  padToken: LETTERS.length + 1,
  hash: 'random walks',

  encode(text) {
    const tokens = Array.from(text, (letter) => LETTERS.indexOf(letter));
    const wrong = tokens.indexOf(-1);
    if (wrong < 0) return tokens;
    const received = printable(Array.from(text)[wrong]);
    throw new ArgumentError({
      argument: `letterTokenizer, letter ${wrong}`,
      received,
      expected: 'letters from a to u',
    });
  },

  decode(tokens) {
    return checkTokens(tokens, LETTERS.length + 2)
      .map((token) => LETTERS.charAt(token))
      .join('');
  },
};

/** Samples `count` walks: a start other than the goal, then uniformly chosen neighbours until the goal or 10 nodes. */
export function randomWalks({ count, seed }: { count: number; seed: number }): string[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    let node = walkPrompts[random.int(walkPrompts.length)] as string;
    let walk = node;
    while (node !== GOAL && walk.length < MAX_NODES) {
      const choices = neighbours.get(node) as string;
      node = choices.charAt(random.int(choices.length));
      walk += node;
    }
    return walk;
  });
}

/**
 * The quality of a walk: 1 for a shortest walk to the goal, falling to 0 for one of 10 nodes; 0 for a walk that takes a
 * nonexistent edge, never reaches the goal, or has an invalid start. Nodes after the goal are ignored.
 * @param walk letters, or ids of `letterTokenizer`; ids end at the first eos or padding
 */
export function optimality(walk: string | readonly number[]): number {
  const nodes = typeof walk === 'string' ? walk : lettersOf(walk);
  const best = shortest.get(nodes.charAt(0));
  const length = lengthToGoal(nodes);
  if (best === undefined || length === undefined) return 0;
  return (MAX_NODES - Math.min(length, MAX_NODES)) / (MAX_NODES - best);
}

function lengthToGoal(nodes: string): number | undefined {
  for (let i = 1; i < nodes.length; i++) {
    const node = nodes.charAt(i);
    if (!neighbours.get(nodes.charAt(i - 1))?.includes(node)) return undefined;
    if (node === GOAL) return i + 1;
  }
  return undefined;
}

function lettersOf(ids: readonly number[]): string {
  const end = ids.findIndex((id) => id === letterTokenizer.eosToken || id === letterTokenizer.padToken);
  return letterTokenizer.decode(end < 0 ? ids : ids.slice(0, end));
}

// Breadth-first search backwards from the goal: iterating over a Map also visits entries added on the way.
function shortestWalks(): Map<string, number> {
  const lengths = new Map([[GOAL, 1]]);
  for (const [node, length] of lengths) {
    for (const [from, to] of neighbours) {
      if (to.includes(node) && !lengths.has(from)) lengths.set(from, length + 1);
    }
  }
  lengths.delete(GOAL);
  return lengths;
}
