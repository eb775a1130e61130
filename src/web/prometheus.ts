/** Numbers of a running server in Prometheus' text format, version 0.0.4. */

type Labels = Readonly<Record<string, string>>;

interface Family {
  name: string;
  help: string;
  type: 'counter' | 'gauge' | 'histogram';
  /** Lines without the name's prefix: what follows it, and the value. */
  lines(): [suffix: string, value: number][];
}

/** Counts that only rise, by labels. */
export class Counter {
  readonly #values = new Map<string, number>();

  add(count: number, labels: Labels = {}): void {
    const key = labelText(labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + count);
  }

  lines(): [string, number][] {
    return [...this.#values];
  }
}

/** How often values were at most each of some limits. */
export class Histogram {
  readonly #limits: readonly number[];
  readonly #counts: number[];
  #sum = 0;
  #count = 0;

  /** `limits` rise. */
  constructor(limits: readonly number[]) {
    this.#limits = limits;
    this.#counts = limits.map(() => 0);
  }

  observe(value: number): void {
    this.#sum += value;
    this.#count++;
    for (const [i, limit] of this.#limits.entries())
      if (value <= limit) this.#counts[i] = (this.#counts[i] as number) + 1;
  }

  lines(): [string, number][] {
    const buckets = this.#limits.map((limit, i): [string, number] => [
      `_bucket${labelText({ le: `${limit}` })}`,
      this.#counts[i] as number,
    ]);
    return [
      ...buckets,
      [`_bucket${labelText({ le: '+Inf' })}`, this.#count],
      ['_sum', this.#sum],
      ['_count', this.#count],
    ];
  }
}

/** All numbers of a server. */
export class Registry {
  readonly #families: Family[] = [];

  counter(name: string, help: string): Counter {
    const counter = new Counter();
    this.#families.push({ name, help, type: 'counter', lines: () => counter.lines() });
    return counter;
  }

  histogram(name: string, help: string, limits: readonly number[]): Histogram {
    const histogram = new Histogram(limits);
    this.#families.push({ name, help, type: 'histogram', lines: () => histogram.lines() });
    return histogram;
  }

  /** A number that is read when it is asked for, by labels. */
  gauge(name: string, help: string, read: () => readonly (readonly [Labels, number])[]): void {
    const lines = () => read().map(([labels, value]): [string, number] => [labelText(labels), value]);
    this.#families.push({ name, help, type: 'gauge', lines });
  }

  /** The text that a scraper reads. */
  text(): string {
    const families = this.#families.map(({ name, help, type, lines }) => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} ${type}`,
      ...lines().map(([suffix, value]) => `${name}${suffix} ${value}`),
    ]);
    return `${families.flat().join('\n')}\n`;
  }
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, escaped)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(character: string): string {
  return character === '\n' ? '\\n' : `\\${character}`;
}
