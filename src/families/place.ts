/** Places: where a tensor of a file lies in the parameters of a decoder, and in which order its rows stand there. */

/** `length` rows (dim 0) or columns (dim 1) of a native parameter, from `start` on. */
export interface Part {
  parameter: string;
  dim: 0 | 1;
  start: number;
  length: number;
}

/** Where a stored tensor lies: its rows are those of all parts together, in the given order. */
export interface Place {
  /** Its name in the file, without the prefix of the base model. */
  name: string;
  parts: readonly [Part, ...Part[]];
  /** How the rows stand in the file; by default as in the parts. */
  order?: RowOrder | 'transposed' | undefined;
  /** Whether it stands beside the base model, so that its name never has the prefix. */
  outside?: boolean;
  /** Its shape in the file, where that is not the shape of the parts. */
  shape?: readonly number[];
}

/** How the rows of a file map to those of the parts. */
export type RowOrder =
  /** [groups, queries + 2, width]: some query heads, then their key and their value; in the parts, q | k | v. */
  | { kind: 'groups'; groups: number; queries: number; width: number }
  /** Heads of `width` rows, whose first `rotary` are pairs that turn together; in the parts, halves. */
  | { kind: 'pairs'; width: number; rotary: number };

/** The row of the parts, counted through all of them, at which row `row` of the file lies. */
export function partRow(order: RowOrder | undefined, row: number): number {
  if (order === undefined) return row;
  const { width } = order;
  const within = row % width;
  const head = (row - within) / width;
  if (order.kind === 'groups') return groupedHead(order, head) * width + within;
  const { rotary } = order;
  return within >= rotary ? row : head * width + (within % 2) * (rotary / 2) + Math.floor(within / 2);
}

/** The head of the parts (queries, then keys, then values) that is head `head` of the file. */
function groupedHead({ groups, queries }: Extract<RowOrder, { kind: 'groups' }>, head: number): number {
  const within = head % (queries + 2);
  const group = (head - within) / (queries + 2);
  return within < queries ? group * queries + within : groups * within + group;
}
