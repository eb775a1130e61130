/** Many streams at once on `palm serve`: as many slots, or fewer so that requests wait; beside `generate`, which has no server. */
import { System } from '../systems/process.mjs';
import { withFiles } from '../turns.mjs';
import { palmFiles } from './files.mjs';
import { percentile } from './numbers.mjs';
import { Server } from './server.mjs';
import { Driver, underLoad } from './watch.mjs';

/** Tokens of prompts and of answers. */
export const SIZES = { promptLength: 128, newTokens: 64 };
const QUEUE = ['--queue.requests', 4096, '--queue.tokens', 2 ** 20, '--queue.seconds', 600];

/** Starts `palm serve` of a PaLM with room for the requests of these runs. */
export function servePalm(path, { slots, threads }) {
  return Server.palm(path, { slots, threads, maxLength: 256, more: ['--served-model-name', 'palm', ...QUEUE] });
}

/** What the clients of a PaLM ask: tokens drawn at temperature 1, from prompts of all 256 tokens. */
export const OF_PALM = { model: 'palm', least: 0, most: 256, fields: { temperature: 1 } };

/** Yields a row for each model, element type and number of slots. */
export async function* measureStreams(folder, { models, dtypes, slots, streams, rounds, threads }) {
  const driver = new Driver();
  try {
    for (const name of models) {
      const { shape, files } = await palmFiles(name, folder);
      for (const dtype of dtypes) {
        const facts = { name, dtype, path: files[dtype], shape, streams, rounds, threads };
        const alone = await answersAlone(driver, facts);
        for (const count of slots) yield await withSlots(driver, { ...facts, slots: count, folder, alone });
      }
    }
  } finally {
    await driver.end();
  }
}

/** Requests differ between rounds, so that no prompt is read already. */
const requests = ({ streams, clients = streams, round = 0 }) => {
  return { kind: 'answers', ...OF_PALM, ...SIZES, clients, count: streams, seed: 1_000_000 * round };
};

/** The texts of the first round, by a server with one slot: nothing else is computed, and nothing was read before. */
async function answersAlone(driver, { path, streams, threads }) {
  const server = await servePalm(path, { slots: 1, threads });
  try {
    return (await underLoad(server, driver, { ...requests({ streams, clients: 1 }), threads, health: false })).texts;
  } finally {
    await server.stop();
  }
}

async function withSlots(driver, { name, dtype, path, shape, slots, streams, rounds, threads, folder, alone }) {
  const generating = await generator({ path, shape, dtype, rows: Math.min(slots, streams), threads, folder });
  const server = await servePalm(path, { slots, threads });
  const row = { model: name, dtype, slots, streams, runs: [], generate: [] };
  try {
    await driver.ask({ ...requests({ streams, round: -1 }), url: server.url }); // warms up
    for (let round = 0; round < rounds; round++) {
      const { texts, firsts, gaps, ...run } = await underLoad(server, driver, {
        ...requests({ streams, round }),
        threads,
      });
      if (round === 0) row.asAlone = texts.filter((text, i) => text === alone[i]).length;
      const of = (values) => [50, 99].map((percent) => percentile(values, percent));
      row.runs.push({ ...run, tokensPerSecond: run.tokens / run.seconds, first: of(firsts), gap: of(gaps) });
      const { tokens, seconds } = await generating.ask({ run: true });
      row.generate.push(tokens / seconds);
    }
    row.errors = server.errors;
  } finally {
    await server.stop();
    await generating.end();
  }
  return row;
}

/** A process that generates as many rows at once from one file, without a server. */
async function generator({ path, shape, dtype, rows, threads, folder }) {
  const workload = { kind: 'decode', model: shape, batch: rows, ...SIZES, greedyTokens: 4, systems: [], device: 'cpu' };
  const full = await withFiles({ ...workload, threads, seed: 1 }, folder);
  const system = new System('palm-rlhf.mjs', { threads, folder });
  await system.ask({ prepare: { ...full, weights: path, mode: dtype } });
  return system;
}
