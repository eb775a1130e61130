/** Loads what a server offers from a file or folder. */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { sha256OfFile } from '../files/sha256.ts';
import { adapterOf, type LoadedDtype, loadScoped, MODEL_KINDS } from '../models/registry.ts';
import { addon } from '../native/addon.ts';
import { packageVersion } from '../package.ts';
import { JUDGE_KINDS, loadJudge } from '../rewards/judge.ts';
import { silentTokens } from '../runs/answers.ts';
import { findModelOf, loadingOf, type ModelFile, type TextConfig, textOf } from '../runs/model-file.ts';
import { isFolder } from '../runs/model-place.ts';
import { endTokens } from '../tokenizer/tokenizer.ts';
import { Engine, type EngineOptions } from './engine.ts';
import { unixTime } from './objects.ts';
import type { Loaded, ServedModel } from './served-model.ts';

/** How models are loaded and served. */
export interface LoadSettings extends Omit<EngineOptions, 'slots'>, TextConfig {
  /** Tokens of a prompt and its answer together at most; fewer if the model has fewer positions. */
  maxLength: number;
  /** Weights rounded to 8 bits. */
  int8: boolean;
  dtype?: LoadedDtype | undefined;
  device: string;
  /** Folders of PEFT adapters for a language model, by the names that requests call them. */
  adapters: Readonly<Record<string, string>>;
}

/**
 * Loads the model at `place`. `name` is a language model with the adapters that it generates with, NAME:SCOPE is one of several in its
 * file, NAME:base is without those of its file.
 * @throws FileError, ConfigError, ArgumentError, OutOfMemoryError
 */
export async function load(place: string, name: string, settings: LoadSettings): Promise<Loaded> {
  const file = await findModelOf(place, [...MODEL_KINDS, ...JUDGE_KINDS], settings);
  return JUDGE_KINDS.includes(file.kind ?? '')
    ? await loadReward(file, name, settings)
    : await loadLanguageModel(file, name, settings);
}

async function loadReward(file: ModelFile, name: string, settings: LoadSettings): Promise<Loaded> {
  const text = await textOf(settings, file);
  const fingerprint = await fingerprintOf(file, [], settings);
  const judge = await loadJudge(file, settings.device);
  const close = async () => judge.dispose();
  return {
    models: [],
    judges: [{ name, created: unixTime(), text, capacity: capacityOf(file, settings), judge, fingerprint }],
    close,
  };
}

async function loadLanguageModel(file: ModelFile, name: string, settings: LoadSettings): Promise<Loaded> {
  const { adapters, int8, device } = settings;
  const text = await textOf(settings, file);
  const fingerprint = await fingerprintOf(file, Object.values(adapters), settings);
  const model = await loadScoped(file.path, loadingOf(file, text, device));
  try {
    for (const [adapter, path] of Object.entries(adapters)) await model.loadAdapter(adapter, path);
    const capacity = capacityOf(file, settings);
    const suppress = silentTokens(text, model.decoder.numTokens);
    const engine = await Engine.start(model, { ...settings, slots: { capacity, suppress, int8 } });
    const { scheduler } = engine;
    const vocabulary = model.decoder.usedTokens;
    const common = {
      created: unixTime(),
      text,
      vocabulary,
      endTokens: endTokens(text) ?? [],
      capacity,
      scheduler,
      fingerprint,
    };
    const models = scopesByName(file, name, Object.keys(adapters)).map(
      ([one, scope]): ServedModel => ({ ...common, name: one, scope }),
    );
    return { models, judges: [], close: (grace) => engine.close(grace) };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

function scopesByName({ scopes, path }: ModelFile, name: string, adapters: readonly string[]): [string, string?][] {
  const several = scopes.length > 1 ? scopes : [];
  return [
    [name, adapterOf(scopes, path)],
    ...several.map((scope): [string, string] => [`${name}:${scope}`, scope]),
    ...(scopes.length > 0 ? [[`${name}:base`] as [string]] : []),
    ...adapters.map((adapter): [string, string] => [adapter, adapter]),
  ];
}

function capacityOf({ decoder }: ModelFile, { maxLength }: LoadSettings): number {
  const { positions } = decoder;
  return positions === undefined ? maxLength : Math.min(maxLength, positions.rows - positions.offset);
}

/** Names all that the bits of an answer depend on: weights, how they are rounded, this library, libtorch, kernels and threads. */
async function fingerprintOf(
  { path, decoder }: ModelFile,
  adapters: readonly string[],
  { int8, device }: LoadSettings,
): Promise<string> {
  const { libtorch, cpuCapability, threads } = addon().info();
  const facts = [packageVersion(), libtorch, cpuCapability, threads, decoder.dtype, int8, device];
  const hash = createHash('sha256').update(JSON.stringify(facts));
  for (const file of [path, ...adapters].flatMap(weightFiles)) hash.update(await sha256OfFile(file));
  return `fp_${hash.digest('hex').slice(0, 16)}`;
}

/** The files of weights in a folder, or the file itself. */
export function weightFiles(path: string): string[] {
  if (!isFolder(path)) return [path];
  const names = readdirSync(path).filter((name) => /\.(safetensors|bin)$/.test(name));
  return names.sort().map((name) => join(path, name));
}
