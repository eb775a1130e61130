/** Counts the weights of a decoder from the shapes that native code lists, without creating any. */
import { type AdapterDescription, addon, type DecoderDescription, type NamedShape } from '../native/addon.ts';

/** The name prefix of the layer parameters in a decoder with a single layer. */
const LAYER = 'layers.0.';

/** Numbers of weights: of a layer, of what comes before the layers and after them, and of the whole decoder. */
export interface ParameterCounts {
  front: number;
  layer: number;
  back: number;
  total: number;
}

/** The number of weights of a decoder. @throws OutOfMemoryError if no machine could hold one of its layers. */
export function countParameters(decoder: DecoderDescription): ParameterCounts {
  const shapes = addon().decoderParameters(oneLayer(decoder));
  const inLayer = ({ name }: NamedShape) => name.startsWith(LAYER);
  const [first, last] = [shapes.findIndex(inLayer), shapes.findLastIndex(inLayer)];
  const count = (some: readonly NamedShape[]) => sumOf(some.map(sizeOf));
  const [front, layer, back] = [
    count(shapes.slice(0, first)),
    count(shapes.slice(first, last + 1)),
    count(shapes.slice(last + 1)),
  ];
  return { front, layer, back, total: front + decoder.depth * layer + back };
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
