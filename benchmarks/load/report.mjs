/** The tables of the load runs, from what was measured. */
import { median, number } from '../report.mjs';

/** What the runs must show; milliseconds where they are times. */
const GOALS = { first: 2000, gap: 150, health: 50, ofGenerate: { small: 0.4, mid: 0.9 }, beside: { 1: 1.1, 32: 1.5 } };

const middle = (runs, of) => median(runs.map(of));
/** A number, with what was wanted where it misses that. */
const judged = (value, holds, goal) => `${number(value)}${holds ? '' : ` (goal ${goal})`}`;
const grid = (header, rows) => {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
};

/** All of the Markdown. Each part of `measured` is a list of rows. */
export function markdown({ machine, streams, clients, beside }) {
  return [
    '# `palm serve` under load',
    Object.values(machine).join(' · '),
    'Written by `node benchmarks/load.mjs`; how it measures is in [benchmarks/README.md](../README.md#under-load). Server and clients share the cores.',
    ...(streams === undefined ? [] : streamsPart(streams)),
    ...(clients === undefined ? [] : crowdPart(clients)),
    ...(beside === undefined ? [] : besidePart(beside)),
  ]
    .join('\n\n')
    .concat('\n');
}

/** When rows were measured, with how many threads at most, and the load average of the machine before and after. */
function of(rows, said) {
  const dates = [...new Set(rows.map(({ date }) => date.slice(0, 10)))].join(' and ');
  const threads = Math.max(...rows.map((row) => row.threads));
  const loads = rows.flatMap(({ load }) => load);
  const load = [Math.min(...loads), Math.max(...loads)].map((one) => one.toFixed(1)).join(' to ');
  return `${dates}, ${threads} compute threads, load ${load}. ${said}`;
}

function streamsPart(rows) {
  const { streams, runs } = rows[0];
  const waits = rows.filter((row) => row.slots < row.streams);
  const served = rows.filter((row) => row.slots >= row.streams);
  const goals = `Goals with a slot for each: first token p99 ≤ ${GOALS.first} ms on small, gap p99 ≤ ${GOALS.gap} ms, /health p99 ≤ ${GOALS.health} ms, of \`generate\` ≥ ${GOALS.ofGenerate.small} on small and ≥ ${GOALS.ofGenerate.mid} on mid.`;
  return [
    `## ${streams} streams at once`,
    of(rows, `Medians of ${runs.length} rounds; a p99 is that of one round. ${goals}`),
    ...(served.length > 0 ? ['A slot for each:', latencies(served, GOALS)] : []),
    ...(waits.length > 0 ? ['Fewer slots, so that requests wait for one:', latencies(waits, undefined)] : []),
    'Processor seconds of a round, by what they were spent on:',
    times(rows),
    ...rows.filter(({ errors }) => errors !== '').map(({ errors }) => `On stderr: \`${errors.slice(0, 200)}\``),
  ];
}

function latencies(rows, goals) {
  const header = [
    'model',
    'slots',
    'whole',
    'as alone',
    'first token p50 / p99 ms',
    'gap p50 / p99 ms',
    '/health p99 ms',
    'tokens/s',
    '`generate` tokens/s',
    'ratio',
  ];
  return grid(
    header,
    rows.map((row) => latency(row, goals)),
  );
}

function latency({ model, dtype, slots, streams, runs, generate, asAlone }, goals) {
  const at = (of, i) => middle(runs, (run) => run[of][i]);
  const whole = runs.map(({ complete }) => complete);
  const [speed, beside, health] = [
    middle(runs, (run) => run.tokensPerSecond),
    median(generate),
    middle(runs, (run) => run.health),
  ];
  const limit = (value, most) => judged(value, goals === undefined || most === undefined || value <= most, `≤ ${most}`);
  const least = GOALS.ofGenerate[model];
  return [
    `${model} ${dtype}`,
    String(slots),
    `${Math.min(...whole)} of ${streams}`,
    `${asAlone} of ${streams}`,
    `${number(at('first', 0))} / ${limit(at('first', 1), model === 'small' ? GOALS.first : undefined)}`,
    `${number(at('gap', 0))} / ${limit(at('gap', 1), GOALS.gap)}`,
    limit(health, GOALS.health),
    number(speed),
    number(beside),
    judged(speed / beside, speed / beside >= (least ?? 0), `≥ ${least}`),
  ];
}

function times(rows) {
  const header = [
    'model',
    'slots',
    'seconds',
    'engine',
    'HTTP',
    'V8 and libuv',
    'driver',
    'events per token',
    'cores of others',
  ];
  return grid(
    header,
    rows.map(({ model, dtype, slots, runs }) => [
      `${model} ${dtype}`,
      String(slots),
      number(middle(runs, ({ seconds }) => seconds)),
      ...['engine', 'http', 'rest'].map((part) => number(middle(runs, ({ split }) => split[part]))),
      number(middle(runs, ({ driver }) => driver)),
      number(middle(runs, ({ events, tokens }) => events / tokens)),
      number(middle(runs, ({ others }) => others)),
    ]),
  );
}

function crowdPart(rows) {
  const { clients, seconds, slots, counts, mebibytes, emptySeconds, open, answersAfter, runs, errors } = rows[0];
  const said = errors === '' ? 'nothing' : `\`${errors.slice(0, 200)}\``;
  return [
    '## Clients that come and leave',
    of(
      rows,
      `${clients} clients for ${seconds} s on ${slots} slots of small in bfloat16; prompts of 1 to 128 tokens, answers of 1 to 64, a quarter of them not streamed; half of the clients leave within 3 s, in the middle of whatever happens.`,
    ),
    grid(
      ['what', 'result'],
      [
        [
          'requests',
          `${counts.asked}: ${counts.whole} answered, ${counts.left} left, ${counts.refused} refused, ${counts.failed} failed`,
        ],
        ['until no slot was taken and nothing waited', `${number(emptySeconds)} s`],
        [
          'resident memory',
          `${mebibytes.first.toFixed(0)} MiB at first, ${mebibytes.last.toFixed(0)} MiB at last, slope of the last two thirds ${mebibytes.perMinute.toFixed(2)} MiB a minute`,
        ],
        ['open files and sockets', `${open.before} before, ${open.after} after`],
        ['requests answered afterwards', `${answersAfter} of 8`],
        ['on stderr', `${said}${runs ? '' : '; the server ended'}`],
      ],
    ),
  ];
}

function besidePart(rows) {
  const counts = [...new Set(rows.map(({ clients }) => clients))];
  const header = [
    'clients',
    'system',
    'threads',
    'tokens/s',
    'ratio to llama-server',
    'first token p50 / p99 ms',
    'gap p50 / p99 ms',
    'first 32 characters as llama-server',
    'engine s / s',
    'HTTP s / s',
    'cores of others',
  ];
  const lines = counts.flatMap((count) => {
    const own = rows.filter(({ clients }) => clients === count);
    const speed = ({ runs }) => middle(runs, (run) => run.tokensPerSecond);
    const theirs = own.find(({ system }) => system === 'llama-server');
    if (theirs === undefined) return []; // its row comes last
    return own.map((row) => besideLine(row, { speed: speed(row), theirs: speed(theirs) }));
  });
  return [
    '## Beside llama.cpp',
    of(
      rows,
      `SmolLM2-135M from one GGUF file in F16, prompts of 128 tokens, answers of 64, the likeliest tokens; every client asks again when it has its answer. Medians of ${rows[0].runs.length} rounds in turns; llama-server with as many slots as clients, and with one thread or all, whichever is faster. Goals: ratio ≥ ${GOALS.beside[1]} at 1 client, ≥ ${GOALS.beside[32]} at 32.`,
    ),
    grid(header, lines),
  ];
}

function besideLine({ system, clients, threads, runs, same }, { speed, theirs }) {
  const at = (of, i) => number(middle(runs, (run) => run[of][i]));
  const goal = system === 'llama-server' ? undefined : GOALS.beside[clients];
  const perSecond = (part) => number(middle(runs, ({ split, seconds }) => split[part] / seconds));
  const ours = system !== 'llama-server';
  return [
    String(clients),
    system,
    String(threads),
    number(speed),
    ours ? judged(speed / theirs, speed / theirs >= (goal ?? 0), `≥ ${goal}`) : '1',
    `${at('first', 0)} / ${at('first', 1)}`,
    `${at('gap', 0)} / ${at('gap', 1)}`,
    ours ? `${same[0]} of ${same[1]}` : '–',
    ours
      ? perSecond('engine')
      : number(middle(runs, ({ split, seconds }) => (split.engine + split.http + split.rest) / seconds)),
    ours ? perSecond('http') : '(in engine)',
    number(middle(runs, ({ others }) => others)),
  ];
}
