/** Clients that come and leave at random: what is left of them in the server afterwards. */
import { setTimeout as delay } from 'node:timers/promises';
import { palmFiles } from './files.mjs';
import { slope } from './numbers.mjs';
import { Driver } from './watch.mjs';
import { OF_PALM, SIZES, servePalm } from './streams.mjs';

const MIB = 2 ** 20;

/** Yields one row: counts of requests, memory over time, and what is held and said afterwards. */
export async function* measureCrowd(folder, { clients, seconds, slots, threads }) {
  const { files } = await palmFiles('small', folder);
  const server = await servePalm(files.bfloat16, { slots, threads });
  const driver = new Driver();
  const crowd = (more) => ({ kind: 'crowd', url: server.url, ...OF_PALM, ...SIZES, clients, seed: 1, ...more });
  try {
    await driver.ask(crowd({ seconds: 5 }));
    const openBefore = server.openFiles();
    const memory = [];
    const began = performance.now();
    const watching = setInterval(
      () => memory.push([(performance.now() - began) / 1000, server.residentBytes() / MIB]),
      500,
    );
    const counts = await driver.ask(crowd({ seconds, seed: 2 }));
    clearInterval(watching);
    const emptySeconds = await untilEmpty(server);
    // The first third is the way to the level of this load.
    const late = memory.filter(([time]) => time > seconds / 3);
    const mebibytes = { first: memory[0]?.[1], last: memory.at(-1)?.[1], perMinute: 60 * slope(late) };
    const answers = await driver.ask({
      kind: 'answers',
      url: server.url,
      ...OF_PALM,
      ...SIZES,
      clients: 4,
      count: 8,
      seed: 3,
    });
    await delay(6000); // connections that wait for another request end after 5 s
    const open = { before: openBefore, after: server.openFiles() };
    yield {
      ...{ clients, seconds, slots, counts, mebibytes, emptySeconds, open, answersAfter: answers.complete, memory },
      ...{ runs: server.runs, errors: server.errors },
    };
  } finally {
    await driver.end();
    await server.stop();
  }
}

/** Seconds until no request waits and no slot is taken; half a minute if that takes longer. */
async function untilEmpty(server) {
  const began = performance.now();
  const held = async () => (await server.metric('rlhf_requests_waiting')) + (await server.metric('rlhf_rows_running'));
  while ((await held()) > 0) {
    if (performance.now() - began > 30_000) break;
    await delay(50);
  }
  return (performance.now() - began) / 1000;
}
