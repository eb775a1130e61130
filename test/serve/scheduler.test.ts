/** Whose turn it is, on slots and a clock that are made up: bounds of the queue, fair shares, and what a turn costs. */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import type { RowOptions, RowProgress } from '../../src/models/slots.ts';
import { Overloaded, type Policy, type Request, Scheduler, type SlotsLike } from '../../src/serve/scheduler.ts';

const POLICY: Policy = {
  ...{ slots: 4, maxWaiting: 8, maxWaitingTokens: 400, maxWait: 1000, share: 0.25 },
  ...{ promptTokens: 16, promptTokensAlone: 64, tokens: 4, eager: 50 },
};

interface FakeRow {
  prompt: number;
  left: number;
  ended: boolean;
}

/** Slots in which a token of a prompt takes 1 ms, and a token of all rows 5 ms. */
class FakeSlots implements SlotsLike {
  now = 0;
  readonly rows = new Map<number, FakeRow>();
  readonly calls: { order: readonly number[]; promptTokens: number; tokens: number }[] = [];
  readonly #size: number;
  #names = 0;

  constructor(size: number) {
    this.#size = size;
  }

  async admit(prompt: readonly number[], rows: readonly RowOptions[]) {
    if (prompt[0] === -1) throw new RangeError('no such token');
    expect(this.rows.size + rows.length).toBeLessThanOrEqual(this.#size);
    const names = rows.map(() => ++this.#names);
    for (const [i, name] of names.entries()) {
      this.rows.set(name, { prompt: prompt.length, left: (rows[i] as RowOptions).maxTokens, ended: false });
    }
    return { rows: names, cached: 0 };
  }

  end(row: number): void {
    const found = this.rows.get(row);
    if (found !== undefined) found.ended = true;
  }

  async advance(order: readonly number[], promptTokens: number, tokens: number): Promise<RowProgress[]> {
    this.calls.push({ order, promptTokens, tokens });
    let budget = promptTokens;
    const read = new Map<number, number>();
    for (const name of order) {
      const row = this.rows.get(name) as FakeRow;
      const count = Math.min(budget, row.prompt);
      row.prompt -= count;
      budget -= count;
      read.set(name, count);
      this.now += count;
    }
    const progress: RowProgress[] = [];
    for (const [row, state] of [...this.rows]) {
      const count = state.ended || state.prompt > 0 ? 0 : Math.min(tokens, state.left);
      state.left -= count;
      const ended = state.ended ? 'released' : state.left === 0 ? 'length' : 'no';
      if (ended !== 'no') this.rows.delete(row);
      const drawn = Array.from({ length: count }, () => 1);
      progress.push({ row, promptRead: read.get(row) ?? 0, tokens: drawn, logProbs: drawn, model: [], ended });
    }
    this.now += 5 * tokens;
    return progress;
  }
}

/** A request that remembers what it was told. */
class Asked implements Request {
  readonly key: string;
  readonly prompt: number[];
  readonly rows: RowOptions[];
  readonly watched: boolean;
  beganAt: number | undefined;
  ended = 0;
  tokens = 0;
  error: unknown;
  readonly #slots: FakeSlots;

  constructor(slots: FakeSlots, key: string, { prompt = 4, tokens = 8, n = 1, watched = false } = {}) {
    this.#slots = slots;
    this.key = key;
    this.prompt = Array.from({ length: prompt }, () => 1);
    this.rows = Array.from({ length: n }, () => ({ maxTokens: tokens }) as RowOptions);
    this.watched = watched;
  }

  began(): void {
    this.beganAt ??= this.#slots.now;
  }

  progressed(_index: number, { tokens, ended }: RowProgress): void {
    this.tokens += tokens.length;
    if (ended !== 'no') this.ended++;
  }

  failed(error: unknown): void {
    this.error = error;
  }

  get done(): boolean {
    return this.error !== undefined || this.ended === this.rows.length;
  }
}

function make(policy: Partial<Policy> = {}) {
  const all = { ...POLICY, ...policy };
  const slots = new FakeSlots(all.slots);
  const scheduler = new Scheduler(slots, all, () => slots.now);
  const abort = new AbortController();
  const turns = scheduler.turns(abort.signal);
  /** Takes turns until all that was asked is done. */
  const serve = async (asked: readonly Asked[], each: () => void = () => {}) => {
    for (let turn = 0; !asked.every((one) => one.done); turn++) {
      if (turn > 10_000) throw new Error('it never ends');
      each();
      await turns.next();
    }
  };
  const ask = (key: string, options = {}) => {
    const asked = new Asked(slots, key, options);
    scheduler.submit(asked);
    return asked;
  };
  return { slots, scheduler, turns, abort, serve, ask };
}

describe('the queue', () => {
  it('is bounded in requests and in tokens of prompts, and says when to come back', async () => {
    const { ask, serve } = make();
    const asked = Array.from({ length: 8 }, () => ask('a', { prompt: 10 }));
    expect(() => ask('b')).toThrow(Overloaded);
    await serve(asked);
    const long = [ask('a', { prompt: 1000 }), ...Array.from({ length: 0 }, () => ask('a'))]; // alone, it may be long
    try {
      ask('b', { prompt: 400 });
      expect.unreachable();
    } catch (error) {
      expect((error as Overloaded).retryAfter).toBeGreaterThanOrEqual(1);
      expect((error as Overloaded).retryAfter).toBeLessThanOrEqual(60);
    }
    await serve(long);
    expect(long[0]?.tokens).toBe(8);
  });

  it('refuses what has waited for too long, and answers the others', async () => {
    const { ask, serve } = make({ slots: 1 });
    const [first, second] = [ask('a', { tokens: 300 }), ask('b')];
    await serve([first, second]);
    expect(first.tokens).toBe(300);
    expect(second.error).toBeInstanceOf(Overloaded);
  });

  it('tells a request that cannot be admitted, and answers the others', async () => {
    const { ask, serve, slots, scheduler } = make();
    const wrong = new Asked(slots, 'a');
    wrong.prompt[0] = -1;
    scheduler.submit(wrong);
    const right = ask('a');
    await serve([wrong, right]);
    expect(wrong.error).toBeInstanceOf(RangeError);
    expect(right.tokens).toBe(8);
  });

  it('tells a request that fails while it is told something, and answers the others', async () => {
    const { ask, serve, slots, scheduler } = make();
    const wrong = new Asked(slots, 'a', { tokens: 50 });
    wrong.progressed = () => {
      throw new RangeError('its text cannot be written');
    };
    scheduler.submit(wrong);
    const right = ask('a', { tokens: 20 });
    await serve([wrong, right]);
    expect(wrong.error).toBeInstanceOf(RangeError);
    expect(right.tokens).toBe(20);
    expect(slots.rows.size).toBe(0);
  });

  it('admits more rows than there are slots piece by piece', async () => {
    const { ask, serve } = make({ slots: 3 });
    const asked = ask('a', { n: 8 });
    await serve([asked]);
    expect(asked.tokens).toBe(64);
  });

  it('is left by requests that are ended, whether they wait or run', async () => {
    const { ask, serve, scheduler, slots, turns } = make({ slots: 1 });
    const [running, waiting, last] = [ask('a', { tokens: 100 }), ask('a'), ask('a')];
    await turns.next();
    scheduler.end(running);
    scheduler.end(waiting);
    await serve([last]);
    expect(running.ended).toBe(1);
    expect(running.tokens).toBeLessThan(100);
    expect(waiting.beganAt).toBeUndefined();
    expect(slots.rows.size).toBe(0);
  });

  it('listens to the signal once, however often it waits', async () => {
    const { ask, abort, turns } = make();
    for (let i = 0; i < 20; i++) {
      const turn = turns.next();
      await Promise.resolve();
      expect(ask('a', { tokens: 1 }).done).toBe(false);
      expect((await turn).value).toMatchObject({ drawn: 1 });
    }
    expect(getEventListeners(abort.signal, 'abort').length).toBe(0);
  });

  it('waits without turns while there is nothing to do, until it is aborted', async () => {
    const { turns, abort, ask, serve } = make();
    await serve([ask('a')]);
    const idle = turns.next();
    expect(await Promise.race([idle, Promise.resolve('idle')])).toBe('idle');
    abort.abort();
    expect((await idle).done).toBe(true);
  });
});

describe('shares', () => {
  it('give a key at most a quarter of the slots while others wait', async () => {
    const { ask, serve, slots } = make({ slots: 8, maxWaiting: 100 });
    const flood = Array.from({ length: 30 }, () => ask('a', { tokens: 40 }));
    const others = ['b', 'c', 'd', 'e'].map((key) => ask(key, { tokens: 40 }));
    await serve([...flood, ...others]);
    // All keys begin at once: two rows of the flood at first, then those of the others, then the flood alone.
    expect(others.every(({ beganAt }) => beganAt === 0)).toBe(true);
    expect(slots.rows.size).toBe(0);
  });

  it('let no request wait for more than what runs when it comes (1,000 schedules)', async () => {
    for (let seed = 0; seed < 1000; seed++) {
      const random = new Random(seed);
      const { ask, serve, slots } = make({
        slots: 1 + random.int(4),
        maxWaiting: 1000,
        maxWaitingTokens: 1e9,
        maxWait: 1e9,
      });
      const longest = 20;
      const size = () => ({ prompt: 1 + random.int(30), tokens: 1 + random.int(longest) });
      const asked = Array.from({ length: 10 }, () => ask('flood', size()));
      const late: { asked: Asked; at: number }[] = [];
      await serve(asked, () => {
        if (random.int(3) > 0 || late.length >= 8) return;
        asked.push(ask('flood', size()));
        const one = ask(`key ${late.length}`, size());
        asked.push(one);
        late.push({ asked: one, at: slots.now });
      });
      // A key that comes is next, behind keys that came before it. Rows that run then: at most 30 ms of prompts and 5 ms a token each.
      for (const [i, { asked: one, at }] of late.entries()) {
        expect(one.error).toBeUndefined();
        expect((one.beganAt as number) - at).toBeLessThanOrEqual((i + 1) * (4 * 30 + 5 * longest * 4));
      }
    }
  });

  it('do not let a key save up while it is away', async () => {
    const { ask, serve } = make({ slots: 1, maxWaiting: 100 });
    await serve([ask('a', { tokens: 100 })]);
    const asked = [ask('a'), ask('b'), ask('a'), ask('b'), ask('a'), ask('b')];
    await serve(asked);
    const order = [...asked].sort((x, y) => (x.beganAt as number) - (y.beganAt as number)).map(({ key }) => key);
    expect(order.join('')).toMatch(/^(ab|ba){3}$/);
  });
});

describe('a turn', () => {
  it('reads fewer tokens of prompts while rows draw', async () => {
    const { ask, serve, slots } = make();
    const first = ask('a', { prompt: 10, tokens: 60 });
    await serve([first, ask('a', { prompt: 100 })]);
    expect(slots.calls[0]?.promptTokens).toBe(64);
    expect(slots.calls.slice(3).every(({ promptTokens }) => promptTokens === 16)).toBe(true);
  });

  it.each([
    ['draws one token at a time for rows that have just begun', {}, { tokens: 40 }, [1, 1, 1]],
    ['then several', { eager: 0 }, { tokens: 40 }, [4, 4, 4]],
    ['but one for those that are watched', { eager: 0 }, { tokens: 40, watched: true }, [1, 1, 1]],
  ])('%s', async (_what, policy, options, tokens) => {
    const { ask, serve, slots } = make(policy);
    await serve([ask('a', options)]);
    expect(slots.calls.slice(1, 4).map((call) => call.tokens)).toEqual(tokens);
  });

  it('draws one token at a time while somebody waits', async () => {
    const { ask, serve, slots } = make({ slots: 1, eager: 0 });
    await serve([ask('a', { tokens: 20 }), ask('a', { tokens: 20 })]);
    const counts = slots.calls.map((call) => call.tokens);
    expect(counts.slice(0, 19).every((count) => count === 1)).toBe(true);
    expect(counts.at(-1)).toBe(4);
  });
});
