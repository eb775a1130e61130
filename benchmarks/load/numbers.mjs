/** The arithmetic of the load runs: what was read from a stream becomes times, and many of those become a few numbers. */

/**
 * The value below which `percent` of `values` lie (nearest rank: 99 % of 200 values is the 198th of them in order).
 * NaN if there are none.
 */
export function percentile(values, percent) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN;
}

/** The slope of the line with the least squared distance from points [x, y]; 0 for fewer than two. */
export function slope(points) {
  const mean = (at) => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [middle, height] = [mean(0), mean(1)];
  const spread = points.reduce((sum, [x]) => sum + (x - middle) ** 2, 0);
  return spread === 0 ? 0 : points.reduce((sum, [x, y]) => sum + (x - middle) * (y - height), 0) / spread;
}

/**
 * What a stream of completions said. `chunks` are [milliseconds, text] as they came, cut anywhere; `sent` is when the request went.
 * Gaps lie between chunks that bring at least one event, so that events which come together do not count as gaps of 0.
 */
export function readStream(sent, chunks) {
  const answer = { text: '', tokens: 0, events: 0, finish: null, done: false, error: undefined, times: [] };
  let rest = '';
  for (const [time, chunk] of chunks) {
    const blocks = (rest + chunk).split('\n\n');
    rest = blocks.pop();
    const before = answer.events;
    for (const block of blocks) readEvent(answer, block);
    if (answer.events > before) answer.times.push(time);
  }
  const { times, ...said } = answer;
  const gaps = times.slice(1).map((time, i) => time - times[i]);
  return { ...said, first: (times[0] ?? Number.NaN) - sent, gaps };
}

/** Adds an event to the answer; comments, which keep a stream alive, add nothing. */
function readEvent(answer, block) {
  if (!block.startsWith('data: ')) return;
  const data = block.slice('data: '.length);
  if (data === '[DONE]') {
    answer.done = true;
    return;
  }
  const { choices, usage, error } = JSON.parse(data);
  if (error) answer.error = error.message;
  if (usage) answer.tokens = usage.completion_tokens;
  const [choice] = choices ?? [];
  if (choice === undefined) return;
  answer.finish = choice.finish_reason ?? answer.finish;
  answer.text += choice.text;
  // An event that only says why the answer ended brings no token.
  if (choice.text !== '' || choice.finish_reason === null) answer.events++;
}

/** Seeded numbers from 0 to below 1. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Divides the processor time that the threads of a server took between two looks, by thread id. JavaScript and HTTP run in the `main` one;
 * the busiest `threads` of the others compute, and the rest belong to V8 and libuv.
 */
export function splitTime(before, after, { main, threads }) {
  const took = Object.entries(after).map(([id, seconds]) => [Number(id), seconds - (before[id] ?? 0)]);
  const others = took.filter(([id]) => id !== main).map(([, seconds]) => seconds);
  others.sort((a, b) => b - a);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  return {
    http: took.find(([id]) => id === main)?.[1] ?? 0,
    engine: sum(others.slice(0, threads)),
    rest: sum(others.slice(threads)),
  };
}
