/** All training methods by name: what `palm <name>` runs, and what a program opens or assembles. */
import { dpoMethod } from './methods/dpo.ts';
import { grpoMethod } from './methods/grpo.ts';
import { ilqlMethod } from './methods/ilql.ts';
import type { Method } from './methods/method.ts';
import { ppoMethod } from './methods/ppo.ts';
import { pretrainMethod } from './methods/pretrain.ts';
import { rewardMethod } from './methods/reward.ts';
import { rftMethod } from './methods/rft.ts';

export const methods = {
  pretrain: pretrainMethod,
  reward: rewardMethod,
  ppo: ppoMethod,
  grpo: grpoMethod,
  dpo: dpoMethod,
  ilql: ilqlMethod,
  rft: rftMethod,
} satisfies Readonly<Record<string, Method>>;
