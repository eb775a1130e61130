/** From the names of a family's tensors to their places: what native code asks for decides which of them there are. */
import type { DecoderDescription } from '../native/addon.ts';
import type { Part, Place, RowOrder } from './place.ts';

/** A part of a block's matrices: rows of `input`, or columns of `output` (output, down). */
export type Site = 'query' | 'key' | 'value' | 'up' | 'gate' | 'output' | 'down';

/** The names of a family's tensors, without `.weight` and `.bias`. */
export interface StoredNames {
  /** What precedes the number of a layer. */
  layers: string;
  /** Norms of a layer, by their native names. */
  norms: Readonly<Record<string, string>>;
  /** Matrices of a layer and the sites that they hold, one after the other. */
  linears: Readonly<Record<string, readonly Site[]>>;
  /** What stands outside the layers, by native names. */
  outside: Readonly<Record<string, string>>;
}

/** How the rows of a family's matrices stand in files, by the names of `linears`. */
export type Orders = Readonly<Record<string, Place['order']>>;

/** Shapes of native parameters by name. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** A family's matrices and their sites in native code, by their names, which are as short as they can be. */
export function modulesOf({ linears }: StoredNames): Record<string, string> {
  const last = (name: string) => name.split('.').at(-1) as string;
  const names = Object.keys(linears);
  const short = (name: string) => (names.filter((other) => last(other) === last(name)).length > 1 ? name : last(name));
  return Object.fromEntries(names.map((name) => [short(name), siteOf(linears[name] as readonly Site[])]));
}

/** What native code calls sites that are adapted as one. */
function siteOf(sites: readonly Site[]): string {
  return sites.includes('gate') && sites.includes('up') ? 'up_gate' : sites.join('_');
}

/** Places for every parameter in `shapes`, in the order of the names. */
export function placesOf(
  names: StoredNames,
  decoder: DecoderDescription,
  shapes: Shapes,
  orders: Orders = {},
): Place[] {
  const all = new PlaceList(decoder, shapes);
  for (const [native, stored] of Object.entries(names.outside)) all.add(native, stored);
  for (let layer = 0; layer < decoder.depth; layer++) {
    const [to, from] = [`layers.${layer}.`, `${names.layers}.${layer}.`];
    for (const [native, stored] of Object.entries(names.norms)) all.add(to + native, from + stored);
    for (const [stored, sites] of Object.entries(names.linears))
      all.addLinear(to, from + stored, sites, orders[stored]);
  }
  return all.places;
}

class PlaceList {
  readonly places: Place[] = [];
  readonly #decoder: DecoderDescription;
  readonly #shapes: Shapes;

  constructor(decoder: DecoderDescription, shapes: Shapes) {
    this.#decoder = decoder;
    this.#shapes = shapes;
  }

  /** A parameter of its own, and its bias, if native code has them. */
  add(native: string, stored: string): void {
    const head = native === 'head';
    for (const [parameter, name] of [
      [native, `${stored}.weight`],
      [`${native}_bias`, `${stored}.bias`],
    ] as const) {
      const rows = this.#shapes.get(parameter)?.[0];
      if (rows === undefined) continue;
      this.places.push({ name, parts: [whole(parameter, rows)], ...(head ? { outside: true } : {}) });
    }
  }

  /** Sites of a layer's matrices, and their bias. */
  addLinear(layer: string, stored: string, sites: readonly Site[], order: Place['order']): void {
    const parts = sites.map((site) => this.#weight(layer, site));
    this.places.push({ name: `${stored}.weight`, parts: joined(parts), order });
    const biases = sites.map((site) => this.#bias(layer, site));
    if (!this.#shapes.has((biases[0] as Part).parameter)) return;
    const rows = order === 'transposed' ? undefined : (order as RowOrder | undefined);
    this.places.push({ name: `${stored}.bias`, parts: joined(biases), order: rows });
  }

  #weight(layer: string, site: Site): Part {
    const { ff } = this.#decoder;
    const queries = this.#queries;
    if (site === 'output') return { parameter: `${layer}output`, dim: 1, start: 0, length: queries };
    if (site === 'down') return { parameter: `${layer}output`, dim: 1, start: queries, length: ff };
    return { parameter: `${layer}input`, dim: 0, ...this.#rows(site) };
  }

  #bias(layer: string, site: Site): Part {
    const { dim } = this.#decoder;
    if (site === 'output') return whole(`${layer}output_bias`, dim);
    if (site === 'down') return whole(`${layer}ff_output_bias`, dim);
    const { start, length } = this.#rows(site);
    if (site !== 'up' && site !== 'gate') return { parameter: `${layer}qkv_bias`, dim: 0, start, length };
    return { parameter: `${layer}ff_bias`, dim: 0, start: start - this.#queries - 2 * this.#keys, length };
  }

  /** Rows of `input`: queries, keys, values, up, gate. */
  #rows(site: Exclude<Site, 'output' | 'down'>): { start: number; length: number } {
    const { ff } = this.#decoder;
    const sizes = { query: this.#queries, key: this.#keys, value: this.#keys, up: ff, gate: ff };
    const sites = Object.keys(sizes) as (keyof typeof sizes)[];
    const before = sites.slice(0, sites.indexOf(site));
    return { start: before.reduce((sum, other) => sum + sizes[other], 0), length: sizes[site] };
  }

  get #queries(): number {
    return this.#decoder.heads * this.#decoder.dimHead;
  }

  get #keys(): number {
    return this.#decoder.kvHeads * this.#decoder.dimHead;
  }
}

/** The same parts, with those that lie side by side as one. */
function joined([first, ...others]: readonly Part[]): Place['parts'] {
  const all: [Part, ...Part[]] = [first as Part];
  for (const part of others) {
    const last = all.at(-1) as Part;
    const next = last.parameter === part.parameter && last.start + last.length === part.start;
    if (next) all.splice(-1, 1, { ...last, length: last.length + part.length });
    else all.push(part);
  }
  return all;
}

function whole(parameter: string, length: number): Part {
  return { parameter, dim: 0, start: 0, length };
}
