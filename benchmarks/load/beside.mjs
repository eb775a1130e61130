/** `palm serve` side by side with llama.cpp's server: SmolLM2-135M from one F16 file, the same clients, taking turns. */
import { smollm2File } from './files.mjs';
import { percentile } from './numbers.mjs';
import { Server } from './server.mjs';
import { SIZES } from './streams.mjs';
import { Driver, underLoad } from './watch.mjs';

/** Requests for each client, by the number of clients: enough for the ends of a run not to matter. */
const REQUESTS = { 1: 6, 8: 3, 32: 2 };
const OF_SMOLLM2 = { kind: 'answers', model: 'smollm2', ...SIZES, least: 20, most: 49_000 };
/** The likeliest tokens, found in the cheapest way that each server has. */
const FIELDS = {
  ours: { temperature: 0 },
  llama: { temperature: 0, samplers: ['top_k'], top_k: 1, cache_prompt: false },
};

/** How much of two answers is compared: rounding changes what follows sooner or later. */
const CHARACTERS = 32;

/** Yields a row for each number of clients and system. */
export async function* measureBeside(folder, { program, clients, rounds, threads }) {
  const gguf = await smollm2File(folder);
  const driver = new Driver();
  try {
    for (const count of clients) yield* await withClients(driver, { gguf, program, clients: count, rounds, threads });
  } finally {
    await driver.end();
  }
}

async function withClients(driver, { gguf, program, clients, rounds, threads }) {
  const sizes = { slots: clients, maxLength: 256, threads };
  const palm = (dtype) => Server.palm(gguf, { ...sizes, more: ['--dtype', dtype, '--served-model-name', 'smollm2'] });
  const systems = [];
  try {
    for (const dtype of ['bfloat16', 'float32'])
      systems.push({ system: `ours-${dtype}`, fields: FIELDS.ours, server: await palm(dtype) });
    systems.push(await fasterLlama(driver, { program, gguf, clients, sizes }));
    const rows = systems.map(({ system, threads: own = threads }) => ({ system, clients, threads: own, runs: [] }));
    for (const { server, fields } of systems) {
      await driver.ask({ ...requests(clients, { round: -1, fields, each: 1 }), url: server.url }); // warms up
    }
    for (let round = 0; round < rounds; round++) {
      for (const [i, { server, fields, threads: own = threads }] of systems.entries()) {
        const asked = { ...requests(clients, { round, fields }), threads: own, health: false };
        rows[i].runs.push(summary(await underLoad(server, driver, asked)));
      }
    }
    return compared(rows);
  } finally {
    for (const { server } of systems) await server.stop();
  }
}

/** Prompts differ between rounds, so that none is read already. */
function requests(clients, { round, fields, each = REQUESTS[clients] ?? 2, ...more }) {
  return { ...OF_SMOLLM2, clients, count: clients * each, seed: 1_000_000 * (round + 2), fields, ...more };
}

/** Gives our rows the number of answers that begin as llama.cpp's do, and drops the texts. */
function compared(rows) {
  const begins = ({ runs }) => runs.flatMap(({ texts }) => texts.map((text) => text.slice(0, CHARACTERS)));
  const theirs = begins(rows.at(-1));
  return rows.map((row) => ({
    ...row,
    same: [begins(row).filter((text, i) => text === theirs[i]).length, theirs.length],
    runs: row.runs.map(({ texts: _, ...run }) => run),
  }));
}

/** llama.cpp's server with one thread or all, whichever answers faster. */
async function fasterLlama(driver, { program, gguf, clients, sizes }) {
  const tried = [];
  for (const threads of [...new Set([1, sizes.threads])]) {
    const server = await Server.llama(program, gguf, { ...sizes, threads });
    const once = (round) => ({ ...requests(clients, { round, fields: FIELDS.llama, each: 1 }), url: server.url });
    await driver.ask(once(-1));
    tried.push({
      system: 'llama-server',
      fields: FIELDS.llama,
      threads,
      server,
      seconds: (await driver.ask(once(-2))).seconds,
    });
  }
  const [best, ...others] = tried.sort((a, b) => a.seconds - b.seconds);
  for (const { server } of others) await server.stop();
  return best;
}

function summary({ texts, firsts, gaps, ...run }) {
  const of = (values) => [50, 99].map((percent) => percentile(values, percent));
  return { ...run, texts, tokensPerSecond: run.tokens / run.seconds, first: of(firsts), gap: of(gaps) };
}
