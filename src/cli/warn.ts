/** Tells on stderr of something that went wrong without ending the run, or that a reader should know. */
export function warn(message: string): void {
  console.error(`warning: ${message}`);
}
