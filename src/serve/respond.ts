/** Requests as they are answered over HTTP: one JSON object, or a stream of events. */
import type { Context } from 'hono';
import type { Answering, Piece } from './answering.ts';
import { lastEvents } from './told-error.ts';
import type { ServerNumbers } from './numbers.ts';
import type { Head, Kind, LogProbs, Usage } from './objects.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { eventStream, type ServerEvent } from '../web/events.ts';

/** What is answered, and in which form. */
export interface Reply {
  kind: Kind;
  head: Head;
  /** A request for each prompt. */
  answerings: readonly Answering[];
  logProbs: LogProbs;
  tokenizer: Tokenizer;
  /** Whether to stream, and whether the stream tells what was used. */
  stream: boolean;
  includeUsage: boolean;
  /** What each answer to prompt `i` begins with. */
  echo: (prompt: number) => string;
  /** Told of errors that end a stream and that clients do not understand. */
  onError: (error: unknown) => void;
  numbers: ServerNumbers;
}

/** Answers; errors before the first piece are thrown, later ones end the stream. */
export async function respond(context: Context, reply: Reply): Promise<Response> {
  const pieces = merged(reply.answerings);
  const leave = () => {
    for (const answering of reply.answerings) answering.end();
  };
  context.req.raw.signal.addEventListener('abort', leave, { once: true });
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  const first = await pieces.next();
  reply.numbers.began(seconds());
  const all = counted(reply, { first, rest: pieces, seconds });
  return reply.stream ? streamed(context, reply, all) : context.json(await whole(reply, all));
}

/** Pieces: the `first`, then the rest. What they took is counted, also where the client leaves early. */
interface Pieces {
  first: IteratorResult<Piece>;
  rest: AsyncGenerator<Piece>;
  seconds: () => number;
}

async function* counted({ answerings, head, numbers }: Reply, { first, rest, seconds }: Pieces) {
  try {
    if (first.done === true) return;
    yield first.value;
    for await (const piece of rest) yield piece;
  } finally {
    await rest.return(undefined);
    numbers.ended(head.model, usageOfAll(answerings), seconds());
  }
}

/** The pieces of all requests as they come; answers are numbered through. */
function merged(answerings: readonly Answering[]): AsyncGenerator<Piece> {
  const [only, ...others] = answerings as readonly [Answering, ...Answering[]];
  return others.length === 0 ? only.pieces() : raced(answerings);
}

async function* raced(answerings: readonly Answering[]): AsyncGenerator<Piece> {
  const sources = answerings.map((answering) => answering.pieces());
  const next = async (i: number) => ({ i, result: await (sources[i] as AsyncGenerator<Piece>).next() });
  const pending = new Map(sources.map((_, i) => [i, next(i)]));
  try {
    while (pending.size > 0) {
      const { i, result } = await Promise.race(pending.values());
      pending.delete(i);
      if (result.done === true) continue;
      yield { ...result.value, index: i * (answerings[0] as Answering).rows.length + result.value.index };
      pending.set(i, next(i));
    }
  } finally {
    for (const answering of answerings) answering.end();
  }
}

function usageOfAll(answerings: readonly Answering[]): Usage {
  const total = (key: keyof Usage) => answerings.reduce((sum, { usage }) => sum + usage[key], 0);
  return { prompt: total('prompt'), cached: total('cached'), drawn: total('drawn') };
}

function beginnings({ answerings, echo }: Reply): string[] {
  return answerings.flatMap(({ rows }, prompt) => rows.map(() => echo(prompt)));
}

async function whole(reply: Reply, pieces: AsyncIterable<Piece>): Promise<object> {
  const { kind, head, answerings, logProbs, tokenizer } = reply;
  const choices: Piece[] = beginnings(reply).map((text, index) => ({ index, text, drawn: [], finish: null }));
  for await (const { index, text, drawn, finish } of pieces) {
    const choice = choices[index] as Piece;
    choices[index] = { index, text: choice.text + text, drawn: [...choice.drawn, ...drawn], finish };
  }
  return kind.whole(head, choices, usageOfAll(answerings), logProbs, tokenizer);
}

function streamed(context: Context, reply: Reply, pieces: AsyncIterable<Piece>): Response {
  const failed = (error: unknown) => lastEvents(error, reply.onError);
  return eventStream(context, events(reply, pieces), { failed });
}

/** The events as clients read them. Without the last one they take a broken connection for the end of an answer. */
async function* events(reply: Reply, pieces: AsyncIterable<Piece>): AsyncGenerator<ServerEvent> {
  const { kind, head, answerings, logProbs, tokenizer, includeUsage } = reply;
  const lengths = beginnings(reply);
  for (const [index, text] of lengths.entries()) {
    for (const opening of kind.opening(head, index)) yield eventOf(opening);
    if (text !== '') yield eventOf(kind.chunk(head, { index, text, drawn: [], finish: null }, 'none', tokenizer, 0));
  }
  const offsets = lengths.map(({ length }) => length);
  for await (const piece of pieces) {
    yield eventOf(kind.chunk(head, piece, logProbs, tokenizer, offsets[piece.index] as number));
    offsets[piece.index] = (offsets[piece.index] as number) + piece.text.length;
  }
  if (includeUsage) yield eventOf(kind.closing(head, usageOfAll(answerings)));
  yield { data: '[DONE]' };
}

function eventOf(object: object): ServerEvent {
  return { data: JSON.stringify(object) };
}
