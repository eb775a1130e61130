/** The stack of an error names the caller's file: its first frame outside the package is the call that went wrong. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { AdamW, PaLM, Policy, parseConfig, ppoConfig, RewardModel, Tensor } from '../src/index.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device };
const own = fileURLToPath(new URL('../src/', import.meta.url));
const model = new PaLM(SIZE);
const reward = new RewardModel(new PaLM(SIZE));
const policy = new Policy(new PaLM(SIZE));
const tensor = Tensor.from([[1, 2]], { device });
const parameter = Tensor.parameter([1], {});
const optimizer = new AdamW([parameter]);

/** The paths of a stack's frames, outermost last. */
function pathsOf(error: unknown): string[] {
  const lines = (error as Error).stack?.split('\n').filter((line) => /^\s+at /.test(line)) ?? [];
  return lines.map((line) => /(?:file:\/\/)?(\/[^:)]*):\d+:\d+\)?$/.exec(line)?.[1] ?? line);
}

it.each<[string, () => unknown]>([
  ['a token that the model does not have', () => model.loss([[1, 999]])],
  ['ragged rows', () => model.loss([[[1, 2]], [[3]]] as never)],
  ['a prompt with a bad token', () => model.generate({ prompts: [[999]], maxNewTokens: 1 })],
  ['a stream of it', () => model.stream({ prompt: [999], maxNewTokens: 1 }).next()],
  ['a reward model', () => reward.score([[999]])],
  ['a rollout', () => policy.rollout({ prompts: [[999]], maxNewTokens: 1 })],
  ['a tensor with two elements', () => tensor.item()],
  ['a backward pass without a graph', () => tensor.backward()],
  ['an optimizer without gradients', () => optimizer.step()],
  ['a configuration', () => parseConfig(ppoConfig, { stepz: 1 }, 'ppo')],
  ['a file that is not there', () => PaLM.load('/nowhere.safetensors')],
])('in %s', async (_, call) => {
  async function caller() {
    await call();
  }
  const error = await caller().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_(?!DISPOSED)/) });
  expect((error as Error).stack).toContain(`${(error as Error).name}: ${(error as Error).message}`);
  const outside = pathsOf(error).filter((path) => !path.startsWith(own) && !/node:|<anonymous>/.test(path));
  expect(outside[0]).toBe(fileURLToPath(import.meta.url));
});

it('also if nobody waits for the call', async () => {
  const failures: unknown[] = [];
  (() => {
    model.loss([[999]]).catch((error: unknown) => failures.push(error));
  })();
  await model.loss([[1, 2]], { grad: false }).then((loss) => loss.dispose());
  expect(pathsOf(failures[0]).filter((path) => !path.startsWith(own))[0]).toBe(fileURLToPath(import.meta.url));
});

it('without changing how long stacks are elsewhere', () => {
  const limit = Error.stackTraceLimit;
  expect(() => new PaLM({ ...SIZE, dim: -1 })).toThrow();
  expect(Error.stackTraceLimit).toBe(limit);
});
