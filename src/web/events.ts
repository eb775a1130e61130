/** Streams of server-sent events: kept alive while nothing happens, and given up when nobody reads. */
import type { Context } from 'hono';
import { stream } from 'hono/streaming';

/** An event: its data in one line, and its name if it has one. */
export interface ServerEvent {
  event?: string;
  data: string;
}

/** How long a stream may be silent before a comment is sent, and a reader may take nothing, in milliseconds. */
const PING_MS = 15_000;
const STALL_MS = 30_000;

export interface EventStreamOptions {
  /** The last events if the source fails. */
  failed: (error: unknown) => readonly ServerEvent[];
  stallMs?: number;
  pingMs?: number;
}

/** Sends what `source` yields. It is left when the reader goes, or takes nothing for too long. */
export function eventStream(
  context: Context,
  source: AsyncGenerator<ServerEvent>,
  { failed, stallMs = STALL_MS, pingMs = PING_MS }: EventStreamOptions,
): Response {
  context.header('Content-Type', 'text/event-stream');
  context.header('Cache-Control', 'no-store');
  return stream(context, async (output) => {
    output.onAbort(() => void source.return(undefined));
    let writing: Promise<unknown> = Promise.resolve();
    const write = async (text: string) => {
      writing = output.write(text);
      if (!(await within(writing, stallMs))) throw new Stalled();
    };
    const ping = setInterval(() => void write(': ping\n\n').catch(() => undefined), pingMs);
    try {
      for await (const event of source) {
        if (output.aborted) return;
        await write(textOf(event));
      }
    } catch (error) {
      if (error instanceof Stalled) return disconnect(context);
      for (const event of failed(error)) await write(textOf(event)).catch(() => undefined);
    } finally {
      clearInterval(ping);
      await source.return(undefined);
    }
  });
}

class Stalled extends Error {}

function textOf({ event, data }: ServerEvent): string {
  return `${event === undefined ? '' : `event: ${event}\n`}data: ${data}\n\n`;
}

/** Whether `work` is done within so many milliseconds. */
async function within(work: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Ends a connection whose reader takes nothing, with what waits to be sent. */
function disconnect(context: Context): void {
  const { outgoing } = (context.env ?? {}) as { outgoing?: { destroy(): void } };
  outgoing?.destroy();
}
