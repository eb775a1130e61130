/** Text of an answer as it is drawn: what has been shown is right whatever comes, and nothing of a stop string is shown. */
import { beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { AnswerText } from '../../src/serve/answer-text.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { decodeStream, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';

let bytes: Tokenizer;
beforeAll(async () => {
  bytes = await loadTokenizer('byte');
});

/** What is shown with each token, and at the end; tokens after a stop string are not given. */
function shown(text: string, stop: readonly string[]): { pieces: string[]; stopped: boolean } {
  const answer = new AnswerText(decodeStream(bytes), stop);
  const pieces: string[] = [];
  for (const token of bytes.encode(text)) {
    if (answer.stopped) break;
    pieces.push(answer.push(token));
  }
  return { pieces: [...pieces, answer.end()], stopped: answer.stopped };
}

describe('the text of an answer', () => {
  it.each([
    ['abc', [], 'abc', false],
    ['abcSTOPdef', ['STOP'], 'abc', true],
    ['abcSTO', ['STOP'], 'abcSTO', false],
    ['STOP', ['STOP'], '', true],
    ['aab', ['ab'], 'a', true],
    ['xaaab', ['aab', 'ab'], 'xa', true],
    ['snow ☃ man', ['☃'], 'snow ', true],
    ['a\n\nb', ['\n\n', 'b'], 'a', true],
  ])('%j until %j', (text, stop, expected, stopped) => {
    const { pieces, stopped: found } = shown(text, stop);
    expect(pieces.join('')).toBe(expected);
    expect(found).toBe(stopped);
  });

  it('shows at once what cannot become a stop string', () => {
    expect(shown('abSxy', ['STOP']).pieces).toEqual(['a', 'b', '', 'Sx', 'y', '']);
  });

  it('is what comes before the first stop string that is whole, in 2,000 random texts', () => {
    const random = new Random(1);
    const draw = (count: number) => Array.from({ length: count }, () => 'ab☃é'[random.int(4)]).join('');
    for (let i = 0; i < 2000; i++) {
      const [text, stop] = [draw(random.int(14)), Array.from({ length: random.int(4) }, () => draw(1 + random.int(3)))];
      const ends = stop
        .map((one) => text.indexOf(one) + one.length)
        .filter((_, at) => text.includes(stop[at] as string));
      // Drawing ends with the token that completes a stop string; of those that are complete then, the first counts.
      const drawn = text.slice(0, Math.min(text.length, ...ends));
      const places = stop.map((one) => drawn.indexOf(one)).filter((at) => at >= 0);
      const { pieces, stopped } = shown(text, stop);
      expect(pieces.join('')).toBe(drawn.slice(0, Math.min(drawn.length, ...places)));
      expect(stopped).toBe(places.length > 0);
    }
  });
});
