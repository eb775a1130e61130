/** Writes the data of the walk in the README: a text, prompts with and without an answer, and pairs of which somebody preferred the happy one. */
import { writeFileSync } from 'node:fs';

const SIZES = ['small', 'big', 'young', 'old', 'brown', 'quick', 'wise', 'shy'];
const WHO = ['dog', 'cat', 'bird', 'horse', 'mouse', 'child', 'fox', 'duck'];
const HAPPY = ['sings', 'plays', 'laughs', 'dances', 'smiles'];
const SAD = ['cries', 'hides', 'falls', 'shivers', 'sighs'];
const WHERE = ['in the garden', 'by the river', 'under a tree', 'on the hill', 'near the barn', 'at the door'];

let state = 1;
/** One of some words, the same ones in every run. */
function pick(words) {
  state = (state * 48271) % 2147483647;
  return words[Math.floor((state / 2147483647) * words.length)];
}
const subject = () => `The ${pick(SIZES)} ${pick(WHO)}`;
const action = (verbs) => ` ${pick(verbs)} ${pick(WHERE)}.`;
const asked = () => ({ prompt: subject() });

/** Writes rows, one line of JSON for each. */
function save(file, count, row) {
  writeFileSync(file, Array.from({ length: count }, () => `${JSON.stringify(row())}\n`).join(''));
}

const sentences = Array.from({ length: 4000 }, () => subject() + action([...HAPPY, ...SAD]));
writeFileSync('text.txt', `${sentences.join('\n')}\n`);
save('answers.jsonl', 200, () => ({ ...asked(), completion: action([...HAPPY, ...SAD]) }));
save('pairs.jsonl', 300, () => ({ ...asked(), chosen: action(HAPPY), rejected: action(SAD) }));
save('prompts.jsonl', 64, asked);
