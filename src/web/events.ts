/** Streams of server-sent events: kept alive while nothing happens, and given up when nobody reads. */
import type { Context } from 'hono';

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

const ENCODER = new TextEncoder();

/** Sends what `source` yields. It is left when the reader goes, or takes nothing for too long. */
export function eventStream(
  context: Context,
  source: AsyncGenerator<ServerEvent>,
  { failed, stallMs = STALL_MS, pingMs = PING_MS }: EventStreamOptions,
): Response {
  let waits = false;
  let over = false;
  let ping: NodeJS.Timeout;
  let stall: NodeJS.Timeout | undefined;
  const leave = async () => {
    over = true;
    clearInterval(ping);
    clearTimeout(stall);
    await source.return(undefined);
  };
  const stalled = () => {
    disconnect(context);
    void leave();
  };
  const body = {
    start(controller: ReadableStreamDefaultController<Uint8Array>) {
      const alive = () => waits && controller.desiredSize === 0 && controller.enqueue(ENCODER.encode(': ping\n\n'));
      ping = setInterval(alive, pingMs);
    },
    // Called when all that was sent has been taken.
    async pull(controller: ReadableStreamDefaultController<Uint8Array>) {
      clearTimeout(stall);
      waits = true;
      const { events, last } = await nextOf(source, failed);
      waits = false;
      if (over) return;
      if (events.length > 0) controller.enqueue(ENCODER.encode(events.map(textOf).join('')));
      if (!last) stall = setTimeout(stalled, stallMs);
      else {
        controller.close();
        await leave();
      }
    },
    cancel: leave,
  };
  context.header('Content-Type', 'text/event-stream');
  context.header('Cache-Control', 'no-store');
  return context.newResponse(new ReadableStream(body, { highWaterMark: 0 }));
}

/** The next event, or the last ones. */
async function nextOf(source: AsyncGenerator<ServerEvent>, failed: EventStreamOptions['failed']) {
  try {
    const { done, value } = await source.next();
    return done === true ? { events: [], last: true } : { events: [value], last: false };
  } catch (error) {
    return { events: failed(error), last: true };
  }
}

function textOf({ event, data }: ServerEvent): string {
  return `${event === undefined ? '' : `event: ${event}\n`}data: ${data}\n\n`;
}

/** Ends a connection whose reader takes nothing, with what waits to be sent. */
function disconnect(context: Context): void {
  const { outgoing } = (context.env ?? {}) as { outgoing?: { destroy(): void } };
  outgoing?.destroy();
}
