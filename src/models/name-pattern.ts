/**
 * Regular expressions from files, matched against names in time proportional to pattern times name: all ways to match are followed
 * at once (Thompson 1968), so that no pattern is slow. Python's syntax, without what is not regular.
 */

/** Why a pattern cannot be used. */
export class PatternError extends Error {}

/** `next` after a character that `fits`; or, without one, all of `either` at once, if `holds` at this position. */
interface State {
  fits?: (character: string) => boolean;
  holds?: (name: string, at: number) => boolean;
  next: State[];
}

/** An expression, as a way to build the states that match it and then go on to `next`. */
type Build = (next: State) => State;

const MAX_DEPTH = 100;
const MAX_STEPS = 1_000_000;

/** What all patterns of one file may take together. */
export class PatternWork {
  #steps = 0;

  /** @throws PatternError if that was too much. */
  step(): void {
    if (++this.#steps > MAX_STEPS) throw new PatternError('patterns that take too long');
  }
}

/**
 * Compiles `pattern`; the result says whether a whole name matches it, and may throw PatternError, too.
 * @throws PatternError for a pattern that is invalid, takes too long, or uses what is not supported.
 */
export function namePattern(pattern: string, work = new PatternWork()): (name: string) => boolean {
  const end: State = { next: [] };
  const start = new PatternParser(pattern, work).whole()(end);
  return (name) => {
    let states = reached([start], name, 0, work);
    for (let at = 0; at < name.length; at++) {
      const after = [...states].filter(({ fits }) => fits?.(name[at] as string)).flatMap(({ next }) => next);
      states = reached(after, name, at + 1, work);
    }
    return states.has(end);
  };
}

/** `from` and the states that follow without a character. */
function reached(from: readonly State[], name: string, at: number, work: PatternWork): Set<State> {
  const found = new Set<State>();
  const open = [...from];
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    work.step();
    if (found.has(state) || state.holds?.(name, at) === false) continue;
    found.add(state);
    if (state.fits === undefined) open.push(...state.next);
  }
  return found;
}

const isWord = (character: string | undefined) => character !== undefined && /\w/.test(character);
const boundary = (name: string, at: number) => isWord(name[at - 1]) !== isWord(name[at]);
const CLASSES: Readonly<Record<string, (character: string) => boolean>> = {
  d: (character) => /\d/.test(character),
  D: (character) => /\D/.test(character),
  w: (character) => /\w/.test(character),
  W: (character) => /\W/.test(character),
  s: (character) => /\s/.test(character),
  S: (character) => /\S/.test(character),
};
const PLACES: Readonly<Record<string, NonNullable<State['holds']>>> = {
  '^': (_, at) => at === 0,
  $: (name, at) => at === name.length,
  A: (_, at) => at === 0,
  Z: (name, at) => at === name.length,
  b: boundary,
  B: (name, at) => !boundary(name, at),
};

class PatternParser {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  readonly #work: PatternWork;

  constructor(text: string, work: PatternWork) {
    this.#text = text;
    this.#work = work;
  }

  whole(): Build {
    const built = this.#alternatives();
    if (this.#at < this.#text.length) throw new PatternError('an unmatched )');
    return built;
  }

  #alternatives(): Build {
    if (this.#depth++ > MAX_DEPTH) throw new PatternError(`more than ${MAX_DEPTH} nested groups`);
    const all = [this.#sequence()];
    while (this.#take('|')) all.push(this.#sequence());
    this.#depth--;
    return all.length === 1 ? (all[0] as Build) : (next) => this.#state({ next: all.map((build) => build(next)) });
  }

  #sequence(): Build {
    const parts: Build[] = [];
    while (this.#at < this.#text.length && !/[|)]/.test(this.#text[this.#at] as string)) parts.push(this.#repeated());
    return (next) => parts.reduceRight((after, build) => build(after), next);
  }

  #repeated(): Build {
    const once = this.#atom();
    const [least, most] = this.#times();
    if (least === 1 && most === 1) return once;
    this.#take('?'); // lazy: the same names match
    if (/[*+?]/.test(this.#text[this.#at] ?? '')) throw new PatternError('a repetition of a repetition');
    return (next) => {
      let after = next;
      if (most === undefined) {
        after = this.#state({ next: [next] });
        after.next.push(once(after));
      } else for (let i = least; i < most; i++) after = this.#state({ next: [next, once(after)] });
      for (let i = 0; i < least; i++) after = this.#state({ next: [once(after)] });
      return after;
    };
  }

  /** How often at least, and at most unless without limit. */
  #times(): [number, number | undefined] {
    if (this.#take('*')) return [0, undefined];
    if (this.#take('+')) return [1, undefined];
    if (this.#take('?')) return [0, 1];
    const [all, least, comma, most] =
      /^\{(\d{1,4})(,?)(\d{0,4})\}/.exec(this.#text.slice(this.#at, this.#at + 12)) ?? [];
    if (all === undefined) return [1, 1];
    this.#at += all.length;
    return [Number(least), comma === '' ? Number(least) : most === '' ? undefined : Number(most)];
  }

  #atom(): Build {
    const character = this.#next();
    if (character === '(') return this.#group();
    if (character === '[') return this.#fitting(this.#set());
    if (character === '.') return this.#fitting((one) => one !== '\n');
    if (character === '^' || character === '$') return this.#holding(character);
    if (/[*+?]/.test(character)) throw new PatternError(`a ${character} that repeats nothing`);
    if (character !== '\\') return this.#fitting((one) => one === character);
    const escaped = this.#next();
    if (Object.hasOwn(PLACES, escaped) && /\w/.test(escaped)) return this.#holding(escaped);
    return this.#fitting(this.#escaped(escaped));
  }

  #group(): Build {
    if (this.#take('?') && !this.#take(':') && !/^P<\w+>/.test(this.#text.slice(this.#at)))
      throw new PatternError(`a group that begins with (?${this.#text[this.#at] ?? ''}`);
    this.#at += /^P<\w+>/.exec(this.#text.slice(this.#at))?.[0].length ?? 0;
    const inner = this.#alternatives();
    if (!this.#take(')')) throw new PatternError('an unmatched (');
    return inner;
  }

  #set(): (character: string) => boolean {
    const negated = this.#take('^');
    const parts: ((character: string) => boolean)[] = [];
    do {
      const [from, one] = this.#member();
      if (this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']') {
        this.#at++;
        const [to] = this.#member();
        parts.push((character) => character >= from && character <= to);
      } else parts.push(one);
    } while (!this.#take(']'));
    return (character) => parts.some((part) => part(character)) !== negated;
  }

  #member(): [string, (character: string) => boolean] {
    const character = this.#next();
    if (character !== '\\') return [character, (one) => one === character];
    const escaped = this.#next();
    return [escaped, this.#escaped(escaped)];
  }

  #escaped(character: string): (character: string) => boolean {
    if (Object.hasOwn(CLASSES, character)) return CLASSES[character] as (character: string) => boolean;
    if (/\w/.test(character) && character !== '_') throw new PatternError(`\\${character}`);
    return (one) => one === character;
  }

  #fitting(fits: (character: string) => boolean): Build {
    return (next) => this.#state({ fits, next: [next] });
  }

  #holding(place: string): Build {
    return (next) => this.#state({ holds: PLACES[place] as NonNullable<State['holds']>, next: [next] });
  }

  #state(state: State): State {
    this.#work.step();
    return state;
  }

  #next(): string {
    const character = this.#text[this.#at++];
    if (character === undefined) throw new PatternError('an end too early');
    return character;
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }
}
