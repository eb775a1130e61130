/** Prints a warning to stderr about something that does not end the run. */
export function warn(message: string): void {
  console.error(`warning: ${message}`);
}
