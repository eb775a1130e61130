/** All training methods by name: what `palm <name>` runs, and what a program opens or assembles. */
import { cpoMethod } from './methods/cpo.ts';
import { dpoMethod } from './methods/dpo.ts';
import { flowrlMethod } from './methods/flowrl.ts';
import { grpoMethod } from './methods/grpo.ts';
import { implicitPrmMethod } from './methods/implicit-prm.ts';
import { ilqlMethod } from './methods/ilql.ts';
import { ktoMethod } from './methods/kto.ts';
import type { Method } from './methods/method.ts';
import { orpoMethod } from './methods/orpo.ts';
import { ppoMethod } from './methods/ppo.ts';
import { pretrainMethod } from './methods/pretrain.ts';
import { processRewardMethod } from './methods/process-reward.ts';
import { reinforceMethod } from './methods/reinforce.ts';
import { remaxMethod } from './methods/remax.ts';
import { rewardMethod } from './methods/reward.ts';
import { onlineDpoMethod } from './methods/online-dpo.ts';
import { rlooMethod } from './methods/rloo.ts';
import { targetPolicyMethod } from './methods/target-policy.ts';
import { rftMethod } from './methods/rft.ts';
import { sftMethod } from './methods/sft.ts';
import { simpoMethod } from './methods/simpo.ts';

export const methods = {
  pretrain: pretrainMethod,
  sft: sftMethod,
  reward: rewardMethod,
  'process-reward': processRewardMethod,
  'implicit-prm': implicitPrmMethod,
  ppo: ppoMethod,
  grpo: grpoMethod,
  rloo: rlooMethod,
  reinforce: reinforceMethod,
  remax: remaxMethod,
  'target-policy': targetPolicyMethod,
  flowrl: flowrlMethod,
  dpo: dpoMethod,
  'online-dpo': onlineDpoMethod,
  ilql: ilqlMethod,
  rft: rftMethod,
  kto: ktoMethod,
  orpo: orpoMethod,
  simpo: simpoMethod,
  cpo: cpoMethod,
} satisfies Readonly<Record<string, Method>>;
