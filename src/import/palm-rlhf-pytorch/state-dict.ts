/** The model in a palm-rlhf-pytorch .pt file: its kind, and its tensors under the names used by version 0.7.5. */
import { FileError, nearest, printable } from '../../errors.ts';
import { isFloat } from '../torch/floats.ts';
import { PickleDict, PickleTensor, type PickleValue } from '../torch/pickle-values.ts';
import { bufferNames, LOGITS } from './buffers.ts';
import type { LayoutSigns } from './layouts.ts';
import { inferPythonPalm, type NamedShapes, type PythonPalm, pythonShapes } from './names.ts';
import type { TorchFile } from '../torch/torch-file.ts';

/** Keys under which trainers store a state_dict. */
const WRAPPERS = ['state_dict', 'model_state_dict', 'model', 'actor_critic'];
/** Prefixes that DataParallel and torch.compile add to every name. */
const PREFIX = /^(?:module\.|_orig_mod\.)+/;
/** Adapter names in the oldest versions: queries, keys and values together, the output separately. */
const OLD_QKV = /^((?:palm\.)?)layers\.(\d+)\.fn\.qkv_lora\.([^.]+)\.([012]\.[AB])$/;
const OLD_OUTPUT = /^((?:palm\.)?)layers\.(\d+)\.fn\.attn_out_lora\.([^.]+)\.([AB])$/;

export class StateDict implements NamedShapes {
  readonly path: string;
  readonly kind: 'PaLM' | 'RewardModel' | 'ActorCritic';
  /** Parameters and buffers; for an ActorCritic, those of the actor, without their prefix. */
  readonly entries: ReadonlyMap<string, PickleTensor>;
  /** The prefix of the PaLM's names. */
  readonly prefix: '' | 'palm.';
  /** Names in the file that our models have no place for: a critic, an optimizer, ... */
  readonly leftOut: readonly string[];
  readonly model: PythonPalm;

  /** @throws FileError if there is no model, or a name, shape or element type does not fit it. */
  constructor(file: TorchFile) {
    this.path = file.path;
    const { dict, beside } = unwrap(file);
    const found = withoutPrefixes(file.path, dict);
    this.kind = kindOf(file.path, found);
    const { taken, left } = this.kind === 'ActorCritic' ? actorOf(found) : { taken: found, left: [] };
    this.leftOut = [...beside, ...left];
    this.prefix = this.kind === 'RewardModel' ? 'palm.' : '';
    this.entries = new Map([...taken].map(([name, tensor]) => [currentName(name), tensor]));
    if (this.entries.size !== taken.size) throw bad(this.path, 'two tensors with the same name', 'unique names');
    this.model = inferPythonPalm(this, this.prefix);
    this.#check();
  }

  /** Returns the tensor `name`. @throws FileError if there is none. */
  entry(name: string): PickleTensor {
    const entry = this.entries.get(name);
    if (entry !== undefined) return entry;
    const near = nearest(
      name,
      [...this.entries.keys()].filter(({ length }) => length <= 2 * name.length),
    );
    const fix = near === undefined ? undefined : `The closest name is ${printable(near)}.`;
    throw bad(this.path, 'no such tensor', `${printable(name)} in it`, fix);
  }

  /** The number of rating bins of a reward model's head; undefined if it outputs a number. */
  get numBins(): number | undefined {
    return this.kind === 'RewardModel' ? this.entries.get('to_pred.weight')?.shape[0] : undefined;
  }

  /** The names and shapes of the parameters, in the library's order. */
  parameters(): Map<string, number[]> {
    const trunk = [...pythonShapes(this.model)].map(([name, shape]) => [this.prefix + name, shape] as const);
    return new Map([...trunk, ...(this.kind === 'RewardModel' ? this.#head() : [])]);
  }

  /** What the names reveal about the version that wrote them. */
  signs(): LayoutSigns {
    const has = (name: string) => this.entries.has(`${this.prefix}layers.0.fn.${name}`);
    const recent = this.leftOut.some((name) => /^(critic\.|value_head\.weight$)/.test(name));
    return { xpos: has('rotary_emb.scale'), qkRmsnorm: has('q_scale'), recent, reward: this.kind === 'RewardModel' };
  }

  #head(): [name: string, shape: number[]][] {
    const { dim } = this.model;
    const embeddings = ['prompt_embed', 'response_embed'].map((name): [string, number[]] => [name, [1, 1, dim]]);
    const bins = this.numBins;
    if (bins === undefined) return [...embeddings, ['to_pred.0.weight', [1, dim]]];
    if (!(bins >= 2)) throw bad(this.path, `a head of ${bins} bins`, 'at least 2, or to_pred.0.weight');
    return [...embeddings, ['to_pred.weight', [bins, dim]], ['to_pred.bias', [bins]]];
  }

  #check(): void {
    const parameters = this.parameters();
    const derived = new Set([LOGITS, ...bufferNames(this.model.depth)].map((name) => this.prefix + name));
    const unknown = [...this.entries.keys()].filter((name) => !parameters.has(name) && !derived.has(name));
    const missing = [...parameters.keys()].filter((name) => !this.entries.has(name));
    if (unknown.length + missing.length > 0) {
      const received = [list('unknown tensors', unknown), list('missing tensors', missing)].filter(Boolean).join('; ');
      const expected = `exactly the tensors of a ${this.kind}`;
      throw bad(
        this.path,
        received,
        expected,
        'Rename or remove tensors that do not belong to the model, and save it again.',
      );
    }
    for (const [name, shape] of parameters) this.#checkTensor(name, shape);
    const scope = [...this.model.scopes.keys()].find((name) => !/^[\w-]+$/.test(name));
    if (scope !== undefined) throw bad(this.path, `a scope ${printable(scope)}`, 'letters, digits, _ and -');
  }

  #checkTensor(name: string, expected: readonly number[]): void {
    const { shape, storage } = this.entry(name);
    const place = `${this.path}, tensor ${printable(name)}`;
    if (shape.join() !== expected.join()) throw bad(place, `shape ${printable(shape)}`, `shape ${printable(expected)}`);
    if (!isFloat(storage.dtype)) throw bad(place, `element type ${storage.dtype}`, 'floating-point numbers');
  }
}

/** Finds the dict of tensors: the entry with a usual name, whatever else the file contains, or the whole file. */
function unwrap({ path, root }: TorchFile): { dict: PickleDict; beside: string[] } {
  if (!(root instanceof PickleDict)) throw bad(path, 'another kind of object', 'a state_dict of names and tensors');
  const isTensors = (value: PickleValue | undefined): boolean =>
    value instanceof PickleDict && [...value.entries.values()].some((item) => item instanceof PickleTensor);
  const found = WRAPPERS.filter((name) => isTensors(root.entries.get(name)));
  if (found.length === 1) {
    const [name] = found as [string];
    const beside = [...root.entries.keys()].filter((key) => key !== name).map(String);
    return { dict: root.entries.get(name) as PickleDict, beside };
  }
  if (found.length === 0 && isTensors(root)) return { dict: root, beside: [] };
  const keys = list('a dict of', [...root.entries.keys()].map(String)) || 'an empty dict';
  throw bad(path, keys, `tensors, or one state_dict under ${WRAPPERS.join(', ')}`);
}

function withoutPrefixes(path: string, { entries }: PickleDict): Map<string, PickleTensor> {
  const other = [...entries].filter(([name, value]) => typeof name !== 'string' || !(value instanceof PickleTensor));
  if (other.length > 0) {
    throw bad(
      path,
      list(
        'entries that are not tensors:',
        other.map(([name]) => String(name)),
      ),
      'names and tensors',
    );
  }
  const names = [...entries.keys()] as string[];
  const prefix = PREFIX.exec(names[0] as string)?.[0] ?? '';
  const length = names.every((name) => name.startsWith(prefix)) ? prefix.length : 0;
  return new Map(([...entries] as [string, PickleTensor][]).map(([name, tensor]) => [name.slice(length), tensor]));
}

function kindOf(path: string, names: ReadonlyMap<string, unknown>): StateDict['kind'] {
  if (names.has('token_emb.weight')) return 'PaLM';
  if (names.has('actor_palm.token_emb.weight')) return 'ActorCritic';
  if (names.has('palm.token_emb.weight')) return names.has('prompt_embed') ? 'RewardModel' : 'ActorCritic';
  const received = list('unknown tensors', [...names.keys()]);
  throw bad(path, received, 'a PaLM, RewardModel or ActorCritic of palm-rlhf-pytorch');
}

/**
 * Extracts the policy of an ActorCritic. Its critic, which rates in bins or is a separate model, has no equivalent
 * here.
 */
function actorOf(names: ReadonlyMap<string, PickleTensor>) {
  const prefix = names.has('palm.token_emb.weight') ? 'palm.' : 'actor_palm.';
  const isLeft = (name: string) => /^(critic|critic_palm|value_head)\./.test(name);
  const left = [...names.keys()].filter(isLeft);
  const taken = [...names].filter(([name]) => !isLeft(name));
  const cut = ([name, tensor]: [string, PickleTensor]): [string, PickleTensor] => [
    name.startsWith(prefix) ? name.slice(prefix.length) : name,
    tensor,
  ];
  return { taken: new Map(taken.map(cut)), left };
}

function currentName(name: string): string {
  return name.replace(OLD_QKV, '$1finetune_modules.$3.$2.$4').replace(OLD_OUTPUT, '$1finetune_modules.$3.$2.3.$4');
}

function list(words: string, names: readonly string[]): string {
  return names.length === 0 ? '' : `${words} ${names.map(printable).join(', ')}`;
}

function bad(argument: string, received: string, expected: string, fix?: string): FileError {
  return new FileError({ argument, received, expected, ...(fix === undefined ? {} : { fix }) });
}
