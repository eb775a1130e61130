/** A command of this program as a line for a shell. */
export function commandLine(words: readonly string[]): string {
  return ['palm', ...words].map(quoted).join(' ');
}

function quoted(word: string): string {
  return /^[\w./:=@,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
