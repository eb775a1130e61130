/** Fields that several schemas share, so that each is described once. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { ArgumentError } from '../errors.ts';

/** A path, of which a leading `~/` is the home folder: in files, and in `--out=~/run`, no shell has read it. */
export const path = z.string().min(1).overwrite(fromHome);

/** `path` with the home folder in place of a leading `~/`. @throws ArgumentError for a user who has none. */
export function fromHome(path: string): string {
  if (path !== '~' && !path.startsWith('~/')) return path;
  try {
    return join(homedir(), path.slice(1));
  } catch (cause) {
    const fix = 'Set HOME, or write the whole path.';
    throw new ArgumentError({ argument: path, received: 'the home folder of a user without one', fix, cause });
  }
}

/** A whole number of at least 1. */
export const count = z.int().min(1);
/** A probability below 1, as of dropout. */
export const probability = z.number().min(0).lt(1);

export const seed = z.int().min(0).default(0).describe('seed of everything that is drawn at random');

export const device = z
  .string()
  .regex(/^(cpu|cuda(:\d{1,3})?)$/)
  .default('cpu')
  .meta({ description: 'where to compute: cpu, cuda or cuda:N', expected: 'cpu, cuda or cuda:N' });

const deterministic = z
  .boolean()
  .default(false)
  .describe('on a GPU, take only algorithms that give the same bits each time; on the CPU all do');

/** What decides where and how the numbers of a run come about. */
export const computing = { seed, device, deterministic };

export const dtype = z
  .enum(['float32', 'bfloat16', 'float64'])
  .default('float32')
  .describe('element type that the model computes in');

/** Two decay rates of an optimizer's running means. */
export function betas(first: number, second: number) {
  return z
    .tuple([probability, probability])
    .default([first, second])
    .describe('decay of the running means of gradient and squared gradient');
}

/** Width of the adapters that are trained in place of all weights; false trains all weights. */
export const lora = z
  .union([count, z.literal(false)])
  .default(8)
  .describe('rank of the adapters that are trained; false (--no-lora) trains all weights');

/** When a run is saved and how much of it is kept. */
export function checkpoint(every: number) {
  return checkpointFields(every).prefault({}).describe('when the run is saved');
}

/** The same for trainers whose steps have a `loss`. */
export function checkpointWatchingLoss(every: number) {
  return checkpointFields(every).extend({ spikes }).prefault({}).describe('when the run is saved');
}

function checkpointFields(every: number) {
  return z.strictObject({
    every: count.default(every).describe('steps between checkpoints; the last step always has one'),
    keep: z.int().min(2).default(2).describe('newest checkpoints to keep'),
  });
}

const spikes = z
  .strictObject({
    threshold: z.number().gt(0).default(6).describe('standard deviations above the mean of the losses before it'),
    skip: z.int().min(0).default(200).describe('batches that are left out then, at least'),
  })
  .optional()
  .describe('go back to the last checkpoint after a spike of the loss, where given');
