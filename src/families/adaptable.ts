/** The matrices of a Hugging Face family's layers that adapters can be put on. */
import type { Place } from './place.ts';

/** A matrix that an adapter can be put on. */
export interface Adaptable {
  /** What it is called in the class of transformers: `model.layers.0.self_attn.q_proj`. */
  path: string;
  layer: number;
  /** The family's short name for it: `q_proj`. */
  module: string;
  /** Its site in native code. */
  site: string;
  /** Where its weight lies. */
  place: Place;
}

/** What `adaptablesOf` needs of a family. */
interface Named {
  /** What precedes the names of the base model in its class. */
  prefix: string;
  /** What precedes the number of a layer. */
  layers: string;
  /** The names of a layer's matrices. */
  linears: readonly string[];
  /** Their sites in native code by their short names, in the same order. */
  modules: Readonly<Record<string, string>>;
}

/** The adaptable matrices of all layers, in the order of `linears`; `places` are without a prefix. */
export function adaptablesOf(
  { prefix, layers, linears, modules }: Named,
  places: readonly Place[],
  depth: number,
): Adaptable[] {
  const byName = new Map(places.map((place) => [place.name, place]));
  const shortNames = Object.entries(modules);
  return Array.from({ length: depth }, (_, layer) =>
    linears.map((linear, i): Adaptable => {
      const [module, site] = shortNames[i] as [string, string];
      const name = `${layers}.${layer}.${linear}`;
      return { path: prefix + name, layer, module, site, place: byName.get(`${name}.weight`) as Place };
    }),
  ).flat();
}
