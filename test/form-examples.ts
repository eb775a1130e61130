/** A record of every form, as its source writes it, and the rows that it gives. */
import type { FormRow, Meta } from '../src/data/forms/rows.ts';

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const turn = (role: 'user' | 'assistant' | 'system' | 'tool', content: string, meta?: Meta) =>
  meta === undefined ? { role, content } : { role, content, meta };
const post = (text: string) => [{ role: 'user' as const, content: text }];

const DETOXIFY = { toxicity: 0.0004, insult: 0.0002 };
const LABELS = { quality: { value: 0.75, count: 3 }, humor: { value: 0, count: 2 } };
const reply = (id: string, text: string, rank: number | undefined, more: object = {}) => ({
  ...{ message_id: id, parent_id: 'm1', text, role: 'assistant', lang: 'en', review_count: 3, review_result: true },
  ...{ deleted: false, ...(rank === undefined ? {} : { rank }), synthetic: false, emojis: { '+1': 2 }, labels: LABELS },
  ...more,
  replies: [] as object[],
});

export const TREE = {
  message_tree_id: 'm1',
  tree_state: 'ready_for_export',
  origin: 'unknown field of the tree',
  prompt: {
    ...{ message_id: 'm1', user_id: 'u', created_date: '2023-02-05T14:23:50Z', text: 'Why is the sky blue?' },
    ...{ role: 'prompter', lang: 'en', review_count: 3, review_result: true, deleted: false, detoxify: DETOXIFY },
    labels: LABELS,
    future: { unknown: [1, null] },
    replies: [
      {
        ...reply('m2', 'Rayleigh.', 0),
        replies: [{ ...reply('m4', 'Who?', undefined, { parent_id: 'm2', role: 'prompter' }) }],
      },
      reply('m3', 'Blue paint.', 1),
      reply('m5', 'Deleted.', 2, { deleted: true }),
    ],
  },
};
/** The messages of the tree, one by one; a child stands before its parent. */
export const MESSAGES = (() => {
  const { message_tree_id, tree_state, origin } = TREE;
  const shared = { message_tree_id, tree_state };
  const plain = ({ replies: _, ...node }: { replies: unknown[] }) => ({ ...node, ...shared });
  const [m2, m3, m5] = TREE.prompt.replies as [{ replies: { replies: unknown[] }[] }, object, object];
  const root = { ...plain(TREE.prompt), tree: { origin } };
  return [m2.replies[0] as { replies: unknown[] }, root, m2, m3 as never, m5 as never].map((node, i) =>
    i === 1 ? node : plain(node as { replies: unknown[] }),
  ) as object[];
})();

export interface Example {
  form: string;
  records: object[];
  /** The first row, or a part of it. */
  row: Partial<FormRow>;
  /** The kinds of all rows. */
  kinds: FormRow['kind'][];
  /** The form that its rows are written in, where that is not the form of the record. */
  written?: string;
}

const hh = '\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Why?\n\nAssistant:';
const STEP = { human_completion: null, chosen_completion: 0 };

export const EXAMPLES: Example[] = [
  {
    form: 'openai-preference',
    records: [
      {
        input: { messages: [user('Hi')], tools: [], parallel_tool_calls: true },
        preferred_output: [assistant('Hello.')],
        non_preferred_output: [assistant('No.')],
      },
    ],
    row: {
      ...{ kind: 'pair', prompt: [turn('user', 'Hi')], chosen: 'Hello.', rejected: 'No.' },
      meta: { input: { tools: [], parallel_tool_calls: true } },
    },
    kinds: ['pair'],
    written: 'preference',
  },
  {
    form: 'oasst-trees',
    records: [TREE],
    row: { kind: 'ranking', responses: ['Rayleigh.', 'Blue paint.'], rank: [0, 1] },
    kinds: ['ranking', 'prompt', 'turns'],
  },
  {
    form: 'oasst-messages',
    records: MESSAGES,
    row: { kind: 'ranking', responses: ['Rayleigh.', 'Blue paint.'], rank: [0, 1] },
    kinds: ['ranking', 'prompt', 'turns'],
  },
  {
    form: 'oasst-threads',
    records: [{ thread_id: 't', thread: [TREE.prompt, TREE.prompt.replies[1]] }],
    row: { kind: 'turns', meta: { thread_id: 't' } },
    kinds: ['turns'],
    written: 'messages',
  },
  {
    form: 'prm800k',
    records: [
      {
        question: { problem: '2 + 2?', ground_truth_answer: '4' },
        label: {
          steps: [
            { ...STEP, completions: [{ text: 'Add.', rating: 1 }] },
            { completions: [{ text: 'x', rating: -1 }], human_completion: { text: 'So 4.' }, chosen_completion: null },
            { ...STEP, completions: [{ text: 'Hm.', rating: 0 }] },
            { ...STEP, completions: [{ text: 'So 5.', rating: -1 }] },
            { ...STEP, completions: [{ text: 'Never read.', rating: 1 }] },
          ],
          finish_reason: 'found_error',
        },
        is_quality_control_question: false,
      },
    ],
    row: {
      kind: 'steps',
      prompt: post('2 + 2?'),
      steps: [
        { text: 'Add.', good: true },
        { text: 'So 4.', good: true },
        { text: 'Hm.', good: null },
        { text: 'So 5.', good: false },
      ],
    },
    kinds: ['steps'],
    written: 'stepwise',
  },
  {
    form: 'stepwise',
    records: [{ prompt: '2 + 2?', completions: ['Add.', 'So 5.'], labels: [true, false], id: 7 }],
    row: {
      ...{ kind: 'steps', prompt: '2 + 2?', meta: { id: 7 } },
      steps: [
        { text: 'Add.', good: true },
        { text: 'So 5.', good: false },
      ],
    },
    kinds: ['steps'],
  },
  {
    form: 'ranking',
    records: [
      { prompt: 'Q', responses: ['a', 'b', 'c'], ranking: [1, 0, 1], none_good: true, annotator: 'ann', id: 1 },
    ],
    row: {
      kind: 'ranking',
      responses: ['a', 'b', 'c'],
      rank: [1, 0, 1],
      noneGood: true,
      annotator: 'ann',
      meta: { id: 1 },
    },
    kinds: ['ranking'],
  },
  {
    form: 'rating',
    records: [{ prompt: 'Q', response: 'a', ratings: { tone: 3, sense: 4.5 }, scale: [1, 5], by: 'x' }],
    row: { kind: 'rating', response: 'a', ratings: { tone: 3, sense: 4.5 }, scale: [1, 5], meta: { by: 'x' } },
    kinds: ['rating'],
  },
  {
    form: 'one-rating',
    records: [{ prompt: 'Q', response: 'a', rating: 4, scale: [1, 5], by: 'x' }],
    row: { kind: 'rating', response: 'a', ratings: { rating: 4 }, scale: [1, 5], meta: { by: 'x' } },
    kinds: ['rating'],
    written: 'rating',
  },
  {
    form: 'ultrafeedback',
    records: [
      {
        ...{ source: 'evol', instruction: 'Sing.', models: ['a', 'b'] },
        completions: [
          {
            ...{ model: 'a', response: 'La.', overall_score: 8 },
            annotations: {
              helpfulness: { Rating: '4', Type: ['1'] },
              honesty: [{ Rating: '5' }],
              truthfulness: { Rating: 'N/A' },
            },
          },
          { model: 'b', response: 'No.', overall_score: 10, annotations: { helpfulness: { Rating: '1' } } },
        ],
      },
    ],
    row: {
      kind: 'rating',
      prompt: post('Sing.'),
      response: 'La.',
      ratings: { helpfulness: 4, honesty: 5 },
      scale: [1, 5],
    },
    kinds: ['rating', 'rating'],
    written: 'rating',
  },
  {
    form: 'conversational-preference',
    records: [
      {
        ...{
          prompt: 'Hi',
          prompt_id: 'p',
          score_chosen: 8,
          score_rejected: 5.5,
          messages: [user('Hi'), assistant('Hello.')],
        },
        ...{ chosen: [user('Hi'), assistant('Hello.')], rejected: [user('Hi'), assistant('No.')] },
      },
    ],
    row: { kind: 'pair', prompt: [turn('user', 'Hi')], chosen: 'Hello.', rejected: 'No.', margin: 2.5 },
    kinds: ['pair'],
    written: 'preference',
  },
  {
    form: 'preference',
    records: [{ prompt: 'Q', chosen: ' yes', rejected: ' no', margin: 2, confidence: 0.5, annotator: 'ann', id: 'x' }],
    row: {
      ...{ kind: 'pair', prompt: 'Q', chosen: ' yes', rejected: ' no' },
      ...{ margin: 2, confidence: 0.5, annotator: 'ann', meta: { id: 'x' } },
    },
    kinds: ['pair'],
  },
  {
    form: 'hh-rlhf',
    records: [{ chosen: `${hh} A.`, rejected: `${hh} B.`, source: 's' }],
    row: { kind: 'pair', prompt: hh, chosen: ' A.', rejected: ' B.', meta: { source: 's' } },
    kinds: ['pair'],
    written: 'preference',
  },
  {
    form: 'implicit-preference',
    records: [{ chosen: 'I like cats', rejected: 'I like cars' }],
    row: { kind: 'pair', prompt: 'I like', chosen: ' cats', rejected: ' cars' },
    kinds: ['pair'],
    written: 'preference',
  },
  {
    form: 'shp',
    records: [
      {
        ...{ post_id: 'p', domain: 'askbaking', history: 'Eggs?', human_ref_A: 'One.', human_ref_B: 'Two.', labels: 0 },
        ...{ score_A: 2, score_B: 8, score_ratio: 4 },
      },
    ],
    row: { kind: 'pair', prompt: post('Eggs?'), chosen: 'Two.', rejected: 'One.', margin: Math.log(4) },
    kinds: ['pair'],
    written: 'preference',
  },
  {
    form: 'helpsteer2-preference',
    records: [{ split: 'train', prompt: 'Q', response_1: 'a', response_2: 'b', preference_strength: -2 }],
    row: { kind: 'pair', prompt: post('Q'), chosen: 'a', rejected: 'b', margin: 2, meta: { split: 'train' } },
    kinds: ['pair'],
    written: 'preference',
  },
  {
    form: 'helpsteer3',
    records: [
      {
        ...{ domain: 'code', context: [user('Q')], response1: 'a', response2: 'b', overall_preference: 3 },
        individual_preference: [{ score: 3, reasoning: 'r' }],
      },
    ],
    row: { kind: 'pair', prompt: [turn('user', 'Q')], chosen: 'b', rejected: 'a', margin: 3 },
    kinds: ['pair'],
    written: 'preference',
  },
  {
    form: 'helpsteer',
    records: [
      { prompt: 'Q', response: 'a', helpfulness: 4, correctness: 3, coherence: 4, complexity: 1, verbosity: 2 },
    ],
    row: {
      ...{ kind: 'rating', prompt: post('Q'), response: 'a', scale: [0, 4] },
      ratings: { helpfulness: 4, correctness: 3, coherence: 4, complexity: 1, verbosity: 2 },
    },
    kinds: ['rating'],
    written: 'rating',
  },
  {
    form: 'summarize-from-feedback',
    records: [
      {
        ...{ info: { id: 'i', post: 'Long.', title: 'T', subreddit: 'r' }, choice: 1, worker: 'w', batch: 'b' },
        ...{ summaries: [{ text: ' Bad.', policy: 'p' }, { text: ' Good.' }], extra: { confidence: 7 } },
      },
    ],
    row: {
      ...{ kind: 'pair', prompt: 'SUBREDDIT: r/r\nTITLE: T\nPOST: Long.\nTL;DR:', chosen: ' Good.', rejected: ' Bad.' },
      ...{ confidence: 7, annotator: 'w' },
    },
    kinds: ['pair'],
    written: 'preference',
  },
  {
    form: 'unpaired',
    records: [{ prompt: [user('Q')], completion: [assistant('a')], label: true, id: 3 }],
    row: { kind: 'label', prompt: [turn('user', 'Q')], response: 'a', good: true, meta: { id: 3 } },
    kinds: ['label'],
  },
  {
    form: 'prompt-completion',
    records: [{ prompt: 'Q', completion: ' a', weight: 0.5, reward: -1, id: 3 }],
    row: { kind: 'completion', prompt: 'Q', response: ' a', weight: 0.5, reward: -1, meta: { id: 3 } },
    kinds: ['completion'],
  },
  {
    form: 'messages',
    records: [
      {
        messages: [
          { role: 'system', content: 'Be brief.' },
          user('Hi'),
          { ...assistant('Yes?'), weight: 0 },
          user('Bye'),
          assistant('Bye.'),
        ],
        tools: [{ name: 'f' }],
        id: 9,
      },
    ],
    row: {
      kind: 'turns',
      turns: [
        turn('system', 'Be brief.'),
        turn('user', 'Hi'),
        { role: 'assistant', content: 'Yes?', train: false },
        turn('user', 'Bye'),
        turn('assistant', 'Bye.'),
      ],
      tools: [{ name: 'f' }],
      meta: { id: 9 },
    },
    kinds: ['turns'],
  },
  {
    form: 'sharegpt',
    records: [
      {
        system: 'Be brief.',
        conversations: [
          { from: 'human', value: 'Weather?' },
          { from: 'function_call', value: '{"name":"w"}' },
          { from: 'observation', value: 'rain' },
          { from: 'gpt', value: 'Rain.' },
        ],
      },
    ],
    row: {
      kind: 'turns',
      turns: [
        turn('system', 'Be brief.'),
        turn('user', 'Weather?'),
        turn('assistant', '{"name":"w"}', { from: 'function_call' }),
        turn('tool', 'rain', { from: 'observation' }),
        turn('assistant', 'Rain.'),
      ],
    },
    kinds: ['turns'],
    written: 'messages',
  },
  {
    form: 'alpaca',
    records: [{ instruction: 'Add.', input: '2, 2', output: '4', id: 1 }],
    row: {
      kind: 'completion',
      prompt:
        'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n2, 2\n\n### Response:',
      response: '4',
      meta: { id: 1 },
    },
    kinds: ['completion'],
    written: 'prompt-completion',
  },
  {
    form: 'prompt',
    records: [{ prompt: 'Q', answer: '42' }],
    row: { kind: 'prompt', prompt: 'Q', meta: { answer: '42' } },
    kinds: ['prompt'],
  },
  {
    form: 'text',
    records: [{ text: 'To be.', author: 'W' }],
    row: { kind: 'text', text: 'To be.', meta: { author: 'W' } },
    kinds: ['text'],
  },
];
