/** The end of an engine: answers may go on for a while, others are refused, and nothing waits for ever. */
import { expect, it } from 'vitest';
import { PaLM } from '../../src/models/palm.ts';
import { Answering } from '../../src/serve/answering.ts';
import type { ServedModel } from '../../src/serve/served-model.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { device } from '../device.ts';
import { catalogOf, served } from './serving.ts';

const DRAWN = {
  ...{ temperature: 1, topK: undefined, topP: undefined, minP: undefined },
  ...{ frequencyPenalty: 0, presencePenalty: 0, repetitionPenalty: 1 },
  ...{ biasTokens: [], bias: [], endTokens: [], minTokens: 0, top: undefined, seed: 1, sample: 0 },
};

async function started() {
  const text = await loadTokenizer('byte');
  const model = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, seed: 4, device });
  return await served('m', model, { text, endTokens: [] }, (error) => {
    throw error;
  });
}

function ask({ scheduler, text: tokenizer }: ServedModel, maxTokens: number): Promise<number> {
  const rows = [{ ...DRAWN, maxTokens }];
  const answering = new Answering(scheduler, { key: '', prompt: [1], rows, stop: [], tokenizer });
  const drawn = async () => {
    let tokens = 0;
    for await (const piece of answering.pieces()) tokens += piece.drawn.length;
    return tokens;
  };
  return drawn();
}

it('lets answers end that have begun', async () => {
  const loaded = await started();
  const answer = ask(loaded.models[0], 60);
  await loaded.close(60_000);
  expect(await answer).toBe(60);
});

it('ends them at once where there is no time, and refuses what waits', async () => {
  const loaded = await started();
  const answers = Array.from({ length: 4 }, () => ask(loaded.models[0], 60));
  const ended = Promise.allSettled(answers);
  await loaded.close(0);
  const reasons = (await ended).map((one) => (one.status === 'rejected' ? one.reason.message : one.status));
  expect(new Set(reasons)).toEqual(new Set(['the server is stopping']));
});

it('of a model that was replaced comes with that of the server, however long its answers may take', async () => {
  const [first, second] = [await started(), await started()];
  const catalog = catalogOf(first);
  const answer = ask(first.models[0], 60).catch((error: Error) => error.message);
  const closed = first.close(Number.POSITIVE_INFINITY); // as when it is replaced
  catalog.offer('0', second, Number.POSITIVE_INFINITY);
  expect(catalog.model('m')).toBe(second.models[0]);
  await catalog.close(0);
  await closed;
  expect(['the server is stopping', 60]).toContain(await answer);
});
