/** All training methods by name: what `palm <name>` runs, and what a program opens or assembles. */
import { cpoMethod } from './methods/cpo.ts';
import { dpoMethod } from './methods/dpo.ts';
import { grpoMethod } from './methods/grpo.ts';
import { ilqlMethod } from './methods/ilql.ts';
import { ktoMethod } from './methods/kto.ts';
import type { Method } from './methods/method.ts';
import { orpoMethod } from './methods/orpo.ts';
import { ppoMethod } from './methods/ppo.ts';
import { pretrainMethod } from './methods/pretrain.ts';
import { rewardMethod } from './methods/reward.ts';
import { rftMethod } from './methods/rft.ts';
import { simpoMethod } from './methods/simpo.ts';

export const methods = {
  pretrain: pretrainMethod,
  reward: rewardMethod,
  ppo: ppoMethod,
  grpo: grpoMethod,
  dpo: dpoMethod,
  ilql: ilqlMethod,
  rft: rftMethod,
  kto: ktoMethod,
  orpo: orpoMethod,
  simpo: simpoMethod,
  cpo: cpoMethod,
} satisfies Readonly<Record<string, Method>>;
