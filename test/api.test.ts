/** Every public function with something else for one of its arguments: a typed error or a result, never a raw one. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import * as api from '../src/index.ts';
import { rowsOf } from '../src/tensor/rows.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 256, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device };
const folder = mkdtempSync(join(tmpdir(), 'palm-api-'));
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const text = file('text.txt', 'some text to learn');
const rows = file('rows.jsonl', '{"prompt": "a", "chosen": "b", "rejected": "c"}\n');
const sampleRows = file('samples.jsonl', '{"prompt": "a", "completion": "b", "reward": 1}\n');
const tokenizer = await api.loadTokenizer('byte');
const tokenizerFile = new URL('./fixtures/tokenizer/byte-level/tokenizer.json', import.meta.url);
cpSync(tokenizerFile, join(folder, 'tokenizer.json'));
file('chat_template.jinja', '{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}');
const chat = (await api.openTokenizer(folder)).chat as api.Chat;
const talk = [{ role: 'assistant', content: 'a' }];
const palm = new api.PaLM(SIZE);
const recorded = join(import.meta.dirname, 'parity/families');
const tuned = await api.LanguageModel.load(join(recorded, 'cases/llama'), { device });
await tuned.loadAdapter('tuned', join(recorded, 'adapters/llama'));
const scoring = join(recorded, 'rewards/llama');
const rewardModel = new api.RewardModel(new api.PaLM(SIZE), { lora: false });
const actorCritic = new api.ActorCritic(new api.PaLM(SIZE));
const weight = api.Tensor.parameter([1, 2]);
const optimizer = new api.AdamW([weight]);
const tensor = api.Tensor.from([[0.5, 1]], { device });
const tokens = Int32Array.from({ length: 20 }, (_, i) => i);
const windows = new api.Windows(tokens, 4);
const batches = new api.Batches({ size: 4, batchSize: 2, seed: 0 });
const pairs = [{ prompt: [1], chosen: [2], rejected: [3] }];
const labels = [{ prompt: [1], response: [2], good: true }];
const adaptiveKl = new api.AdaptiveKl(0.1, { target: 1, horizon: 10 });
const trainer = new api.RLHFTrainer({
  model: new api.PaLM(SIZE),
  rewardModel: (answers) => answers.map(() => 1),
  promptTokenIds: [[1]],
});
const rollout = await actorCritic.rollout({ prompts: [[1, 2]], maxNewTokens: 2, seed: 1 });
const judging = { klWeight: 0.1, gamma: 1, lambda: 0.95, whiten: true };
const grouping = { samplesPerPrompt: 1, klWeight: 0.1, estimator: 'group', scale: 'group' };
const experience = { ...rollout, ...(await api.judge(rollout, [1], judging)) };
const policy = new api.Policy(new api.PaLM(SIZE));
const flowrlPolicy = new api.FlowrlPolicy(new api.PaLM(SIZE));
const flowNow = await flowrlPolicy.evaluate(rollout.sequence, rollout.responseMask, { grad: false });
const { rolloutLogProb, referenceLogProb, responseMask } = rollout;
const { logProb, entropy, logPartition } = flowNow;
const flowTwice = await rowsOf(
  { rolloutLogProb, referenceLogProb, responseMask, logProb, entropy, logPartition },
  [0, 0],
);
const ilqlPolicy = new api.IlqlPolicy(new api.PaLM(SIZE));
const prm = new api.ImplicitPRM(new api.PaLM(SIZE));
const ilqlRead = await ilqlPolicy.actionValues([[1, 2]], [[0]], { grad: false });
const ilqlActions = { response: [[2]], reward: api.Tensor.from([[1]], { device }), responseMask: [[1]] };
const ilqlWeights = { tau: 0.7, gamma: 1, cqlWeight: 0.1, awacWeight: 1, beta: 0 };
const samples = [{ prompt: [1], response: [2], reward: 1 }];
const now = await actorCritic.evaluate(rollout.sequence, { grad: false });
const losing = { clip: 0.2, valueClip: 0.2, valueWeight: 1, entropyWeight: 0 };
const prediction = await api.predict(palm, [[1, 2]], { grad: false });
const scores = api.Tensor.from(new Float32Array([1, 2]), { device });
const logits = api.Tensor.from(new Float32Array([1, 2, 3, 4]), { shape: [1, 2, 2], device });
const ratio = { logProb: tensor, referenceLogProb: tensor, responseMask: [[0, 1]] };
const examples = [{ prompt: [1], response: [2] }];
const solutions = [{ prompt: [1], steps: [{ tokens: [2], good: true }] }];
const plannedModel = { ...palm.decoder };
const drawing = { rolloutBatch: 1, samplesPerPrompt: 1, promptLength: 1, maxNewTokens: 1 };
const ppoSizes = { ...drawing, minibatchSize: 1, lora: 4, reference: false };
const checkpoints = await api.openCheckpoints({ directory: join(folder, 'run'), parts: { optimizer } });
const parts = { model: palm, optimizer, text: windows, batches, actorCritic, rewardModel, pairs, reward: rewardModel };
const config = { steps: 1, maxSkippedSteps: 5 };
const saved = join(folder, 'saved.safetensors');
await palm.save(saved);

afterAll(async () => {
  await checkpoints.close();
  rmSync(folder, { recursive: true });
});

type Call = (...values: never[]) => unknown;
/** The first step of a generator. */
async function first(steps: AsyncGenerator<unknown>): Promise<unknown> {
  const { value } = await steps.next();
  await steps.return(undefined);
  return value;
}

// biome-ignore lint/suspicious/noExplicitAny: a table of all signatures there are
const entry = (call: (...values: any[]) => unknown, ...good: unknown[]) => ({ call: call as Call, good });

/** Every function of the package with arguments that are right. */
const FUNCTIONS = {
  memory: entry(api.memory, {}),
  useDeterministic: entry(api.useDeterministic, false),
  PaLM: entry((options) => new api.PaLM(options), SIZE),
  AdamW: entry((all, options) => new api.AdamW(all, options), [weight], {}),
  AdoptAtan2: entry((all, options) => new api.AdoptAtan2(all, options), [weight], {}),
  AdamAtan2: entry((all, options) => new api.AdamAtan2(all, options), [weight], {}),
  RewardModel: entry((model, options) => new api.RewardModel(model, options), palm, { lora: false }),
  Policy: entry((model, options) => new api.Policy(model, options), palm, { lora: false }),
  ActorCritic: entry((model, options) => new api.ActorCritic(model, options), palm, { lora: false }),
  AveragedPolicy: entry((policy) => new api.AveragedPolicy(policy), policy),
  'averagedPolicy.update': entry((decay) => new api.AveragedPolicy(policy).update(decay), 0.9),
  averageWeights: entry((model, others) => api.averageWeights(model, others), { parameters: () => [] }, []),
  ImplicitPRM: entry((model, options) => new api.ImplicitPRM(model, options), palm, { lora: false, beta: 0.1 }),
  IlqlPolicy: entry((model, options) => new api.IlqlPolicy(model, options), palm, { lora: false }),
  FlowrlPolicy: entry((model, options) => new api.FlowrlPolicy(model, options), palm, { lora: false }),
  RLHFTrainer: entry((options) => new api.RLHFTrainer(options), {}),
  train: entry(async (given) => (await api.train(given)).dispose(), {
    model: saved,
    tokenizer: 'byte',
    device,
    reward: (answers: object[]) => answers.map(() => 1),
    prompts: ['a'],
    config: { steps: 1, sampling: { maxNewTokens: 1 } },
  }),
  CombinedReward: entry(
    (rewards, options) => new api.CombinedReward(rewards, options),
    [{ name: 'one', reward: () => [] }],
    {
      combine: 'sum',
    },
  ),
  Spikes: entry((options) => new api.Spikes(options), { threshold: 6, skip: 0 }),
  AdaptiveKl: entry((weight, options) => new api.AdaptiveKl(weight, options), 0.1, { target: 1, horizon: 1 }),
  Batches: entry((options) => new api.Batches(options), { size: 1, batchSize: 1, seed: 1 }),
  Windows: entry((all, length) => new api.Windows(all, length), tokens, 4),
  entropy: entry(api.entropy, tensor),
  whiten: entry(api.whiten, tensor, [[1, 1]]),
  maskedMean: entry(api.maskedMean, tensor, [[1, 1]]),
  judge: entry(api.judge, rollout, [1], judging),
  groupAdvantages: entry(api.groupAdvantages, rollout, [1], grouping),
  experienceRows: entry(api.experienceRows, experience, [0]),
  ppoLoss: entry(api.ppoLoss, now, experience, losing),
  returnAdvantages: entry(api.returnAdvantages, rollout, [1], {
    samplesPerPrompt: 1,
    klWeight: 0.1,
    gamma: 1,
    groupBaseline: false,
  }),
  policyLoss: entry(api.policyLoss, now, experience, { clip: 0.2, clipHigh: 0.3, aggregation: 'dapo' }),
  klLoss: entry(api.klLoss, now.logProb, rollout, { estimator: 'k2' }),
  offPolicyWeight: entry(api.offPolicyWeight, rollout, { mode: 'token-truncate', max: 2 }),
  targetPolicyLoss: entry(api.targetPolicyLoss, now, rollout, [1], { samplesPerPrompt: 1, eta: 1 }),
  dpoLoss: entry(api.dpoLoss, now.logProb, now.logProb, rollout.responseMask, { beta: 0.1, nllWeight: 0 }),
  flowrlLoss: entry(api.flowrlLoss, flowTwice, flowTwice, [1, 2], {
    samplesPerPrompt: 2,
    beta: 1,
    clip: 0.2,
    clipHigh: 0.28,
  }),
  ilqlLoss: entry(api.ilqlLoss, ilqlRead, ilqlActions, ilqlWeights),
  ilqlLogits: entry(api.ilqlLogits, ilqlRead, { beta: 1 }),
  orpoLoss: entry(api.orpoLoss, now.logProb, rollout.responseMask, { beta: 0.1 }),
  simpoLoss: entry(api.simpoLoss, now.logProb, rollout.responseMask, { beta: 2, gammaOverBeta: 0.5 }),
  cpoLoss: entry(api.cpoLoss, now.logProb, rollout.responseMask, { beta: 0.1, labelSmoothing: 0.1 }),
  ktoLoss: entry(api.ktoLoss, now.logProb, now.logProb, rollout.responseMask, [1], { beta: 0.1, mismatched: [] }),
  logRatio: entry(api.logRatio, now.logProb, now.logProb, rollout.responseMask),
  sftLoss: entry(api.sftLoss, prediction, [[0, 1]], { loss: 'nll' }),
  rankingLoss: entry(api.rankingLoss, scores, { groups: [0, 0], ranks: [0, 1] }, {}),
  stepLoss: entry(api.stepLoss, tensor, [[0, 1]], {}),
  implicitReward: entry(api.implicitReward, ratio, { beta: 0.1 }),
  implicitScore: entry(api.implicitScore, ratio, { beta: 0.1 }),
  implicitRewardLoss: entry(api.implicitRewardLoss, ratio, [1], { beta: 0.1 }),
  predict: entry(api.predict, palm, [[1, 2]], {}),
  predictionOf: entry(api.predictionOf, logits, [[0, 1]]),
  loadTensors: entry(api.loadTensors, saved, palm.contents().tensors),
  saveTensors: entry(api.saveTensors, join(folder, 'tensors.safetensors'), palm.contents()),
  openCheckpoints: entry(api.openCheckpoints, {}),
  latestCheckpoint: entry(api.latestCheckpoint, folder),
  verifyCheckpoint: entry(api.verifyCheckpoint, folder),
  parseConfig: entry(api.parseConfig, api.ppoConfig, {}, 'ppo'),
  holdOutPrompts: entry(api.holdOutPrompts, [1, 2], [0, 1], { fraction: 0.5, seed: 1 }),
  RunningScores: entry((scores) => new api.RunningScores().update(scores), [1, 2]),
  RunningMean: entry((state) => new api.RunningMean().restore(state), { count: 1, mean: 0.5 }),
  holdOut: entry(api.holdOut, tokens, 0.1),
  loadText: entry(api.loadText, text, tokenizer),
  loadDocuments: entry(api.loadDocuments, rows, tokenizer),
  loadSamples: entry(api.loadSamples, sampleRows, tokenizer, { maxLength: 8 }),
  loadPreferences: entry(api.loadPreferences, rows, tokenizer, { maxLength: 8 }, { form: 'preference', map: {} }),
  loadPrompts: entry(api.loadPrompts, rows, tokenizer, { maxPromptLength: 8 }, { form: 'preference', map: {} }),
  loadRows: entry(api.loadRows, 'label', rows, tokenizer, { maxLength: 8, overlong: 'cut' }, { form: 'preference' }),
  packSequences: entry(api.packSequences, [[1, 2], [3]], 4, {}),
  resolveModel: entry(api.resolveModel, folder, { offline: true, cacheDir: folder }),
  uploadFolder: entry(api.uploadFolder, folder, 'org/name', { token: 'hf_x' }),
  loadTokenizer: entry(api.loadTokenizer, 'byte'),
  openTokenizer: entry(api.openTokenizer, folder, { chatTemplate: 'default', date: new Date() }),
  HuggingFaceTokenizer: entry(api.HuggingFaceTokenizer.of, {
    name: 'memory',
    tokenizer: JSON.parse(readFileSync(tokenizerFile, 'utf8')),
    config: {},
  }),
  Chat: entry((some, template) => new api.Chat(some, template), chat.tokenizer, chat.template),
  ChatTemplate: entry((source, options) => new api.ChatTemplate(source, options), 'a', {
    name: 'b',
    specialTokens: {},
    date: new Date(),
  }),
  decodeStream: entry(api.decodeStream, tokenizer),
  validationLoss: entry(api.validationLoss, palm, windows, { batchSize: 1, evaluateBatches: 1 }, 1),
  evaluatePairs: entry(api.evaluatePairs, rewardModel, pairs, 1, 0),
  rewardSteps: entry(api.rewardSteps, 4, { epochs: 1, batchSize: 1, accumulate: 1 }),
  sft: entry((some, options, start) => first(api.sft(some, options, start)), { ...parts, policy, examples }, config, 1),
  processReward: entry(
    (some, options, start) => first(api.processReward(some, options, start)),
    { ...parts, solutions },
    config,
    1,
  ),
  pretrain: entry((some, options, start) => first(api.pretrain(some, options, start)), parts, config, 1),
  reward: entry((some, options, start) => first(api.reward(some, options, start)), parts, config, 1),
  ppo: entry(
    (some, options, start) => first(api.ppo(some, options, start)),
    { ...parts, prompts: [[1]] },
    { ...config, lr: 1e-3 },
    1,
  ),
  grpo: entry(
    (some, options, start) => first(api.grpo(some, options, start)),
    { ...parts, policy, prompts: [[1]] },
    { ...config, lr: 1e-3 },
    1,
  ),
  onlineDpo: entry(
    (some, options, start) => first(api.onlineDpo(some, options, start)),
    { ...parts, policy, prompts: [[1]] },
    { ...config, lr: 1e-3 },
    1,
  ),
  rloo: entry(
    (some, options, start) => first(api.rloo(some, options, start)),
    { ...parts, policy, prompts: [[1]] },
    { ...config, lr: 1e-3 },
    1,
  ),
  reinforce: entry(
    (some, options, start) => first(api.reinforce(some, options, start)),
    { ...parts, policy, prompts: [[1]] },
    { ...config, lr: 1e-3 },
    1,
  ),
  remax: entry(
    (some, options, start) => first(api.remax(some, options, start)),
    { ...parts, policy, prompts: [[1]] },
    { ...config, lr: 1e-3 },
    1,
  ),
  targetPolicy: entry(
    (some, options, start) => first(api.targetPolicy(some, options, start)),
    { ...parts, policy, prompts: [[1]] },
    { ...config, lr: 1e-3 },
    1,
  ),
  flowrl: entry(
    (some, options, start) => first(api.flowrl(some, options, start)),
    { ...parts, policy: flowrlPolicy, prompts: [[1]] },
    { ...config, lr: 1e-3 },
    1,
  ),
  dpo: entry((some, options, start) => first(api.dpo(some, options, start)), { ...parts, policy }, config, 1),
  runMethod: entry(api.runMethod, 'ppo', {}, {}),
  sweep: entry(api.sweep, { run: 'ppo', metric: 'score', trials: 1, parameters: { lr: [1] } }, { out: '/dev/null/no' }),
  runTraining: entry(api.runTraining, {}, { sinks: [], sampleEvery: 1, resume: false }),
  ConsoleMetrics: entry((options) => new api.ConsoleMetrics(options), { steps: 1, watched: ['loss'], logEvery: 1 }),
  JsonLines: entry((stream) => new api.JsonLines(stream), { write() {} }),
  JsonlMetrics: entry((directory) => new api.JsonlMetrics(directory).close(), folder),
  TensorBoardMetrics: entry((directory, now) => new api.TensorBoardMetrics(directory, now), folder, Date.now),
  ilql: entry(
    (some, options, start) => first(api.ilql(some, options, start)),
    { ...parts, samples, policy: ilqlPolicy },
    config,
    1,
  ),
  rft: entry(
    (some, options, start) => first(api.rft(some, options, start)),
    { ...parts, policy, prompts: [[1]] },
    { ...config, lr: 1e-3 },
    1,
  ),
  selectResponses: entry(api.selectResponses, [[1], [2]], [1, 2], { samplesPerPrompt: 2, percentile: 0.5 }),
  bestOfN: entry(api.bestOfN, [1, 2], 2),
  bestOfNKl: entry(api.bestOfNKl, 4),
  passAtK: entry(api.passAtK, 4, 2, 1),
  planIlql: entry(api.planIlql, plannedModel, { batchSize: 1, length: 4, responseLength: 2, lora: 4 }),
  implicitPrm: entry(
    (some, options, start) => first(api.implicitPrm(some, options, start)),
    { ...parts, policy: prm, labels },
    config,
    1,
  ),
  kto: entry((some, options, start) => first(api.kto(some, options, start)), { ...parts, policy, labels }, config, 1),
  orpo: entry((some, options, start) => first(api.orpo(some, options, start)), { ...parts, policy }, config, 1),
  simpo: entry((some, options, start) => first(api.simpo(some, options, start)), { ...parts, policy }, config, 1),
  cpo: entry((some, options, start) => first(api.cpo(some, options, start)), { ...parts, policy }, config, 1),
  planPreferences: entry(api.planPreferences, plannedModel, { batchSize: 1, length: 4, lora: 4 }),
  planPretraining: entry(api.planPretraining, plannedModel, { batchSize: 1, length: 4 }),
  planReward: entry(api.planReward, plannedModel, { batchSize: 1, length: 4, lora: 4, dropout: 0 }),
  planPpo: entry(api.planPpo, plannedModel, ppoSizes),
};

const METHODS = {
  'Tensor.from': entry((values, options) => api.Tensor.from(values, options), [1], {}),
  'Tensor.parameter': entry((values, options) => api.Tensor.parameter(values, options), [1], {}),
  'Parameter.setGrad': entry((grad) => weight.setGrad(grad), tensor),
  'PaLM.load': entry((path, options) => api.PaLM.load(path, options), saved, {}),
  'palm.save': entry((path, options) => palm.save(path, options), join(folder, 'palm.safetensors'), {}),
  'palm.forward': entry((ids, options) => palm.forward(ids, options), [[1, 2]], {}),
  'palm.loss': entry((ids, options) => palm.loss(ids, options), [[1, 2]], {}),
  'palm.generate': entry((input) => palm.generate(input), { prompts: [[1]], maxNewTokens: 1 }),
  'palm.stream': entry((input) => first(palm.stream(input)), { prompt: [1], maxNewTokens: 1 }),
  'palm.parameters': entry((options) => palm.parameters(options), {}),
  'palm.addScope': entry((name, options) => palm.addScope(name, options), 'fresh', {}),
  'palm.removeScope': entry((name) => palm.removeScope(name), 'nobody'),
  'palm.mergeScope': entry((name) => palm.mergeScope(name), 'nobody'),
  'tuned.loadAdapter': entry(
    (name, path, options) => tuned.loadAdapter(name, path, options),
    'other',
    join(recorded, 'adapters/llama'),
    { bin: false },
  ),
  'tuned.exportAdapter': entry(
    (name, path, options) => tuned.exportAdapter(name, path, options),
    'tuned',
    join(folder, 'adapter'),
    { baseModel: 'somewhere' },
  ),
  'palm.freeze': entry((options) => palm.freeze(options), {}),
  'palm.train': entry((options) => palm.train(options), {}),
  'palm.setGeneratorState': entry((state) => palm.setGeneratorState(state), tensor),
  'RewardModel.load': entry((path, options) => api.RewardModel.load(path, options), saved, {}),
  'RewardModel.load of a folder': entry((path, options) => api.RewardModel.load(path, options), scoring, {
    device,
    options: { dropout: 0 },
  }),
  'rewardModel.forward': entry((ids, options) => rewardModel.forward(ids, options), [[1, 2]], {}),
  'rewardModel.score': entry((ids, options) => rewardModel.score(ids, options), [[1, 2]], {}),
  'rewardModel.loss': entry((ids, options) => rewardModel.loss(ids, options), [[1, 2]], { labels: [1] }),
  'rewardModel.rankingLoss': entry((ids, options) => rewardModel.rankingLoss(ids, options), [[1, 2]], {}),
  'rewardModel.tokenScores': entry((ids, options) => rewardModel.tokenScores(ids, options), [[1, 2]], {}),
  'rewardModel.stepLoss': entry((ids, options) => rewardModel.stepLoss(ids, options), [[1, 2]], { labels: [[0, 1]] }),
  'rewardModel.shift': entry((shift) => {
    rewardModel.shift = shift;
  }, 0),
  'rewardModel.save': entry((path) => rewardModel.save(path), join(folder, 'reward.safetensors')),
  'rewardModel.export': entry((path, options) => rewardModel.export(path, options), join(folder, 'reward'), {}),
  'rewardModel.train': entry((options) => rewardModel.train(options), {}),
  'policy.logProb': entry((ids, options) => policy.logProb(ids, options), [[1, 2]], {}),
  'policy.referenceLogProb': entry((ids, options) => policy.referenceLogProb(ids, options), [[1, 2]], {}),
  'policy.rollout': entry((input) => policy.rollout(input), { prompts: [[1]], maxNewTokens: 1 }),
  'flowrlPolicy.evaluate': entry(
    (ids, mask, options) => flowrlPolicy.evaluate(ids, mask, options),
    [[1, 2]],
    [[0, 1]],
    {},
  ),
  'ImplicitPRM.load': entry((path, options) => api.ImplicitPRM.load(path, options), saved, {}),
  'prm.score': entry((ids, mask) => prm.score(ids, mask), [[1, 2]], [[0, 1]]),
  'prm.tokenRewards': entry((ids, mask) => prm.tokenRewards(ids, mask), [[1, 2]], [[0, 1]]),
  'IlqlPolicy.load': entry((path, options) => api.IlqlPolicy.load(path, options), saved, {}),
  'ilqlPolicy.actionValues': entry(
    (ids, states, options) => ilqlPolicy.actionValues(ids, states, options),
    [[1, 2]],
    [[0]],
    {},
  ),
  'ilqlPolicy.sync': entry((alpha) => ilqlPolicy.sync(alpha), 0.1),
  'ilqlPolicy.readout': entry((options) => ilqlPolicy.readout(options), { beta: 1 }),
  'ilqlPolicy.generate': entry((input) => ilqlPolicy.generate(input), { prompts: [[1]], maxNewTokens: 1, beta: 1 }),
  'actorCritic.evaluate': entry((ids, options) => actorCritic.evaluate(ids, options), [[1, 2]], {}),
  'actorCritic.rollout': entry((input) => actorCritic.rollout(input), { prompts: [[1]], maxNewTokens: 1 }),
  'optimizer.step': entry((options) => optimizer.step(options), { maxGradNorm: 1, loss: [], maxSkipped: 1, read: [] }),
  'optimizer.learningRate': entry((value) => {
    optimizer.learningRate = value;
  }, 0.1),
  'checkpoints.restore': entry((path) => checkpoints.restore(path), undefined),
  'checkpoints.during': entry(
    (train) => first(checkpoints.during(train)),
    async function* () {},
  ),
  'batches.skip': entry((count) => batches.skip(count), 1),
  'batches.restore': entry((state) => batches.restore(state), { epoch: 0, position: 0 }),
  'windows.rows': entry((numbers) => windows.rows(numbers), [0]),
  'tokenizer.encode': entry((value) => tokenizer.encode(value), 'a'),
  'tokenizer.decode': entry((value) => tokenizer.decode(value), [97]),
  'chat.encode': entry((messages, options) => chat.encode(messages, options), talk, { tools: [], variables: {} }),
  'chat.prompt': entry((messages, options) => chat.prompt(messages, options), talk, {}),
  'chat.answer': entry((messages, answer, options) => chat.answer(messages, answer, options), talk, 'a', {}),
  'chatTemplate.render': entry((messages, options) => chat.template.render(messages, options), talk, {}),
  'chatTemplate.spans': entry((messages, options) => chat.template.spans(messages, options), talk, {}),
  'chat.tokenizer.encode': entry((text, options) => chat.tokenizer.encode(text, options), 'a', { special: 'both' }),
  'chat.tokenizer.encodeParts': entry((texts) => chat.tokenizer.encodeParts(texts), ['a', 'b']),
  'decodeStream.push': entry((token) => api.decodeStream(tokenizer).push(token), 97),
  'adaptiveKl.update': entry((kl, count) => adaptiveKl.update(kl, count), 1, 1),
  'adaptiveKl.restore': entry((state) => adaptiveKl.restore(state), { weight: 0.1 }),
  'trainer.train': entry((options) => trainer.train(options), { numEpisodes: 1 }),
  'trainer.generate': entry((length, options) => trainer.generate(length, options), 4, { prompt: [1] }),
};

const BAD = [
  undefined,
  {},
  null,
  5,
  -1,
  0.5,
  Number.NaN,
  '',
  join(folder, 'none', 'x'),
  [],
  [null],
  [[1.5]],
  () => 1,
  Symbol('s'),
  10n,
  new Map(),
];
const shown = (bad: unknown) => (typeof bad === 'object' ? JSON.stringify(bad) : String(bad));
/** The fields of an object without a class; of others none. */
const fieldsOf = (value: unknown): object =>
  Object.getPrototypeOf(Object(value)) === Object.prototype ? Object(value) : {};

/** What a call throws that is no error of the package. */
async function rawError(call: () => unknown): Promise<string | undefined> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return error instanceof api.PalmError
      ? undefined
      : String((error as Error).stack)
          .split('\n')
          .slice(0, 3)
          .join(' ');
  }
}

describe('the public API (api-raw-typeerrors)', () => {
  it('is covered completely by this test', () => {
    const functions = Object.entries(api).filter(([, value]) => {
      return typeof value === 'function' && !(value.prototype instanceof Error);
    });
    // Made by `from` and `parameter`, and by a family's own class.
    const known = new Set([...Object.keys(FUNCTIONS), 'Tensor', 'Parameter', 'LanguageModel']);
    expect(functions.map(([name]) => name).filter((name) => !known.has(name))).toEqual([]);
  });

  it.each(Object.entries({ ...FUNCTIONS, ...METHODS }))('%s', async (_name, { call, good }) => {
    const found: string[] = [];
    for (const [place] of good.entries()) {
      for (const bad of BAD) {
        const raw = await rawError(() => call(...(good.with(place, bad) as never[])));
        if (raw !== undefined) found.push(`${place}: ${shown(bad)}: ${raw}`);
      }
    }
    expect(found).toEqual([]);
  });

  it.each(Object.entries({ ...FUNCTIONS, ...METHODS }))(
    '%s: fields of what it is given',
    async (_name, { call, good }) => {
      const found: string[] = [];
      for (const [place, whole] of good.entries()) {
        for (const name of Object.keys(fieldsOf(whole))) {
          for (const bad of BAD.slice(1)) {
            const changed = { ...(whole as object), [name]: bad };
            const raw = await rawError(() => call(...(good.with(place, changed) as never[])));
            if (raw !== undefined) found.push(`${place}: ${name}: ${shown(bad)}: ${raw}`);
          }
        }
      }
      expect(found).toEqual([]);
    },
  );

  it.each([
    ['palm.generate', (signal: unknown) => palm.generate({ prompts: [[1]], maxNewTokens: 1, signal } as never)],
    [
      'actorCritic.rollout',
      (signal: unknown) => actorCritic.rollout({ prompts: [[1]], maxNewTokens: 1, signal } as never),
    ],
    ['palm.stream', (signal: unknown) => first(palm.stream({ prompt: [1], maxNewTokens: 1, signal } as never))],
  ])('%s refuses an invalid signal', async (_name, call) => {
    const error = expect.objectContaining({ code: 'ERR_ARGUMENT', argument: 'signal' });
    for (const bad of BAD.slice(1)) await expect(call(bad)).rejects.toThrow(error);
  });

  it.each([
    ['loadPreferences', () => api.loadPreferences(rows, tokenizer, { maxLength: 8, maxPromptlength: 2 } as never)],
    ['loadPrompts', () => api.loadPrompts(rows, tokenizer, { maxPromptLength: 8, maxLength: 8 } as never)],
    ['packSequences', () => api.packSequences([[1]], 4, { padtoken: 1 } as never)],
    ['generate', () => trainer.generate(4, { prompt: [1], samples: 2 } as never)],
  ])('%s refuses an unknown option', async (_name, call) => {
    await expect((async () => call())()).rejects.toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  });

  it("names the missing argument of RLHFTrainer by the Python library's name", () => {
    const prompts = { model: palm, rewardModel, prompts: [[1]] } as never;
    expect(() => new api.RLHFTrainer(prompts)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT', argument: 'RLHFTrainer.prompts' }),
    );
    const words = { model: palm, rewardModel, promptTokenIds: ['hi'] } as never;
    expect(() => new api.RLHFTrainer(words)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT', argument: 'RLHFTrainer.promptTokenIds' }),
    );
  });
});
