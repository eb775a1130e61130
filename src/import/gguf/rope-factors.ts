/** Llama 3's stretched positions, of which a GGUF file has only the factors of the frequencies that follow from them. */
import type { ArchitectureKeys, HfConfig } from './architecture.ts';

const NAME = 'rope_freqs.weight';
/** What every release of Llama 3.1 to 3.3 says; only the factor differs. */
const RELEASED = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/**
 * What the factors in the file follow from, as config.json says it; nothing where the file has no factors.
 * @throws GgufError if they do not follow from the numbers of the releases.
 */
export function llama3Scaling(keys: ArchitectureKeys): HfConfig {
  if (!keys.has(NAME)) return {};
  const factors = keys.vector(NAME);
  const factor = Math.max(...factors);
  const theta = keys.findNumber('rope.freq_base') ?? 10_000;
  const expected = factorsOf({ factor, theta, count: keys.headWidth() / 2 });
  const isNear =
    expected.length === factors.length && expected.every((x, i) => Math.abs(x / (factors[i] as number) - 1) < 1e-4);
  if (!isNear)
    throw keys.refused('rope.freq_base', `frequencies in ${NAME} that do not follow from a factor of ${factor}`);
  return { rope_scaling: { rope_type: 'llama3', factor, ...RELEASED } };
}

/** By what each frequency is divided: long waves by `factor`, short ones by 1, those between by something between. */
function factorsOf({ factor, theta, count }: { factor: number; theta: number; count: number }): number[] {
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = RELEASED;
  return Array.from({ length: count }, (_, i) => {
    const wave = 2 * Math.PI * theta ** (i / count);
    const kept = Math.min(1, Math.max(0, (original / wave - low) / (high - low)));
    return 1 / ((1 - kept) / factor + kept);
  });
}
