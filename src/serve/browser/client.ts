/** Requests to the server. A change has a key, so that it is made once however often it is sent. */
import type { TurnEvent } from '../chats/shown.ts';

const TRIES = 3;
const WAIT_MS = 400;

/** The server says no. */
export class Refused extends Error {
  readonly status: number;
  readonly code: string | null;

  constructor(status: number, message: string, code: string | null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** What is at a path. @throws Refused */
export async function read<T>(path: string): Promise<T> {
  return await bodyOf(await fetch(path));
}

/** Changes something, and tries again while the server cannot be reached. @throws Refused */
export async function change<T>(method: string, path: string, body: object = {}): Promise<T> {
  const headers = headersOf();
  for (let left = TRIES - 1; ; left--) {
    try {
      return await bodyOf(await fetch(path, { method, headers, body: JSON.stringify(body) }));
    } catch (error) {
      if (error instanceof Refused || left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    }
  }
}

/** Sends a message, and yields what happens to it. @throws Refused */
export async function* send(chat: string, body: object): AsyncGenerator<TurnEvent> {
  const path = `/api/chats/${encodeURIComponent(chat)}/messages`;
  const response = await fetch(path, { method: 'POST', headers: headersOf(), body: JSON.stringify(body) });
  if (!response.ok || response.body === null) throw await refusalOf(response);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  for (let text = ''; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const whole = text.split('\n\n');
    text = whole.pop() as string;
    for (const event of whole) if (event.startsWith('data: ')) yield eventOf(event.slice('data: '.length));
  }
}

function eventOf(data: string): TurnEvent {
  const event = JSON.parse(data) as TurnEvent | { error: { message: string; code: string | null } };
  if ('type' in event) return event;
  throw new Refused(500, event.error.message, event.error.code);
}

function headersOf(): Record<string, string> {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const key = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return { 'content-type': 'application/json', 'idempotency-key': key };
}

async function bodyOf<T>(response: Response): Promise<T> {
  if (!response.ok) throw await refusalOf(response);
  return (await response.json()) as T;
}

async function refusalOf(response: Response): Promise<Refused> {
  const { status } = response;
  if (status === 401) return new Refused(401, 'This server needs a key: open it as ADDRESS/#key=KEY.', null);
  const said = (await response.json().catch(() => undefined)) as
    | { error?: { message: string; code: string } }
    | undefined;
  return new Refused(status, said?.error?.message ?? `The server answered ${status}.`, said?.error?.code ?? null);
}
