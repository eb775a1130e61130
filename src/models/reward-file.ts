/** How a file describes the reward model in it. */
import { FileError, printable } from '../errors.ts';
import type { SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { namesOf, readMetadata } from './model-file.ts';

/** The name prefix of the trunk's tensors. */
export const TRUNK = 'palm.';

/** Mean and (population) standard deviation of scores. */
export interface ScoreStatistics {
  mean: number;
  deviation: number;
}

/** Which hidden states the head reads. */
export const POOLINGS = ['all', 'response', 'last'] as const;
export type Pooling = (typeof POOLINGS)[number];

/** @throws FileError if a file refers to adapters that it does not contain. */
export function checkScope({ path }: SafetensorsFile, scopes: readonly string[], scope: string | undefined): void {
  if (scope === undefined || scopes.includes(scope)) return;
  throw new FileError({
    argument: path,
    received: `the scope ${printable(scope)}`,
    expected: `a scope that it contains: ${scopes.map(printable).join(', ') || 'none'}`,
  });
}

/** How a file describes its reward head. @throws FileError if that does not match `numBins`. */
export function findReward(file: SafetensorsFile, numBins: number | undefined) {
  const metadata = readMetadata(file);
  const python = namesOf(metadata) === 'python';
  const found = (metadata === undefined ? file.entries.get('to_pred.weight')?.shape[0] : metadata.numBins) as
    | number
    | undefined;
  if (numBins !== undefined && numBins !== found) {
    throw new FileError({
      argument: file.path,
      received: found === undefined ? 'a head with a single output' : `a head with ${found} bins`,
      expected: `${numBins} bins`,
      fix: 'Omit numBins: it is read from the file.',
    });
  }
  const bins = file.entries.get(python ? 'to_pred.weight' : 'head.weight')?.shape[0];
  if (found !== undefined && found !== bins) {
    throw new FileError({
      argument: file.path,
      received: `${bins} bins`,
      expected: `${printable(found)}, as in its metadata`,
    });
  }
  const { dropout, pooling, scope } = metadata ?? { dropout: 0, pooling: 'all' };
  return {
    python,
    numBins: found,
    dropout: dropout as number,
    pooling: pooling as Pooling,
    scope: scope as string | undefined,
    statistics: readStatistics(file, metadata?.statistics),
    shift: readShift(file, metadata?.shift),
  };
}

function readStatistics(file: SafetensorsFile, found: unknown): ScoreStatistics | undefined {
  if (found === undefined || isStatistics(found)) return found;
  const expected = 'the mean and deviation of scores';
  throw new FileError({ argument: `${file.path}, statistics`, received: printable(found), expected });
}

function readShift(file: SafetensorsFile, found: unknown): number | undefined {
  if (found === undefined || Number.isFinite(found)) return found as number | undefined;
  const expected = 'a number that is added to scores';
  throw new FileError({ argument: `${file.path}, shift`, received: printable(found), expected });
}

export function isStatistics(value: unknown): value is ScoreStatistics {
  const { mean, deviation } = Object(value) as Partial<ScoreStatistics>;
  return Number.isFinite(mean) && Number.isFinite(deviation) && (deviation as number) >= 0;
}
