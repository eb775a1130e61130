/** What is served: PaLMs with random weights and a tokenizer whose texts tell all tokens apart, and SmolLM2 as a GGUF file. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadTokenizer, PaLM } from '../../dist/index.js';
import { withFiles } from '../turns.mjs';
import { workloads } from '../workloads.mjs';

const DTYPES = ['bfloat16', 'float32'];

/** A letter of its own for each of the 256 tokens: two answers of equal texts have equal tokens. */
async function letters(folder) {
  const vocab = Object.fromEntries(Array.from({ length: 256 }, (_, id) => [String.fromCodePoint(0x100 + id), id]));
  const json = {
    version: '1.0',
    added_tokens: [],
    decoder: { type: 'Fuse' },
    model: { type: 'BPE', vocab, merges: [] },
  };
  const path = join(folder, 'letters');
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(json));
  writeFileSync(join(path, 'tokenizer_config.json'), '{}');
  return await loadTokenizer(path);
}

/** Files of the PaLM `small` or `mid`, by dtype, with the shape that the benchmarks call so. */
export async function palmFiles(name, folder) {
  const { model: shape } = workloads.cpu[`decode-${name}-16`];
  const { name: _, ...options } = shape;
  const tokenizer = await letters(folder);
  const files = {};
  for (const dtype of DTYPES) {
    files[dtype] = join(folder, `${name}-${dtype}.safetensors`);
    const palm = new PaLM({ ...options, dtype, seed: 1 });
    await palm.save(files[dtype], { tokenizer });
    palm.dispose();
  }
  return { shape, files };
}

/** SmolLM2-135M with its matrices in F16, which both servers read. */
export async function smollm2File(folder) {
  const workload = { ...workloads.cpu['decode-smollm2-1'], systems: ['llama-cpp'] };
  return (await withFiles({ ...workload, device: 'cpu', threads: 2, seed: 1 }, folder)).gguf.F16;
}
