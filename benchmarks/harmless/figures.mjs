/** What gaps (scores of chosen responses minus those of rejected ones) say, and the choice of a setting by them. */
import { calibrationOf } from '../../dist/metrics/calibration.js';

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const lossOf = (gaps) => mean(gaps.map((gap) => Math.log1p(Math.exp(-gap))));

/** Accuracy with its standard error (prompts are independent, their pairs are not), loss and calibration error of `gaps`. */
export function figuresOf(gaps, pairs) {
  const right = gaps.map((gap) => (Math.sign(gap) + 1) / 2);
  const accuracy = mean(right);
  const off = new Map();
  pairs.forEach(({ group }, i) => {
    off.set(group, (off.get(group) ?? 0) + right[i] - accuracy);
  });
  const error = Math.sqrt([...off.values()].reduce((sum, value) => sum + value ** 2, 0)) / gaps.length;
  return { accuracy, error, loss: lossOf(gaps), ece: calibrationOf(gaps).ece };
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
