/** What gaps (scores of chosen responses minus those of rejected ones) say, and the choice of a setting by them. */
import { calibrationOf } from '../../dist/internal.js';

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const lossOf = (gaps) => mean(gaps.map((gap) => Math.log1p(Math.exp(-gap))));

const rightOf = (gaps) => gaps.map((gap) => (Math.sign(gap) + 1) / 2);

/** The mean of a value for each pair, with its standard error: prompts are independent, their pairs are not. */
function estimated(values, pairs) {
  const middle = mean(values);
  const off = new Map();
  pairs.forEach(({ group }, i) => {
    off.set(group, (off.get(group) ?? 0) + values[i] - middle);
  });
  const error = Math.sqrt([...off.values()].reduce((sum, value) => sum + value ** 2, 0)) / values.length;
  return { mean: middle, error };
}

/** Accuracy with its standard error, loss and calibration error of `gaps`. */
export function figuresOf(gaps, pairs) {
  const { mean: accuracy, error } = estimated(rightOf(gaps), pairs);
  return { accuracy, error, loss: lossOf(gaps), ece: calibrationOf(gaps).ece };
}

/** How much more often `gaps` are right than `others` on the same pairs, with its standard error. */
export function differenceOf(gaps, others, pairs) {
  const [own, their] = [rightOf(gaps), rightOf(others)];
  return estimated(
    own.map((value, i) => value - their[i]),
    pairs,
  );
}

/** The mean gaps of several judges. */
export function together(judges) {
  return judges[0].map((_, i) => mean(judges.map((gaps) => gaps[i])));
}

/** The setting with the lowest mean loss over the lists of gaps that each has. */
export function bestOf(settings) {
  const losses = Object.entries(settings).map(([name, lists]) => [name, mean(lists.map(lossOf))]);
  return losses.reduce((best, next) => (next[1] < best[1] ? next : best))[0];
}
