/** The public surface, in reading order. */
import { threadTime } from './native/addon.ts';
import { measureWork } from './tokenizer/deadline.ts';

measureWork(threadTime);

export {
  ArgumentError,
  CheckpointError,
  ConfigError,
  DataError,
  DeviceError,
  DisposedError,
  DtypeError,
  FileError,
  GgufError,
  HandleError,
  HubError,
  LibtorchError,
  LockedError,
  NativeError,
  NumericsError,
  OutOfMemoryError,
  PalmError,
  RewardError,
  SafetensorsError,
  ShapeError,
  SharedTrunkError,
  TorchFileError,
} from './errors.ts';
export type { ErrorDetail, GgufReason, HubReason, OutOfMemoryDetail, SafetensorsReason } from './errors.ts';
export { memory, Parameter, Tensor, useDeterministic } from './tensor/tensor.ts';
export type {
  MemoryOptions,
  MemoryUse,
  Device,
  Dtype,
  NestedArray,
  NumericArray,
  TensorArray,
  TensorData,
  TensorGroup,
  TensorOptions,
} from './tensor/tensor.ts';
export type { Ids, Mask, Values } from './tensor/arguments.ts';
export { LanguageModel } from './models/language-model.ts';
export type {
  AdapterExportOptions,
  AdapterLoadOptions,
  DecoderDescription,
  ExportOptions,
  GenerateInput,
  Generation,
  ModelOutput,
  SaveOptions,
  ScopeOptions,
  StreamInput,
} from './models/language-model.ts';
export { PaLM } from './models/palm.ts';
export type { LoadOptions, PalmConfig, PalmConfigInput, PalmOutput } from './models/palm.ts';
export { resolveModel } from './hub/resolve-model.ts';
export type { ResolveOptions } from './hub/resolve-model.ts';
export type { DownloadProgress } from './hub/snapshot.ts';
export { uploadFolder } from './hub/upload.ts';
export type { Uploaded, UploadOptions } from './hub/upload.ts';
export { AdamAtan2, AdamW, AdoptAtan2 } from './optim.ts';
export type { Optimizer, StepOptions, StepResult } from './optim.ts';
export { RewardModel } from './models/reward-model.ts';
export type {
  RankingMetrics,
  RankingOptions,
  RewardLoadOptions,
  RewardModelOptions,
  RewardPositions,
  RewardTarget,
  ScoreStatistics,
  StepLabelMetrics,
} from './models/reward-model.ts';
export type { Readout } from './sampling.ts';
export { Policy } from './models/policy.ts';
export type { ComparedLogProb, LogProb, PolicyOptions, Rollout, RolloutInput } from './models/policy.ts';
export { FlowrlPolicy } from './models/flowrl-policy.ts';
export type { FlowrlEvaluation, FlowrlPolicyOptions } from './models/flowrl-policy.ts';
export { IlqlPolicy } from './models/ilql-policy.ts';
export type { ActionValues, IlqlPolicyOptions, ReadoutOptions } from './models/ilql-policy.ts';
export { ImplicitPRM } from './models/implicit-prm.ts';
export type { ImplicitPRMOptions } from './models/implicit-prm.ts';
export { ActorCritic } from './models/actor-critic.ts';
export type { ActorCriticOptions, Evaluation, Experience, ValuedRollout } from './models/actor-critic.ts';
export { predict, predictionOf } from './models/prediction.ts';
export type { Prediction } from './models/prediction.ts';
export { experienceRows, klLoss, offPolicyWeight, policyLoss, ppoLoss } from './losses/policy.ts';
export { targetPolicyLoss } from './losses/target-policy.ts';
export { flowrlLoss } from './losses/flowrl.ts';
export type { FlowrlLossOptions, FlowrlMetrics } from './losses/flowrl.ts';
export { ilqlLogits, ilqlLoss } from './losses/ilql.ts';
export type { IlqlActions, IlqlLossOptions, IlqlMetrics } from './losses/ilql.ts';
export { cpoLoss, dpoLoss, orpoLoss, simpoLoss } from './losses/preference.ts';
export { ktoLoss, logRatio } from './losses/kto.ts';
export { implicitReward, implicitRewardLoss, implicitScore, rankingLoss, stepLoss } from './losses/reward.ts';
export type { ImplicitRewardLossOptions, ImplicitRewardMetrics, LogRatio } from './losses/reward.ts';
export { sftLoss } from './losses/text.ts';
export type { SftLossOptions, SftMetrics } from './losses/text.ts';
export { entropy, maskedMean, whiten } from './losses/reductions.ts';
export type { Loss } from './tensor/loss.ts';
export type { Compared, CorrectionOptions, PolicyMetrics, PpoLossOptions, PpoMetrics } from './losses/policy.ts';
export type { KlEstimator, PolicyLossOptions } from './checks/policy-options.ts';
export type { TargetPolicyMetrics, TargetPolicyOptions } from './losses/target-policy.ts';
export type {
  CpoLossOptions,
  DpoLossOptions,
  DpoMetrics,
  OrpoLossOptions,
  OrpoMetrics,
  PreferenceMetrics,
  SimpoLossOptions,
} from './losses/preference.ts';
export type { KtoLossOptions, KtoMetrics } from './losses/kto.ts';
export { groupAdvantages, judge, returnAdvantages } from './advantages.ts';
export type {
  GroupAdvantages,
  GroupMetrics,
  GroupOptions,
  JudgeMetrics,
  JudgeOptions,
  Judgement,
  ReturnAdvantages,
  ReturnMetrics,
  ReturnOptions,
} from './advantages.ts';
export { loadTensors, saveTensors } from './tensor/tensor-files.ts';
export type { Contents, NamedTensor, Saveable } from './tensor/tensor-files.ts';
export type { Slice } from './tensor/slice.ts';
export { averageWeights } from './models/average-weights.ts';
export type { HasParameters } from './models/average-weights.ts';
export { AveragedPolicy } from './models/averaged-policy.ts';
export { openCheckpoints } from './checkpoint/checkpoints.ts';
export type { CheckpointOptions, Checkpoints, Watch } from './checkpoint/checkpoints.ts';
export type { Stateful } from './checkpoint/parts.ts';
export { latestCheckpoint, verifyCheckpoint } from './checkpoint/checkpoint.ts';
export { Spikes } from './trainers/spikes.ts';
export type { SpikeOptions } from './trainers/spikes.ts';
export type { BestStep } from './models/best-note.ts';
export type { Stopped } from './trainers/ending.ts';
export { parseConfig } from './config/schema.ts';
export { pretrainConfig } from './config/pretrain.ts';
export type { PretrainConfig, PretrainConfigInput } from './config/pretrain.ts';
export { processRewardConfig } from './config/process-reward.ts';
export type { ProcessRewardConfig, ProcessRewardConfigInput } from './config/process-reward.ts';
export { implicitPrmConfig } from './config/implicit-prm.ts';
export type { ImplicitPrmConfig, ImplicitPrmConfigInput } from './config/implicit-prm.ts';
export { sftConfig } from './config/sft.ts';
export type { SftConfig, SftConfigInput } from './config/sft.ts';
export { rewardConfig } from './config/reward.ts';
export type { RewardConfig, RewardConfigInput } from './config/reward.ts';
export { grpoConfig } from './config/grpo.ts';
export type { GrpoConfig, GrpoConfigInput } from './config/grpo.ts';
export { onlineDpoConfig } from './config/online-dpo.ts';
export type { OnlineDpoConfig, OnlineDpoConfigInput } from './config/online-dpo.ts';
export { rlooConfig } from './config/rloo.ts';
export type { RlooConfig, RlooConfigInput } from './config/rloo.ts';
export { reinforceConfig } from './config/reinforce.ts';
export type { ReinforceConfig, ReinforceConfigInput } from './config/reinforce.ts';
export { remaxConfig } from './config/remax.ts';
export type { RemaxConfig, RemaxConfigInput } from './config/remax.ts';
export { targetPolicyConfig } from './config/target-policy.ts';
export type { TargetPolicyConfig, TargetPolicyConfigInput } from './config/target-policy.ts';
export { dpoConfig } from './config/dpo.ts';
export type { DpoConfig, DpoConfigInput } from './config/dpo.ts';
export { flowrlConfig } from './config/flowrl.ts';
export type { FlowrlConfig, FlowrlConfigInput } from './config/flowrl.ts';
export { ilqlConfig } from './config/ilql.ts';
export type { IlqlConfig, IlqlConfigInput } from './config/ilql.ts';
export { rftConfig } from './config/rft.ts';
export type { RftConfig, RftConfigInput } from './config/rft.ts';
export { ktoConfig } from './config/kto.ts';
export type { KtoConfig, KtoConfigInput } from './config/kto.ts';
export { orpoConfig } from './config/orpo.ts';
export type { OrpoConfig, OrpoConfigInput } from './config/orpo.ts';
export { simpoConfig } from './config/simpo.ts';
export type { SimpoConfig, SimpoConfigInput } from './config/simpo.ts';
export { cpoConfig } from './config/cpo.ts';
export type { CpoConfig, CpoConfigInput } from './config/cpo.ts';
export { sweepConfig } from './config/sweep.ts';
export type { SweepConfig, SweepConfigInput } from './config/sweep.ts';
export { ppoConfig } from './config/ppo.ts';
export type { PpoConfig, PpoConfigInput } from './config/ppo.ts';
export { Batches } from './data/batches.ts';
export type { BatchesState } from './data/batches.ts';
export { holdOut, loadText, Windows } from './data/text.ts';
export type { Sequences } from './data/text.ts';
export { loadDocuments } from './data/documents.ts';
export type { Completion, TrainingExample, MarkedText } from './data/completions.ts';
export { loadPreferences } from './data/preferences.ts';
export type { Preference, PreferenceLimits, Preferences } from './data/preferences.ts';
export type { Label } from './data/labels.ts';
export type { JudgedStep, Solution } from './data/solutions.ts';
export type { RatedResponse } from './data/ratings.ts';
export type { Ranking } from './data/rankings.ts';
export { holdOutPrompts } from './data/hold-out.ts';
export { loadSamples } from './data/samples.ts';
export type { Samples, ScoredSample } from './data/samples.ts';
export { loadPrompts } from './data/prompts.ts';
export type { Prompts } from './data/prompts.ts';
export { loadRows } from './data/token-rows.ts';
export type {
  LoadedRows,
  RowOptions,
  TokenCompletion,
  TokenKind,
  TokenLabel,
  TokenLimits,
  TokenRanking,
  TokenRating,
  TokenRows,
  TokenSteps,
  TokenText,
  TokenTurns,
} from './data/token-rows.ts';
export type { FormOptions } from './data/forms/read.ts';
export type { Meta } from './data/forms/rows.ts';
export type { FieldMap, Paths } from './data/records.ts';
export { packSequences } from './data/packing.ts';
export type { PackedRows } from './data/packing.ts';
export { Chat } from './tokenizer/chat.ts';
export type { ChatPart, EncodedAnswer, EncodedChat } from './tokenizer/chat.ts';
export type { ChatMessage } from './tokenizer/chat/messages.ts';
export type { Span, SpannedText } from './tokenizer/chat/marks.ts';
export type { SpanRule } from './tokenizer/chat/span-rules.ts';
export { ChatTemplate } from './tokenizer/chat-template.ts';
export type { ChatOptions, RenderOptions, TemplateOptions } from './tokenizer/chat-template.ts';
export { HuggingFaceTokenizer } from './tokenizer/hugging-face.ts';
export type { HuggingFaceOptions, TokenizerFiles } from './tokenizer/hugging-face.ts';
export { loadTokenizer } from './tokenizer/load.ts';
export { openTokenizer } from './tokenizer/open.ts';
export type { ModelTokenizer, OpenOptions } from './tokenizer/open.ts';
export { decodeStream } from './tokenizer/tokenizer.ts';
export type { EncodeOptions, Tokenizer } from './tokenizer/tokenizer.ts';
export { pretrain, validationLoss } from './trainers/pretrain.ts';
export type { PretrainParts, PretrainStep } from './trainers/pretrain.ts';
export { processReward } from './trainers/process-reward.ts';
export type { ProcessRewardParts, ProcessRewardStep } from './trainers/process-reward.ts';
export { implicitPrm } from './trainers/implicit-prm.ts';
export type { ImplicitPrmParts, ImplicitPrmStep } from './trainers/implicit-prm.ts';
export { sft } from './trainers/sft.ts';
export type { SftParts, SftStep } from './trainers/sft.ts';
export type { Evaluation as RewardEvaluation } from './trainers/comparisons.ts';
export { evaluatePairs, reward, rewardSteps } from './trainers/reward.ts';
export type { RewardParts, RewardRows, RewardStep } from './trainers/reward.ts';
export { grpo } from './trainers/grpo.ts';
export type { GrpoParts, GrpoStep } from './trainers/grpo.ts';
export { onlineDpo } from './trainers/online-dpo.ts';
export type { OnlineDpoParts, OnlineDpoStep } from './trainers/online-dpo.ts';
export { rloo } from './trainers/rloo.ts';
export type { RlooParts, RlooStep } from './trainers/rloo.ts';
export { reinforce } from './trainers/reinforce.ts';
export type { ReinforceParts, ReinforceStep } from './trainers/reinforce.ts';
export { remax } from './trainers/remax.ts';
export type { RemaxParts, RemaxStep } from './trainers/remax.ts';
export { targetPolicy } from './trainers/target-policy.ts';
export type { TargetPolicyParts, TargetPolicyStep } from './trainers/target-policy.ts';
export { dpo } from './trainers/dpo.ts';
export type { DpoParts, DpoStep } from './trainers/dpo.ts';
export { flowrl } from './trainers/flowrl.ts';
export type { FlowrlParts, FlowrlStep } from './trainers/flowrl.ts';
export { ilql } from './trainers/ilql.ts';
export type { IlqlParts, IlqlStep } from './trainers/ilql.ts';
export { rft } from './trainers/rft.ts';
export type { RftParts, RftStep } from './trainers/rft.ts';
export { bestOfN, bestOfNKl, passAtK, selectResponses } from './trainers/selection.ts';
export type { SelectOptions } from './trainers/selection.ts';
export { kto } from './trainers/kto.ts';
export { RunningMean } from './trainers/log-ratios.ts';
export type { KtoParts, KtoStep } from './trainers/kto.ts';
export { orpo } from './trainers/orpo.ts';
export type { OrpoParts, OrpoStep } from './trainers/orpo.ts';
export { simpo } from './trainers/simpo.ts';
export type { SimpoParts, SimpoStep } from './trainers/simpo.ts';
export { cpo } from './trainers/cpo.ts';
export type { CpoParts, CpoStep } from './trainers/cpo.ts';
export { ppo } from './trainers/ppo.ts';
export type { PpoParts, PpoStep } from './trainers/ppo.ts';
export { planIlql } from './models/ilql-plan.ts';
export { CombinedReward } from './trainers/combined-reward.ts';
export type {
  Answer,
  Combination,
  CombinedOptions,
  NamedReward,
  Reward,
  RewardFunction,
} from './trainers/combined-reward.ts';
export { planPpo, planPreferences, planPretraining, planReward } from './models/memory-plan.ts';
export type { MemoryItem, MemoryMoment, MemoryPlan, PlannedModel } from './models/memory-items.ts';
export type { PlannedPpo } from './models/memory-plan.ts';
export type { Trained } from './models/trained.ts';
export { methods } from './methods.ts';
export type { Assembled, Method, Opened, RunConfig, Training } from './methods/method.ts';
export type { PolicyIngredients } from './methods/on-policy.ts';
export type { DpoIngredients } from './methods/dpo.ts';
export type { FlowrlIngredients } from './methods/flowrl.ts';
export type { IlqlIngredients } from './methods/ilql.ts';
export type { RftIngredients } from './methods/rft.ts';
export type { KtoIngredients } from './methods/kto.ts';
export type { ImplicitPrmIngredients } from './methods/implicit-prm.ts';
export type { OrpoIngredients } from './methods/orpo.ts';
export type { SimpoIngredients } from './methods/simpo.ts';
export type { CpoIngredients } from './methods/cpo.ts';
export type { PpoIngredients } from './methods/ppo.ts';
export type { PretrainIngredients } from './methods/pretrain.ts';
export type { RewardIngredients } from './methods/reward.ts';
export { runMethod } from './training/run-method.ts';
export { runTraining } from './training/run.ts';
export type { Resume, RunOptions, RunResult } from './training/run.ts';
export { ConsoleMetrics } from './metrics/console.ts';
export type { ProgressOptions, ProgressStream } from './metrics/console.ts';
export { JsonLines, JsonlMetrics } from './metrics/jsonl.ts';
export { TensorBoardMetrics } from './metrics/tensorboard.ts';
export type { MetricsSink, Numbers, Sample, StepMetrics } from './metrics/metrics.ts';
export type { SamplePrompts } from './trainers/samples.ts';
export { sweep } from './sweep/sweep.ts';
export type { SweepOptions, SweepResult } from './sweep/sweep.ts';
export type { SweepTrial } from './sweep/ranking.ts';
export { train } from './train/train.ts';
export type { Run, TrainStep } from './train/train.ts';
export type {
  Common,
  Comparison,
  DialogueRow,
  Given,
  LabelRow,
  Labels,
  Online,
  Preferences as PreferencesGiven,
  PromptRow,
  RatingRow,
  Ratings,
  Rewarded,
  RewardGiven,
  RewardPart,
  Rows,
  SampleRow,
  Samples as SamplesGiven,
  Steps,
  StepsRow,
  TextOrMessages,
} from './train/given.ts';
export type { AnswerOptions, TrainedJudge, TrainedPolicy } from './train/results.ts';
export type { TextAnswer, TextReward } from './rewards/text-reward.ts';
export type { PromptAndResponse } from './rewards/score-texts.ts';
export type { ProcessRewardIngredients } from './methods/process-reward.ts';
export type { SftIngredients } from './methods/sft.ts';
export { RLHFTrainer } from './methods/rlhf-trainer.ts';
export type { RLHFTrainerOptions } from './methods/rlhf-trainer.ts';
export { AdaptiveKl } from './trainers/schedule.ts';
export { RunningScores } from './trainers/score-norm.ts';
