import { ShapeError } from '../errors.ts';
import { checkKind, checkKinds, LISTS, NUMBER, optional } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { checkLimit } from './fit.ts';

/**
 * Several sequences packed into each row: arrays of `shape` [B, T] to convert to tensors of that shape for a model's
 * `loss`.
 */
export interface PackedRows {
  tokens: Int32Array;
  /** The sequence of its row that each token belongs to, counted from 1; 0 is padding. */
  segments: Int32Array;
  /** 1 for real tokens, 0 for padding. */
  mask: Uint8Array;
  shape: [rows: number, length: number];
  /** The row that holds each sequence. */
  row: Int32Array;
}

/**
 * Packs `sequences` into rows of `length` tokens by first fit: each sequence goes, in the given order, into the first
 * row with room for it. Rows are filled up with `padToken`.
 * @throws ShapeError if there are no sequences, or one is empty or longer than a row.
 */
export function packSequences(
  sequences: readonly (readonly number[])[],
  length: number,
  options: { padToken?: number } = {},
): PackedRows {
  checkKind('sequences', sequences, LISTS);
  checkOptions(options, ['padToken'], 'packSequences');
  checkKinds('packSequences options', options, { padToken: optional(NUMBER) });
  const { padToken = 0 } = options;
  checkLimit('length', length, 1);
  const rows = firstFit(sequences, length);
  const size = rows.length * length;
  const packed: PackedRows = {
    tokens: new Int32Array(size).fill(padToken),
    segments: new Int32Array(size),
    mask: new Uint8Array(size),
    shape: [rows.length, length],
    row: new Int32Array(sequences.length),
  };
  for (const [row, { members }] of rows.entries()) {
    let at = row * length;
    for (const [i, index] of members.entries()) {
      const sequence = sequences[index] as readonly number[];
      packed.tokens.set(sequence, at);
      packed.segments.fill(i + 1, at, at + sequence.length);
      packed.mask.fill(1, at, at + sequence.length);
      packed.row[index] = row;
      at += sequence.length;
    }
  }
  return packed;
}

interface OpenRow {
  room: number;
  members: number[];
}

function firstFit(sequences: readonly (readonly number[])[], length: number): OpenRow[] {
  if (sequences.length === 0) {
    throw new ShapeError({ argument: 'sequences', received: 'none', expected: 'at least one' });
  }
  const rows: OpenRow[] = [];
  // Rows before this one are full.
  let begin = 0;
  for (const [index, { length: size }] of sequences.entries()) {
    checkSize(index, size, length);
    let at = begin;
    while (at < rows.length && (rows[at] as OpenRow).room < size) at++;
    const row = rows[at] ?? { room: length, members: [] };
    if (at === rows.length) rows.push(row);
    row.room -= size;
    row.members.push(index);
    while (rows[begin]?.room === 0) begin++;
  }
  return rows;
}

function checkSize(index: number, size: number, length: number): void {
  if (size >= 1 && size <= length) return;
  throw new ShapeError({
    argument: `sequences[${index}]`,
    received: `${size} tokens`,
    expected: `1 to ${length}`,
    fix: 'Cut it, or use longer rows.',
  });
}
