// Written by `npm run options` from the commands; change them, not this file.
import type { Heading } from './commands.ts';

/** What the help of `palm` shows of each command, by its name. */
export const LISTING: Readonly<Record<string, { group: Heading; term: string; summary: string }>> = {
  demo: {
    group: 'Train:',
    term: 'demo [options]',
    summary: 'run pretraining, a reward model and PPO on a toy maze (1-2 min)',
  },
  train: {
    group: 'Train:',
    term: 'train <recipe>',
    summary: 'train as a recipe says: a file, or one of those that are shipped',
  },
  sweep: {
    group: 'Train:',
    term: 'sweep [options] <file>',
    summary: 'search for good settings: many runs, compared by a metric',
  },
  pretrain: { group: 'Train:', term: 'pretrain [options]', summary: 'train a new model on text' },
  sft: { group: 'Train:', term: 'sft [options]', summary: 'train a model on prompts and responses' },
  reward: { group: 'Train:', term: 'reward [options]', summary: 'train a reward model on preferences or ratings' },
  'process-reward': {
    group: 'Train:',
    term: 'process-reward [options]',
    summary: 'train a reward model on labels of steps',
  },
  'implicit-prm': {
    group: 'Train:',
    term: 'implicit-prm [options]',
    summary: 'train a reward for every token from responses labelled right or wrong',
  },
  ppo: { group: 'Train:', term: 'ppo [options]', summary: 'train a policy with PPO and a reward model' },
  grpo: { group: 'Train:', term: 'grpo [options]', summary: 'train a policy by feedback, without a critic' },
  rloo: {
    group: 'Train:',
    term: 'rloo [options]',
    summary: 'train a policy by feedback, each answer against the others',
  },
  reinforce: { group: 'Train:', term: 'reinforce [options]', summary: 'train a policy by feedback with REINFORCE++' },
  remax: {
    group: 'Train:',
    term: 'remax [options]',
    summary: 'train a policy by feedback, against its greedy answers',
  },
  'target-policy': {
    group: 'Train:',
    term: 'target-policy [options]',
    summary: 'train a policy towards a target over its answers',
  },
  flowrl: {
    group: 'Train:',
    term: 'flowrl [options]',
    summary: 'train a policy by feedback, towards a share for every good answer',
  },
  dpo: { group: 'Train:', term: 'dpo [options]', summary: 'train a policy on preferences, without a reward model' },
  'online-dpo': {
    group: 'Train:',
    term: 'online-dpo [options]',
    summary: 'train a policy by feedback, DPO on the best and worst answers',
  },
  ilql: { group: 'Train:', term: 'ilql [options]', summary: 'train a policy and its values on samples with rewards' },
  rft: { group: 'Train:', term: 'rft [options]', summary: 'train a policy on the best of its own responses' },
  kto: { group: 'Train:', term: 'kto [options]', summary: 'train a policy on responses labelled good or bad' },
  orpo: {
    group: 'Train:',
    term: 'orpo [options]',
    summary: 'train a policy on preferences by likelihood and odds, without a reference',
  },
  simpo: {
    group: 'Train:',
    term: 'simpo [options]',
    summary: 'train a policy on preferences by mean log-probability, without a reference',
  },
  cpo: {
    group: 'Train:',
    term: 'cpo [options]',
    summary: 'train a policy on preferences by margin and likelihood, without a reference',
  },
  generate: {
    group: 'Use and look:',
    term: 'generate [options] <MODEL> [PROMPT]',
    summary: 'continue a prompt, or the prompts of a file, until the end of the text',
  },
  chat: {
    group: 'Use and look:',
    term: 'chat [options] <MODEL>',
    summary: 'talk to a model that was tuned for conversations; /reset begins again, /exit ends',
  },
  serve: {
    group: 'Use and look:',
    term: 'serve [options] <MODEL...>',
    summary: 'answer OpenAI clients over HTTP with models, and score answers with reward models',
  },
  chats: {
    group: 'Use and look:',
    term: 'chats',
    summary: 'use what people said about answers on the chat page of palm serve',
  },
  score: {
    group: 'Use and look:',
    term: 'score [options] <MODEL>',
    summary: 'score responses with a reward model: a line of JSON for each on stdout, a summary on stderr',
  },
  evaluate: {
    group: 'Use and look:',
    term: 'evaluate [options] <MODEL>',
    summary: 'measure a model: perplexity on a text, scores by a reward, win rate against another model',
  },
  inspect: {
    group: 'Use and look:',
    term: 'inspect [options] <MODEL>',
    summary: 'print what a model file or a run contains',
  },
  watch: {
    group: 'Use and look:',
    term: 'watch [options] <RUN...>',
    summary: 'show runs in a browser while they learn: curves, answers, what is not healthy',
  },
  report: {
    group: 'Use and look:',
    term: 'report [options] <RUN...>',
    summary: 'write a page with the curves, samples and settings of runs (offline HTML)',
  },
  data: { group: 'Use and look:', term: 'data', summary: 'look at files of feedback, or convert them' },
  recipes: { group: 'Use and look:', term: 'recipes', summary: 'look at the recipes that are shipped' },
  import: {
    group: 'Use and look:',
    term: 'import [options] <FILE>',
    summary: 'convert a palm-rlhf-pytorch checkpoint (.pt) to a model file',
  },
  export: {
    group: 'Use and look:',
    term: 'export [options] <MODEL>',
    summary: 'write a model for this package, palm-rlhf-pytorch, transformers or PEFT',
  },
  download: {
    group: 'Use and look:',
    term: 'download [options] <MODEL>',
    summary: 'fetch a model from the Hugging Face hub into its cache, and print its folder',
  },
  upload: {
    group: 'Use and look:',
    term: 'upload [options] <FOLDER> <REPO>',
    summary: 'upload the folder of a model or an adapter to the Hugging Face hub (needs HF_TOKEN)',
  },
  doctor: {
    group: 'Use and look:',
    term: 'doctor [options]',
    summary: 'print versions, hardware and the search for libtorch',
  },
  libtorch: {
    group: 'Use and look:',
    term: 'libtorch',
    summary: 'install, choose or locate libtorch, the tensor library',
  },
};
