/** `palm inspect`: prints what a model file or a run contains. */
import { existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Command } from 'commander';
import { checkpointsIn, latestCheckpoint } from '../checkpoint/checkpoint.ts';
import { readManifest } from '../checkpoint/manifest.ts';
import { openSafetensors, type SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { fromHome } from '../config/fields.ts';
import { MODEL } from '../config/inputs.ts';
import { CheckpointError } from '../errors.ts';
import { formatNumber } from '../metrics/format.ts';
import { addon, type DecoderDescription } from '../native/addon.ts';
import { readBest } from '../models/best-note.ts';
import { type FoundModel, readMetadata } from '../models/model-file.ts';
import { countParameters } from '../models/parameter-shapes.ts';
import { findModelIn, kindIn } from '../models/registry.ts';
import { findModel, type ModelFile, nameOf, textOf } from '../runs/model-file.ts';
import { runDirectory } from '../runs/run-directory.ts';
import { chatText } from './chat-text.ts';
import { endTokens } from '../tokenizer/tokenizer.ts';
import { wantsColor } from './columns.ts';
import { placeOf } from './model-options.ts';
import { type Row, table } from './table.ts';

/** The `inspect` command. */
export function inspectCommand(): Command {
  return new Command('inspect')
    .description('print what a model file or a run contains')
    .argument('<MODEL>', MODEL)
    .option('--chat <FILE>', 'print the conversations of a file as the model writes them, with what is learned marked')
    .option('--verify', "verify the checksums of a run's checkpoints; exit with 4 if one is damaged")
    .action(async (given: string, { chat, verify = false }: { chat?: string; verify?: boolean }) => {
      const path = await placeOf(fromHome(given), {});
      if (chat !== undefined) {
        console.log(await chatText(path, fromHome(chat), { color: wantsColor() }));
        return;
      }
      const model = await findModel(path);
      if (model.outside) {
        console.log(table(await outsideRows(model)));
        return;
      }
      await using file = await openSafetensors(model.path);
      const checkpoints = await checkpointRows(path, verify);
      const sections = [await modelRows(file, model), await lastMetrics(path), await bestRows(path), checkpoints];
      console.log(
        sections
          .filter((rows) => rows.length > 0)
          .map(table)
          .join('\n\n'),
      );
    });
}

/** What a Hugging Face folder or a GGUF file holds. */
async function outsideRows(model: ModelFile): Promise<Row[]> {
  const { kind, path, decoder, tokenizer: note } = model;
  const text = note && (await textOf({}, model));
  const sizes = { dim: decoder.dim, depth: decoder.depth, heads: decoder.heads, kvHeads: decoder.kvHeads };
  return [
    ['model', kind],
    [path.endsWith('.gguf') ? 'file' : 'folder', path],
    ['parameters', countParameters(decoder).total.toLocaleString('en-US')],
    ['computes in', decoder.dtype],
    ['fast paths', fastPaths(decoder)],
    ['tokenizer', text === undefined ? 'unknown' : nameOf(text.describe())],
    ['vocabulary', `${decoder.numTokens} rows${text === undefined ? '' : `, ${text.vocabSize} used`}`],
    ['chat template', text && (text.chat?.template.name ?? 'none')],
    ['ends answers', text && (endTokens(text) ?? []).map((token) => `${token}`).join(', ')],
    ...Object.entries(sizes),
  ];
}

/** Which of training and decoding have a fast path, and the feature that keeps the other from it. */
function fastPaths(decoder: DecoderDescription): string {
  const fallbacks = addon().decoderFallbacks(decoder);
  const cells = (['training', 'decoding'] as const).map((of) => {
    const feature = fallbacks[of];
    return feature === undefined ? of : `no ${of} (${feature})`;
  });
  return cells.join(', ');
}

async function modelRows(file: SafetensorsFile, model: ModelFile): Promise<Row[]> {
  const kind = kindIn(file);
  const { config, scopes, names } = await findModelIn(file);
  const hyperparameters = Object.entries(config).filter(([name]) => name !== 'device');
  const { numBins, numLayersUnfrozen } = (readMetadata(file) ?? {}) as Record<string, number | undefined>;
  const entries = [...file.entries.values()];
  const size = entries.reduce((sum, { shape }) => sum + shape.reduce((product, length) => product * length, 1), 0);
  return [
    ['model', names === 'python' ? `${kind} of palm-rlhf-pytorch` : kind],
    ['file', model.path],
    ['parameters', size.toLocaleString('en-US')],
    ['fast paths', fastPaths(model.decoder)],
    ['tokenizer', model.tokenizer === undefined ? 'unknown' : nameOf(model.tokenizer)],
    ['best', bestCell(file)],
    ['scopes', scopes.map(scopeCell).join(', ') || 'none'],
    ['numBins', numBins],
    ['numLayersUnfrozen', numLayersUnfrozen],
    ...hyperparameters.map(([name, value]): Row => [name, String(value)]),
  ];
}

function scopeCell([name, { rank, alpha }]: FoundModel['scopes'][number]): string {
  return alpha === rank ? `${name} (rank ${rank})` : `${name} (rank ${rank}, alpha ${alpha})`;
}

/** The step that the model in a file is from, if it was kept as the best of its run. */
function bestCell(file: SafetensorsFile): string | undefined {
  const best = readBest(file);
  return best && `step ${best.step}, ${best.metric} ${formatNumber(best.value)}`;
}

/** The best model of a run, or, before the run ends, that of its newest checkpoint. */
async function bestRows(path: string): Promise<Row[]> {
  if (!statSync(path).isDirectory()) return [];
  const { best, checkpoints } = runDirectory(path);
  const newest = await latestCheckpoint(checkpoints);
  const places = [best, ...(newest === undefined ? [] : [join(newest, basename(best))])];
  const place = places.find((each) => existsSync(each));
  if (place === undefined) return [];
  await using file = await openSafetensors(place);
  const cell = bestCell(file);
  return cell === undefined ? [] : [['best', `${cell}: ${place}`]];
}

/** The checkpoints of a run, newest first; with `hashes`, their checksums are verified. */
async function checkpointRows(path: string, hashes: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  if (!statSync(path).isDirectory()) return rows;
  for (const checkpoint of await checkpointsIn(runDirectory(path).checkpoints)) {
    const problem = await damageOf(checkpoint, hashes);
    if (problem !== undefined && hashes) process.exitCode = 4;
    rows.push([basename(checkpoint), problem?.message ?? (hashes ? 'checksums OK' : 'complete')]);
  }
  return rows;
}

async function damageOf(checkpoint: string, hashes: boolean): Promise<CheckpointError | undefined> {
  try {
    await readManifest(checkpoint, { hashes });
  } catch (error) {
    if (error instanceof CheckpointError) return error;
    throw error;
  }
  return undefined;
}

/** The last line of a run's metrics.jsonl. */
async function lastMetrics(path: string): Promise<Row[]> {
  const { metrics } = runDirectory(path);
  if (!statSync(path).isDirectory() || !existsSync(metrics)) return [];
  const line = (await readFile(metrics, 'utf8')).trimEnd().split('\n').at(-1);
  return line
    ? Object.entries(JSON.parse(line) as Record<string, number | null>).map(([name, v]) => [name, `${v}`])
    : [];
}
