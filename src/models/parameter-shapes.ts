/** Counts the weights of a decoder from the shapes that native code lists, without creating any. */
import { type AdapterDescription, addon, type DecoderDescription, type NamedShape } from '../native/addon.ts';

/** The name prefix of the layer parameters in a decoder with a single layer. */
const LAYER = 'layers.0.';

/** The number of weights of a decoder. @throws OutOfMemoryError if no machine could hold one of its layers. */
export function countParameters(decoder: DecoderDescription): { layer: number; outside: number; total: number } {
  const shapes = addon().decoderParameters(oneLayer(decoder));
  const layer = sumOf(shapes.filter(({ name }) => name.startsWith(LAYER)).map(sizeOf));
  const outside = sumOf(shapes.map(sizeOf)) - layer;
  return { layer, outside, total: outside + decoder.depth * layer };
}

/** The number of weights in a scope of `rank` with adapters on the sites `targets` of every layer. @throws OutOfMemoryError */
export function countAdapters(decoder: DecoderDescription, targets: readonly string[], rank: number): number {
  const adapted = [...siteShapes(decoder)].filter(([site]) => targets.includes(site));
  return decoder.depth * sumOf(adapted.map(([, shape]) => rank * sumOf(shape)));
}

/** The number of weights in `adapters`. @throws OutOfMemoryError */
export function countEach(decoder: DecoderDescription, adapters: readonly AdapterDescription[]): number {
  const shapes = siteShapes(decoder);
  return sumOf(adapters.map(({ site, rank }) => rank * sumOf(shapes.get(site) ?? [])));
}

/** The shapes [out, in] of a layer's sites. @throws OutOfMemoryError */
export function siteShapes(decoder: DecoderDescription): ReadonlyMap<string, readonly number[]> {
  const sites = addon().decoderSites(oneLayer(decoder));
  return new Map(sites.map(({ name, shape }) => [name.slice(LAYER.length), shape]));
}

/** All layers have the same weights. */
function oneLayer(decoder: DecoderDescription): DecoderDescription {
  return { ...decoder, depth: 1, layers: Array.isArray(decoder.layers) ? decoder.layers.slice(0, 1) : decoder.layers };
}

function sizeOf({ shape }: NamedShape): number {
  return shape.reduce((product, size) => product * size, 1);
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}
