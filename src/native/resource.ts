/**
 * Objects that hold native memory. Each has one handle, is disposed once, and remembers the failure of queued work that nobody
 * awaits, so that the next awaited call on it rejects with that failure.
 */
import { calledAt, DisposedError, HandleError, placeOfCall, printable } from '../errors.ts';
import { addon, type Handle } from './addon.ts';

interface State {
  readonly handle: Handle;
  readonly name: string;
  disposed: boolean;
  /** Settles with the work queued so far; never rejects. */
  queued: Promise<void>;
  failures: unknown[];
}

// A WeakMap, so that look-alikes and objects of another copy of the package are rejected.
const states = new WeakMap<object, State>();

/** The base of every class with a native handle. `name` is what errors call the object. */
export abstract class Resource<H extends Handle = Handle> implements Disposable {
  constructor(handle: H, name: string) {
    states.set(this, { handle, name, disposed: false, queued: Promise.resolve(), failures: [] });
  }

  /** Whether `dispose` has been called. After that, any other use throws or rejects with a DisposedError. */
  get disposed(): boolean {
    return stateOf(this, 'this').disposed;
  }

  /** Frees the native memory as soon as the queued work that uses it has ended. Calling it again does nothing. */
  dispose(): void {
    const state = stateOf(this, 'this');
    if (state.disposed) return;
    state.disposed = true;
    this.release(state.handle as H);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Called once, by `dispose`. */
  protected release(handle: H): void {
    addon().dispose(handle);
  }
}

/** The handle to pass to the addon. @throws DisposedError if `value` is disposed. @throws HandleError if it is no resource. */
export function handleOf<H extends Handle>(value: Resource<H>, argument?: string): H {
  const state = stateOf(value, argument ?? 'handle');
  if (!state.disposed) return state.handle as H;
  throw new DisposedError({
    argument: argument ?? state.name,
    received: `a disposed ${state.name}`,
    expected: 'one that is still alive',
    fix: 'Dispose of it only after its last use.',
  });
}

/** Registers work that nobody awaits: its failure rejects the next awaited call that uses `resource`. */
export function queue(resource: Resource, work: Promise<unknown>): void {
  const state = stateOf(resource, 'handle');
  const place = placeOfCall(queue);
  const caught = work.then(
    () => undefined,
    (error: unknown) => {
      state.failures.push(calledAt(error, place));
    },
  );
  const earlier = state.queued;
  state.queued = earlier.then(() => caught);
}

/**
 * Starts `call` at once, in program order, and awaits it.
 * @throws the failure of work queued earlier on one of `used`, if any; else whatever `call` rejects with. Either has the frames of
 *   the call that it belongs to, because native code rejects when the caller is no longer on the stack.
 */
export async function run<T>(used: readonly Resource[], call: () => Promise<T>): Promise<T> {
  const states = used.map((resource) => stateOf(resource, 'handle'));
  for (const resource of used) handleOf(resource);
  const place = placeOfCall(run);
  const earlier = states.map((state) => state.queued);
  const [outcome] = await Promise.allSettled([call(), ...earlier]);
  for (const { failures } of states) {
    if (failures.length > 0) throw failures.splice(0)[0];
  }
  if (outcome.status === 'rejected') throw calledAt(outcome.reason, place);
  return outcome.value;
}

function stateOf(value: object, argument: string): State {
  const state = typeof value === 'object' && value !== null ? states.get(value) : undefined;
  if (state !== undefined) return state;
  throw new HandleError({
    argument,
    received: printable(value),
    expected: 'an object that this copy of palm-rlhf made',
    fix: 'Objects cannot cross threads or copies of the package.',
  });
}
