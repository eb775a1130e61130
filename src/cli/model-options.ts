/** Fields and steps of commands that use a model: which version of it, and where it is. */
import { Option } from 'commander';
import * as z from 'zod';
import { device } from '../config/fields.ts';
import { chatTemplate, loadedDtype, tokenizer } from '../config/inputs.ts';
import { type PlaceOptions, resolveModelPath } from '../runs/model-place.ts';
import { progressLine } from './hub.ts';

/** For commands that take a model of the hub. */
export const fromHub = {
  revision: z.string().min(1).optional().describe('branch, tag or commit of a model of the hub (default: main)'),
  offline: z.boolean().optional().describe('look for a model of the hub in the cache only'),
};

/** For commands that answer with a model: its text, which version of it, and how it computes. */
export const loading = { tokenizer, chatTemplate, ...fromHub, dtype: loadedDtype, device };

/** `fromHub` as options beside a configuration, in which a run records the folder that was found. */
export function fromHubOptions(): Option[] {
  const { revision, offline } = fromHub;
  return [new Option('--revision <name>', revision.description), new Option('--offline', offline.description)];
}

/** The path of a model; a model of the hub is downloaded, with its progress shown on a terminal. */
export async function placeOf(model: string, { revision, offline }: PlaceOptions): Promise<string> {
  return await resolveModelPath(model, { revision, offline, onProgress: progressLine() });
}
