/** Fields shared by several schemas, so that each is described once. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';
import { ArgumentError } from '../errors.ts';

/** A path. A leading `~/` means the home folder, because no shell expands it in files or in `--out=~/run`. */
export const path = z.string().min(1).overwrite(fromHome).meta({ placeholder: 'path' });
export const file = path.meta({ placeholder: 'file' });
export const folder = path.meta({ placeholder: 'dir' });

/** One path or a list of them; on the command line, the flag is given once for each. */
export const paths = z.union([path, z.array(path).min(1)]).meta({ placeholder: 'file' });

/** Replaces a leading `~/` with the home folder. @throws ArgumentError if the user has none. */
export function fromHome(path: string): string {
  if (path !== '~' && !path.startsWith('~/')) return path;
  try {
    return join(homedir(), path.slice(1));
  } catch (cause) {
    const fix = 'Set HOME, or write the full path.';
    throw new ArgumentError({ argument: path, received: 'a home folder that does not exist', fix, cause });
  }
}

/** An integer >= 1. */
export const count = z.int().min(1);
/** A probability below 1, such as dropout. */
export const probability = z.number().min(0).lt(1);

export const seed = z.int().min(0).default(0).describe('seed of all random numbers');

export const device = z
  .string()
  .regex(/^(cpu|cuda(:\d{1,3})?)$/)
  .default('cpu')
  .meta({
    description: 'where to compute: cpu, cuda or cuda:N',
    placeholder: 'device',
    expected: 'cpu, cuda or cuda:N',
  });

const deterministic = z
  .boolean()
  .default(false)
  .describe('on a GPU, use only bitwise reproducible algorithms; the CPU always does');

/** Where a run computes, and what makes its numbers reproducible. */
export const computing = { seed, device, deterministic };

export const dtype = z
  .enum(['float32', 'bfloat16', 'float64'])
  .default('float32')
  .describe('element type the model computes in');

/** The two decay rates of an optimizer's running means. */
export function betas(first: number, second: number) {
  return z
    .tuple([probability, probability])
    .default([first, second])
    .describe('decay rates of the running means of gradient and squared gradient');
}

/** Rank of the adapters that are trained instead of all weights; false trains all weights. */
export const lora = z
  .union([count, z.literal(false)])
  .default(8)
  .describe('rank of the trained adapters; false (--no-lora) trains all weights');

/** When a run is saved, and how many checkpoints are kept. */
export function checkpoint(every: number) {
  return checkpointFields(every).prefault({}).describe('when the run is saved');
}

/** The same for trainers whose steps report a `loss`, which is watched for spikes. */
export function checkpointWatchingLoss(every: number) {
  return checkpointFields(every).extend({ spikes }).prefault({}).describe('when the run is saved');
}

function checkpointFields(every: number) {
  return z.strictObject({
    every: count.default(every).describe('steps between checkpoints; the last step is always saved'),
    keep: z.int().min(2).default(2).describe('number of newest checkpoints to keep'),
  });
}

const spikes = z
  .strictObject({
    threshold: z
      .number()
      .gt(0)
      .default(6)
      .describe('standard deviations above the mean of recent losses that make a spike'),
    skip: z.int().min(0).default(200).describe('min number of batches to skip after a spike'),
  })
  .optional()
  .describe('if set, return to the last checkpoint after a loss spike');
