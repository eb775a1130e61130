/** Text in the columns of a terminal. */

export const WIDTH = 80;
export const GREY = '\x1b[90m';
export const GREEN = '\x1b[32m';
export const RESET = '\x1b[0m';

/** Whether to write in colours: on a terminal whose user does not refuse them. */
export function wantsColor(): boolean {
  return process.stdout.isTTY === true && !process.env.NO_COLOR;
}

/** A text on one line, without characters that a terminal obeys. */
export function visible(text: string): string {
  return text.replaceAll('\n', '↵').replace(/\p{Cc}/gu, '·');
}

/** Characters that take two columns of a terminal, and those that take none. */
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f000}-\u{3fffd}]/u;
const NARROW = /[\p{M}\u200b-\u200f\u2060]/u;

function columnsOf(character: string): number {
  return WIDE.test(character) ? 2 : NARROW.test(character) ? 0 : 1;
}

/** Splits a line at most `width` columns wide, at a space where there is one; the next lines begin with `indent` spaces. */
export function wrap(text: string, width: number, indent: number): string[] {
  const lines: string[] = [];
  let line = '';
  let columns = 0;
  for (const character of text) {
    line += character;
    columns += columnsOf(character);
    if (columns <= width) continue;
    const space = line.lastIndexOf(' ');
    const end = space > indent + width / 2 ? space : line.length - character.length;
    lines.push(line.slice(0, end));
    line = ' '.repeat(indent) + line.slice(end).replace(/^ /, '');
    columns = [...line].reduce((sum, one) => sum + columnsOf(one), 0);
  }
  return [...lines, line];
}
