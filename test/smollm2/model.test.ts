/** SmolLM2-135M-Instruct end to end: it computes what transformers computes, and answers. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Chat, ChatTemplate, type HuggingFaceTokenizer, LanguageModel, loadTokenizer } from '../../src/index.ts';
import { readGgufTokenizer } from '../../src/tokenizer/gguf/gguf-tokenizer.ts';
import { distance } from '../parity/numbers.ts';
import { smollm2 } from '../smollm2.ts';

interface Expected {
  chat: {
    question: string;
    ids: number[];
    logits: { top: Numbers; probes: Numbers };
    greedy: { ids: number[]; text: string };
  };
  prose: { ids: number[]; logProbs: number[]; meanNegativeLogProb: number };
}
interface Numbers {
  ids: number[];
  logits: number[];
}

const { chat, prose } = JSON.parse(
  readFileSync(new URL('../parity/smollm2/expected.json', import.meta.url), 'utf8'),
) as Expected;

let model: LanguageModel;
beforeAll(async () => {
  model = await LanguageModel.load(smollm2(), { dtype: 'float32' });
}, 60_000);
afterAll(() => model.dispose());

describe('SmolLM2', () => {
  it('has the logits of transformers after a question', async () => {
    using out = await model.forward([chat.ids]);
    const all = Array.from(await out.logits.data(), Number);
    const last = all.slice(-model.decoder.usedTokens);
    for (const { ids, logits } of [chat.logits.top, chat.logits.probes]) {
      expect(
        distance(
          ids.map((id) => last[id] as number),
          logits,
        ),
      ).toBeLessThan(1e-4);
    }
  });

  it('finds a page of prose as likely as transformers does', async () => {
    using loss = await model.loss([prose.ids], { grad: false });
    expect(Math.abs((await loss.item()) - prose.meanNegativeLogProb)).toBeLessThan(1e-5);
  });

  it('answers "Paris", and ends there', async () => {
    const tokenizer = (await loadTokenizer(smollm2())) as HuggingFaceTokenizer;
    const { config } = await readGgufTokenizer(smollm2());
    const source = config.chat_template as string;
    const talk = new Chat(
      tokenizer,
      new ChatTemplate(source, { name: smollm2(), specialTokens: tokenizer.templateTokens }),
    );
    const prompt = await talk.prompt([{ role: 'user', content: chat.question }]);
    expect(prompt).toEqual(chat.ids);
    using drawn = await model.generate({ prompts: [prompt], maxNewTokens: 16, temperature: 0, eosToken: [2] });
    const tokens = Array.from(await drawn.sequences.data(), Number).slice(prompt.length);
    expect(tokens).toEqual(chat.greedy.ids.slice(0, tokens.length));
    expect(tokenizer.decode(tokens)).toContain('Paris');
    expect(tokens.at(-1)).toBe(2);
  });
});
