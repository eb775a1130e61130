/** The public surface, in reading order. */
export * from './errors.ts';
export { memory, Parameter, Tensor } from './tensor.ts';
export type {
  Device,
  Dtype,
  NestedArray,
  NumericArray,
  TensorArray,
  TensorData,
  TensorGroup,
  TensorOptions,
} from './tensor.ts';
export type { Ids, Mask, Values } from './inputs.ts';
export { PaLM } from './palm.ts';
export type {
  GenerateInput,
  Generation,
  LoadOptions,
  PalmConfig,
  PalmConfigInput,
  PalmOutput,
  StreamInput,
} from './palm.ts';
export { AdamAtan2, AdamW, AdoptAtan2 } from './optim.ts';
export type { Optimizer, StepResult } from './optim.ts';
export { RewardModel } from './reward-model.ts';
export type {
  RankingMetrics,
  RewardLoadOptions,
  RewardModelOptions,
  RewardPositions,
  RewardTarget,
} from './reward-model.ts';
export { ActorCritic } from './actor-critic.ts';
export type { ActorCriticOptions, Evaluation, Experience, Rollout, RolloutInput } from './actor-critic.ts';
export { entropy, experienceRows, judge, maskedMean, ppoLoss, whiten } from './losses.ts';
export type { JudgeMetrics, JudgeOptions, Judgement, Loss, PpoLossOptions, PpoMetrics } from './losses.ts';
export { latestCheckpoint, loadCheckpoint, loadTensors, saveCheckpoint, saveTensors } from './checkpoint/checkpoint.ts';
export type { Contents, NamedTensor, RunCheckpoint, Saveable } from './checkpoint/checkpoint.ts';
export { ppo } from './trainers/ppo.ts';
export type { PpoParts, PpoStep } from './trainers/ppo.ts';
export type { Answer, Reward, RewardFunction } from './trainers/experience.ts';
export { RLHFTrainer } from './trainers/rlhf-trainer.ts';
export type { RLHFTrainerOptions } from './trainers/rlhf-trainer.ts';
export { AdaptiveKl } from './trainers/schedule.ts';
