/** The exports of Open Assistant: trees of messages, the same messages one by one, and single threads. */
import { DataError } from '../../errors.ts';
import { type DataObject, type FormRows, isObject, metaOf, numberOf, roleOf } from './fields.ts';
import type { FormRow, Meta, Turn } from './rows.ts';
import { dialogue } from './texts.ts';

/** A record and where it is. */
export interface Placed {
  place: string;
  value: DataObject;
}

/** A deeper tree is refused, as JSON so deep is. */
const MAX_DEPTH = 900;

function turnOf(node: DataObject): Turn {
  const meta = metaOf(node, 'role', 'text', 'replies');
  return { role: roleOf(node.role), content: node.text as string, meta };
}

function repliesOf(node: DataObject): DataObject[] {
  return Array.isArray(node.replies) ? node.replies.filter((reply) => isObject(reply) && usable(reply)) : [];
}

/** Whether a message was neither deleted nor rejected by its reviewers. */
function usable({ text, deleted, review_result: review }: DataObject): boolean {
  return typeof text === 'string' && deleted !== true && review !== false;
}

/** Every ranking of replies in a tree, and every thread from its root to a leaf. */
export function tree(record: DataObject): FormRows {
  const root = record.prompt as DataObject;
  if (!usable(root)) return { skip: 'its first message was deleted or rejected' };
  const meta = metaOf(record, 'prompt');
  const rows: FormRow[] = [];
  const open: { node: DataObject; before: readonly Turn[] }[] = [{ node: root, before: [] }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const turns = [...next.before, turnOf(next.node)];
    const replies = repliesOf(next.node);
    rows.push(...rankingOf(turns, replies, meta));
    if (replies.length === 0) rows.push(dialogue(turns, meta));
    for (const node of replies.toReversed()) open.push({ node, before: turns });
  }
  return { use: rows };
}

/** The ranking of the assistant's replies to `turns`, if two or more are ranked. */
function rankingOf(turns: readonly Turn[], replies: readonly DataObject[], meta: Meta): FormRow[] {
  const ranked = replies.filter(({ role, rank }) => role === 'assistant' && numberOf(rank) !== undefined);
  if (ranked.length < 2) return [];
  const responses = ranked.map(({ text }) => text as string);
  const replyMeta = ranked.map((reply) => metaOf(reply, 'text', 'replies'));
  const rank = ranked.map((reply) => Number(reply.rank));
  return [{ kind: 'ranking', prompt: turns, responses, rank, meta: { ...meta, replies: replyMeta } }];
}

export function thread(record: DataObject): FormRows {
  const nodes = record.thread as DataObject[];
  if (!nodes.every(usable)) return { skip: 'one of its messages was deleted or rejected' };
  return { use: [dialogue(nodes.map(turnOf), metaOf(record, 'thread'))] };
}

/**
 * The messages of a tree, each before its replies, as Open Assistant writes them one by one. `treeOf` undoes it: what a
 * tree has besides its messages is kept in the first one as `tree`.
 */
export function messagesOf(record: DataObject): DataObject[] {
  const { prompt, message_tree_id, tree_state, ...more } = record;
  const shared = { message_tree_id, ...(tree_state === undefined ? {} : { tree_state }) };
  const found: DataObject[] = [];
  const open = [{ node: prompt as DataObject, parent: undefined as unknown }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { replies, ...node } = next.node;
    const parent = next.parent === undefined ? {} : { parent_id: next.parent };
    found.push({
      ...parent,
      ...node,
      ...shared,
      ...(found.length === 0 && Object.keys(more).length > 0 ? { tree: more } : {}),
    });
    const below = Array.isArray(replies) ? replies.filter(isObject) : [];
    for (const reply of below.toReversed()) open.push({ node: reply, parent: node.message_id });
  }
  return found;
}

/**
 * The trees of messages in any order, by their `parent_id`.
 * @throws DataError for an id that occurs twice, a parent that is missing, a circle, or a tree deeper than 900.
 */
export function treesOf(records: readonly Placed[]): Placed[] {
  const byId = new Map<string, Placed & { replies: Placed[] }>();
  for (const { place, value } of records) {
    const id = value.message_id as string;
    const known = byId.get(id);
    if (known !== undefined) throw wrong(place, `the message_id of ${known.place} again`);
    byId.set(id, { place, value, replies: [] });
  }
  const roots: (Placed & { replies: Placed[] })[] = [];
  for (const node of byId.values()) {
    const parent = node.value.parent_id ?? undefined;
    if (parent === undefined) roots.push(node);
    else (byId.get(parent as string) ?? missing(node.place)).replies.push(node);
  }
  const trees = roots.map((root) => ({ place: root.place, value: treeFrom(root, byId) }));
  const [lost] = byId.values(); // what no root reached is a circle
  if (lost !== undefined) throw wrong(lost.place, 'a message that is an answer to itself, by way of its parents');
  return trees;
}

/** The tree below `root`, whose messages are taken from `left`. */
function treeFrom(root: Placed & { replies: Placed[] }, left: Map<string, Placed & { replies: Placed[] }>): DataObject {
  const node = (at: Placed & { replies: Placed[] }, depth: number): DataObject => {
    if (depth > MAX_DEPTH) throw wrong(at.place, `a tree deeper than ${MAX_DEPTH} messages`);
    const { message_tree_id, tree_state, ...message } = at.value;
    left.delete(message.message_id as string);
    const replies = (at.replies as (typeof at)[]).map((reply) => node(reply, depth + 1));
    return { ...message, replies };
  };
  const { tree_state: state, message_tree_id: id = root.value.message_id } = root.value;
  const { tree: more, ...prompt } = node(root, 1);
  return {
    message_tree_id: id,
    ...(state === undefined ? {} : { tree_state: state }),
    ...(isObject(more) ? more : {}),
    prompt,
  };
}

function missing(place: string): never {
  throw wrong(place, 'a parent_id that no message of the file has');
}

function wrong(place: string, received: string): DataError {
  const fix = 'Export the messages of whole trees.';
  return new DataError({ argument: place, received, expected: 'messages that form trees', fix });
}
