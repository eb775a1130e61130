/**
 * Every error a user can meet. `argument` names the thing at fault, `received` is what came, `expected` what should
 * have come, and `fix` what to do about it. The message joins these into a sentence.
 */

export interface ErrorDetail {
  /** The argument, option, file or object at fault. */
  argument: string;
  /** The offending value, already printable. */
  received?: string;
  /** What a correct value is. */
  expected?: string;
  /** What is wrong, in a phrase that replaces "got …, expected …" in the message. */
  problem?: string;
  /** What to do about it, as an instruction. */
  fix?: string;
  cause?: unknown;
}

/** Base class of all errors of this package. `code` is stable and safe to compare with. */
export class PalmError extends Error {
  readonly code: string = 'PALM_ERROR';
  readonly argument: string;
  readonly received: string | undefined;
  readonly expected: string | undefined;
  readonly fix: string | undefined;

  constructor(detail: ErrorDetail) {
    super(sentence(detail), detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = new.target.name;
    this.argument = detail.argument;
    this.received = detail.received;
    this.expected = detail.expected;
    this.fix = detail.fix;
    withFrames(() => Error.captureStackTrace(this, new.target));
  }
}

/** Frames kept of a stack beyond the limit: our own calls, however deep, must not push out the caller's file. */
const OWN_FRAMES = 30;

/** Runs `capture`, which records a stack, with room for the caller's frames. */
function withFrames<T>(capture: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = limit + OWN_FRAMES;
  try {
    return capture();
  } finally {
    Error.stackTraceLimit = limit;
  }
}

/** Where a call was made, below `above`: for an error that arises when its caller is no longer on the stack. */
export function placeOfCall(above: (...values: never[]) => unknown): { readonly stack: string } {
  const place = { stack: '' };
  withFrames(() => Error.captureStackTrace(place, above));
  return place;
}

/** `error` with the frames of the call that led to it; unchanged if it is not of this package. */
export function calledAt(error: unknown, place: { readonly stack: string }): unknown {
  if (!(error instanceof PalmError)) return error;
  const frames = place.stack.indexOf('\n');
  error.stack = `${error.name}: ${error.message}${frames < 0 ? '' : place.stack.slice(frames)}`;
  return error;
}

/** A value of the right type that is not allowed here: out of range, unknown or contradictory. */
export class ArgumentError extends PalmError {
  override readonly code: string = 'ERR_ARGUMENT';
}
/** A tensor or array of the wrong rank or size. */
export class ShapeError extends PalmError {
  override readonly code = 'ERR_SHAPE';
}
/** A tensor of the wrong element type. */
export class DtypeError extends PalmError {
  override readonly code = 'ERR_DTYPE';
}
/** A tensor on the wrong device, or a device that this machine lacks. */
export class DeviceError extends PalmError {
  override readonly code = 'ERR_DEVICE';
}
/** A handle used after its `dispose()`. */
export class DisposedError extends PalmError {
  override readonly code = 'ERR_DISPOSED';
}
/** A value that is not the native handle it should be. */
export class HandleError extends PalmError {
  override readonly code = 'ERR_HANDLE';
}
/** Weights that cannot be changed because other models read them too. */
export class SharedTrunkError extends PalmError {
  override readonly code = 'ERR_SHARED_TRUNK';
}
/** A configuration with an unknown key or a value of the wrong type. */
export class ConfigError extends ArgumentError {
  override readonly code = 'ERR_CONFIG';
}
/** A file that is missing, unreadable or not what it claims to be. */
export class FileError extends PalmError {
  override readonly code: string = 'ERR_FILE';
}
/** A data file with an unusable line; `argument` is `file:line`. */
export class DataError extends FileError {
  override readonly code = 'ERR_DATA';
}
/** The rule of the safetensors format that a file breaks; docs/files.md explains each. */
export type SafetensorsReason =
  | 'not-a-file'
  | 'too-short'
  | 'header-too-large'
  | 'header-cut-off'
  | 'not-utf8'
  | 'bad-json'
  | 'bad-string'
  | 'not-an-object'
  | 'duplicate-key'
  | 'bad-metadata'
  | 'bad-tensor'
  | 'unknown-key'
  | 'missing-key'
  | 'unknown-dtype'
  | 'bad-shape'
  | 'bad-offsets'
  | 'reversed-offsets'
  | 'overflow'
  | 'partial-byte'
  | 'size-mismatch'
  | 'hole'
  | 'overlap'
  | 'truncated'
  | 'trailing-bytes'
  | 'too-many-tensors'
  | 'no-such-tensor';
/**
 * A file that breaks a rule of the safetensors format. `reason` is stable; `position` is the byte offset, if there is
 * one.
 */
export class SafetensorsError extends FileError {
  override readonly code = 'ERR_SAFETENSORS';
  readonly reason: SafetensorsReason;
  readonly position: number | undefined;

  constructor({ reason, position, ...detail }: ErrorDetail & { reason: SafetensorsReason; position?: number }) {
    super(detail);
    this.reason = reason;
    this.position = position;
  }
}
/** The rule of the GGUF format that a file breaks; docs/files.md explains each. */
export type GgufReason =
  | 'not-a-file'
  | 'bad-magic'
  | 'big-endian'
  | 'bad-version'
  | 'truncated'
  | 'header-too-large'
  | 'too-many-values'
  | 'too-many-tensors'
  | 'bad-string'
  | 'duplicate-key'
  | 'duplicate-tensor'
  | 'unknown-value-type'
  | 'nested-array'
  | 'bad-boolean'
  | 'bad-alignment'
  | 'bad-shape'
  | 'overflow'
  | 'unknown-dtype'
  | 'partial-block'
  | 'misaligned'
  | 'hole'
  | 'overlap'
  | 'no-such-tensor'
  | 'bad-metadata'
  | 'unsupported';
/** A GGUF file that breaks a rule of the format. `reason` is stable; `position` is the byte offset, if there is one. */
export class GgufError extends FileError {
  override readonly code = 'ERR_GGUF';
  readonly reason: GgufReason;
  readonly position: number | undefined;

  constructor({ reason, position, ...detail }: ErrorDetail & { reason: GgufReason; position?: number | undefined }) {
    super(detail);
    this.reason = reason;
    this.position = position;
  }
}
/** A checkpoint with a missing or changed file, which `argument` names. */
export class CheckpointError extends FileError {
  override readonly code = 'ERR_CHECKPOINT';
}
/**
 * A .pt file that is damaged, hostile or of an unsupported kind; `reason` is a stable identifier of the rule it broke.
 */
export class TorchFileError extends FileError {
  override readonly code = 'ERR_TORCH_FILE';
  readonly reason: string;

  constructor(reason: string, detail: ErrorDetail) {
    super(detail);
    this.reason = reason;
  }
}
/** Why the Hugging Face hub, or its cache on this machine, did not give what was asked for; docs/hub.md explains each. */
export type HubReason =
  | 'not-found'
  | 'no-access'
  | 'unreachable'
  | 'not-cached'
  | 'bad-answer'
  | 'bad-name'
  | 'damaged'
  | 'no-weights'
  | 'refused';
/** The hub did not give or take what was asked for. `reason` is stable; `status` is that of its answer, if it gave one. */
export class HubError extends PalmError {
  override readonly code = 'ERR_HUB';
  readonly reason: HubReason;
  readonly status: number | undefined;

  constructor({ reason, status, ...detail }: ErrorDetail & { reason: HubReason; status?: number }) {
    super(detail);
    this.reason = reason;
    this.status = status;
  }
}
/** A folder locked by another process. */
export class LockedError extends PalmError {
  override readonly code = 'ERR_LOCKED';
}
/** A reward function that returned no score for an answer. The step has changed no weights. */
export class RewardError extends PalmError {
  override readonly code = 'ERR_REWARD';
}
/** Non-finite numbers in a training step or in its inputs; `argument` names the tensor. */
export class NumericsError extends PalmError {
  override readonly code = 'ERR_NUMERICS';
}
/** The bytes requested by an allocation and the bytes available, as far as known. */
export interface OutOfMemoryDetail extends ErrorDetail {
  requested?: number;
  available?: number;
}

/** An allocation that failed on the host or the device. Nothing is lost: smaller allocations still succeed. */
export class OutOfMemoryError extends PalmError {
  override readonly code = 'ERR_OUT_OF_MEMORY';
  /** Bytes requested; undefined if only the system's allocator knows. */
  readonly requested: number | undefined;
  /** Bytes available; undefined if unknown. */
  readonly available: number | undefined;

  constructor(detail: OutOfMemoryDetail) {
    super(detail);
    this.requested = detail.requested;
    this.available = detail.available;
  }
}
/** libtorch was not found, or the one found is unusable. */
export class LibtorchError extends PalmError {
  override readonly code = 'ERR_LIBTORCH';
}
/** An error raised inside libtorch that none of our own checks caught first. */
export class NativeError extends PalmError {
  override readonly code = 'ERR_NATIVE';
}

const KINDS = {
  argument: ArgumentError,
  shape: ShapeError,
  dtype: DtypeError,
  device: DeviceError,
  disposed: DisposedError,
  handle: HandleError,
  memory: OutOfMemoryError,
  numerics: NumericsError,
  libtorch: LibtorchError,
  native: NativeError,
};

/** Turns an error raised in C++ into its class. `kind` is the name used in native/base/error.h. */
export function errorFromNative(kind: string, detail: ErrorDetail): PalmError {
  return new (KINDS[kind as keyof typeof KINDS] ?? NativeError)(detail);
}

/** Formats a value for an error message: short, quoted, safe to print on a terminal. */
export function printable(value: unknown): string {
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 120)) : describe(value);
  const text = shown.replace(UNPRINTABLE, escaped);
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

// Control characters and bidirectional overrides, which a terminal would obey, and characters that are invisible or
// look like a space.
const UNPRINTABLE =
  /[\p{Cc}\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u2064\u2066-\u2069\u3000\ufeff]/gu;

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function describe(value: unknown, depth = 0): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (value === null || typeof value !== 'object') return String(value);
  if (ArrayBuffer.isView(value))
    return `${value.constructor.name}(${(value as Uint8Array).length ?? value.byteLength})`;
  if (!Array.isArray(value))
    return value.constructor === Object ? 'an object' : `a ${value.constructor?.name ?? 'object'}`;
  if (depth > 2) return '[...]';
  const shown = value
    .slice(0, 8)
    .map((item) => (typeof item === 'string' ? JSON.stringify(item) : describe(item, depth + 1)));
  return `[${shown.join(', ')}${value.length > 8 ? ', ...' : ''}]`;
}

function sentence({ argument, received, expected, problem, fix }: ErrorDetail): string {
  const got = received === undefined ? '' : ` got ${received}`;
  const want = expected === undefined ? '' : `${received === undefined ? '' : ','} expected ${expected}`;
  const wrong = problem === undefined ? `${got}${want}` : ` ${problem}`;
  return `${argument}:${wrong}.${fix === undefined ? '' : ` ${fix}`}`.replace(/\.\.( |$)/, '.$1');
}

/** The candidate closest to a mistyped word by edit distance; undefined if none is close. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
