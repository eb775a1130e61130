/** The loss of implicit language Q-learning: it takes tensors, never a model. docs/ilql.md has the formulas. */
import { checkKind, NUMBER } from '../checks/kinds.ts';
import { checkObject, checkOptions } from '../checks/options.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import type { ActionValues } from '../models/ilql-policy.ts';
import { handlesOf, type Ids, Inputs, type Mask, tensorsOf } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';
import { Tensor } from '../tensor/tensor.ts';

/** What `ilqlLoss` measures: means over response tokens that add up over the pieces of a step. */
export interface IlqlMetrics {
  /** Squared errors of the values of actions, those of both heads added. */
  qLoss: number;
  /** Asymmetric squared error of the value of states. */
  valueLoss: number;
  /** Cross entropy of the values of actions as logits, those of both heads added. */
  cqlLoss: number;
  /** Negative log-likelihood of actions, weighted by e^(beta · advantage). */
  awacLoss: number;
  /** The smaller target value of an action, the value of its state, and by how much the first is higher. */
  q: number;
  value: number;
  advantage: number;
}

export interface IlqlLossOptions {
  /** Which expectile of the values of actions the value of a state is: 0.5 is their mean, 1 their maximum. */
  tau: number;
  /** Discount factor of rewards. */
  gamma: number;
  /** Weight of `cqlLoss`, which keeps the values of actions that are not in the data low. */
  cqlWeight: number;
  /** Weight of `awacLoss`, which trains the policy. */
  awacWeight: number;
  /** How much more the policy learns from actions above the value of their state; 0 weighs all the same. */
  beta: number;
  /** What sums over response tokens are divided by. Defaults to their number. */
  denominator?: number | undefined;
}

/** Response tokens, their rewards, and where they are; all [B, R]. */
export interface IlqlActions {
  response: Ids;
  reward: Tensor;
  responseMask: Mask;
}

/**
 * The loss of implicit language Q-learning, one scalar. `read` is what the current weights say in the states where the response
 * tokens are chosen. The last token of a response ends it: its reward is all that is to come.
 */
export async function ilqlLoss(
  read: ActionValues,
  actions: IlqlActions,
  options: IlqlLossOptions,
): Promise<Loss<keyof IlqlMetrics>> {
  checkObject(actions, 'ilqlLoss actions');
  checkObject(options, 'ilqlLoss options');
  const { tau, gamma, cqlWeight, awacWeight, beta, denominator } = options;
  const values = handlesOf(read, VALUES);
  const reward = handleOf(actions.reward, 'reward');
  using inputs = new Inputs(read.value.device);
  const response = inputs.ids(actions.response, 'response');
  const mask = inputs.mask(actions.responseMask, 'responseMask');
  const weights = { tau, gamma, cqlWeight, awacWeight, beta };
  const lose = () => addon().ilqlLoss(values, response, reward, mask, weights, denominator);
  return new Loss(await run([...tensorsOf(read, VALUES), actions.reward, ...inputs.used], lose));
}

/** The logits that an ILQL policy is sampled from, [..., V]: logits + beta · min(targetQ1, targetQ2). */
export async function ilqlLogits(
  read: Pick<ActionValues, 'logits' | 'targetQ1' | 'targetQ2'>,
  options: { beta: number },
): Promise<Tensor> {
  checkOptions(options, ['beta'], 'ilqlLogits');
  const { beta } = options;
  checkKind('beta', beta, NUMBER);
  const { logits, targetQ1, targetQ2 } = handlesOf(read, LOGITS);
  return new Tensor(await run(tensorsOf(read, LOGITS), () => addon().ilqlLogits(logits, targetQ1, targetQ2, beta)));
}

const VALUES = ['logits', 'q1', 'q2', 'targetQ1', 'targetQ2', 'value'] as const;
const LOGITS = ['logits', 'targetQ1', 'targetQ2'] as const;
