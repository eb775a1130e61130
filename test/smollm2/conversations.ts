/**
 * Conversations to fine-tune SmolLM2 on, written from a seed: short questions about words and numbers, of which the assistant answers
 * each with a single word. Nothing but this file decides what they say.
 */
import { Random } from '../../src/data/random.ts';
import type { ChatMessage } from '../../src/index.ts';

const WORDS =
  'apple bread candle desert engine forest garden hammer island jacket kettle ladder market needle orange pencil quarry river saddle table ' +
  'uncle valley window yellow zebra anchor basket copper dragon eagle feather guitar helmet insect jungle kitchen lemon mirror napkin ocean';
const OPPOSITES =
  'hot cold, big small, early late, loud quiet, full empty, young old, wet dry, high low, hard soft, light dark, fast slow, rich poor, ' +
  'left right, open closed, near far, long short, thick thin, clean dirty, sweet sour, strong weak, wide narrow, happy sad, first last';
const PLURALS =
  'mouse mice, goose geese, child children, tooth teeth, foot feet, leaf leaves, knife knives, box boxes, city cities, baby babies, ' +
  'man men, woman women, wolf wolves, shelf shelves, bus buses, story stories, ox oxen, half halves, dish dishes, key keys';

const pairsOf = (text: string) => text.split(', ').map((pair) => pair.split(' ') as [string, string]);

/** A question, and the word that answers it. */
type Exchange = readonly [question: string, answer: string];

/** Every question that can be asked. */
function exchanges(): Exchange[] {
  const words = WORDS.split(' ');
  const numbers = Array.from({ length: 60 }, (_, i) => 3 * i + 2);
  return [
    ...words.map((word): Exchange => [`Which letter does the word ${word} begin with?`, word.slice(0, 1)]),
    ...words.map((word): Exchange => [`Which letter does the word ${word} end with?`, word.slice(-1)]),
    ...words.map((word): Exchange => [`How would you write ${word} in capital letters?`, word.toUpperCase()]),
    ...pairsOf(OPPOSITES).map(([word, other]): Exchange => [`What is the opposite of ${word}?`, other]),
    ...pairsOf(PLURALS).map(([one, many]): Exchange => [`What is the plural of ${one}?`, many]),
    ...numbers.map((n): Exchange => [`Which number comes after ${n}?`, `${n + 1}`]),
    ...numbers.map((n): Exchange => [`Is ${n} odd or even?`, n % 2 === 0 ? 'even' : 'odd']),
  ];
}

const MANNERS = ['', 'Tell me: ', 'Quick question. ', 'I would like to know this. '];

/** `count` conversations of one question, or now and then two. No question is in two of them. @throws RangeError for too many */
export function conversations(count: number, seed: number): ChatMessage[][] {
  const random = new Random(seed);
  const all = random.shuffle(exchanges());
  return Array.from({ length: count }, () => {
    const some = all.splice(0, random.int(8) === 0 ? 2 : 1);
    if (some.length === 0) throw new RangeError(`there are questions for fewer than ${count} conversations`);
    return some.flatMap(([question, answer]): ChatMessage[] => [
      { role: 'user', content: (MANNERS[random.int(MANNERS.length)] as string) + question },
      { role: 'assistant', content: answer },
    ]);
  });
}
