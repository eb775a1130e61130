/** Chat templates give the texts and spans of transformers, recorded by test/fixtures/chat-templates/record.py. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { DataError, FileError, type PalmError } from '../../src/errors.ts';
import type { ChatMessage } from '../../src/tokenizer/chat/messages.ts';
import { ChatTemplate } from '../../src/tokenizer/chat-template.ts';

const fixtures = new URL('../fixtures/chat-templates/', import.meta.url);
const json = (name: string) => {
  const bytes = readFileSync(new URL(name, fixtures));
  return JSON.parse((name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString());
};

interface Conversation {
  name: string;
  messages: ChatMessage[];
  tools?: unknown[];
}
interface Rendering {
  template: string;
  conversation: string;
  prompt: boolean;
  text?: string;
  refused?: string;
  spans?: [number, number][];
}
const templates = json('templates.json.gz') as Record<string, string>;
const conversations = new Map((json('conversations.json') as Conversation[]).map((each) => [each.name, each]));
const { now, variables, renderings } = json('renderings.json.gz') as {
  now: string;
  variables: Record<string, string>;
  renderings: Rendering[];
};
const options = { specialTokens: variables, date: new Date(now) };
const open = (name: string) => new ChatTemplate(templates[name] as string, { name, ...options });
const of = (name: string) => renderings.filter(({ template }) => template === name);
const conversationOf = ({ conversation }: Rendering) => conversations.get(conversation) as Conversation;

const caught = (promise: Promise<unknown>) => promise.catch((error: unknown) => error) as Promise<PalmError>;
/** Python does not join a text and an object; the JavaScript library does. */
const JOINED = /can only concatenate str \(not "dict"\) to str/;

describe.each(Object.keys(templates))('%s', (name) => {
  const template = open(name);

  it('renders what transformers renders, and refuses what it refuses', async () => {
    for (const rendering of of(name)) {
      const { messages, tools } = conversationOf(rendering);
      const text = caught(
        template.render(messages, { tools, addGenerationPrompt: rendering.prompt }) as Promise<unknown>,
      );
      if (rendering.text !== undefined) expect(await text).toBe(rendering.text);
      else if (!JOINED.test(rendering.refused as string)) expect(await text).toBeInstanceOf(DataError);
    }
  });

  it('has the spans that transformers finds, or says why it has none', async () => {
    const rule = await caught(template.spanRule() as Promise<never>);
    if (/\{%-?\s*generation/.test(template.source)) expect(rule).toBe('tags');
    for (const rendering of of(name)) {
      const { messages, tools } = conversationOf(rendering);
      if (rendering.prompt || rendering.text === undefined) continue;
      const found = await caught(template.spans(messages, { tools }) as Promise<never>);
      if (rendering.spans !== undefined) {
        const spans = rendering.spans.map(([begin, end]) => ({ begin, end }));
        expect(found).toEqual({ text: rendering.text, spans });
      } else if (found instanceof Error) expect(found).toBeInstanceOf(FileError);
      else expect(found).toHaveProperty('text', rendering.text);
    }
  });
});

it('are enough, of all kinds', () => {
  expect(Object.keys(templates).length).toBeGreaterThanOrEqual(67);
  expect(renderings.filter(({ text }) => text !== undefined).length).toBeGreaterThan(700);
  expect(renderings.filter(({ spans }) => spans !== undefined).length).toBeGreaterThan(150);
});

const HI: ChatMessage[] = [
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: ' Hello!\n' },
];
const TALK: ChatMessage[] = [...HI, { role: 'user', content: 'Why?' }, { role: 'assistant', content: 'So.' }];

describe('what the assistant wrote', () => {
  const written = async (template: ChatTemplate, messages: ChatMessage[]) => {
    const { text, spans } = await template.spans(messages);
    return spans.map(({ begin, end }) => text.slice(begin, end));
  };

  it.each([
    ['smollm2', 'prefixes', [' Hello!\n<|im_end|>', 'So.<|im_end|>']],
    ['qwen2_5', 'prefixes', [' Hello!\n<|im_end|>', 'So.<|im_end|>']],
    ['llama3', 'prefixes', ['Hello!<|eot_id|>', 'So.<|eot_id|>']],
    ['gemma3', 'prefixes', ['Hello!<end_of_turn>', 'So.<end_of_turn>']],
    ['qwen3', 'known template', [' Hello!\n<|im_end|>', '<think>\n\n</think>\n\nSo.<|im_end|>']],
    ['qwen3_training', 'tags', undefined],
  ])('%s: is found by %s', async (name, rule, answers) => {
    const template = open(name);
    expect(await template.spanRule()).toBe(rule);
    if (answers !== undefined) expect(await written(template, TALK)).toEqual(answers);
  });

  it('has the white space that the marks of the tags leave', async () => {
    const assistant =
      'A \n{%- generation -%}\n {{ m.content }} \n  {% endgeneration %}\n B {% generation %}C{% endgeneration %} D';
    const template = new ChatTemplate(`{% for m in messages if m.role == "assistant" %}${assistant}{% endfor %}`);
    const { text, spans } = await template.spans(HI);
    expect(text).toBe(await template.render(HI));
    expect(text).toBe('A Hello!\n \n B C D');
    expect(spans.map(({ begin, end }) => text.slice(begin, end))).toEqual([' Hello!\n \n', 'C']);
  });

  it.each([
    [
      'drops earlier answers',
      '{% for m in messages[-2:] %}<{{ m.role }}>{{ m.content }}{% endfor %}',
      /messages after it change/,
    ],
    [
      'has no generation prompt',
      '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}',
      /does not begin with/,
    ],
    [
      'leaves answers out',
      '{% for m in messages %}{% if m.role == "user" %}{{ m.content }}{% endif %}{% endfor %}',
      /does not begin/,
    ],
    [
      'tags the question',
      '{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{{ m.content }}{% endfor %}',
      /does not contain/,
    ],
    [
      'changes with the tags',
      '{% set x %}{% generation %}{{ messages[-1].content }}{% endgeneration %}{% endset %}{{ x | length }}',
      /is another/,
    ],
    ['refuses everything', '{{ raise_exception("never") }}', /it refuses a question with its answer: .*never/],
  ])('is refused where a template %s', async (_, source, message) => {
    const template = new ChatTemplate(source, { name: 'odd.jinja' });
    const error = await caught(template.spans(TALK) as Promise<never>);
    expect(error).toBeInstanceOf(FileError);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^odd\.jinja: got a template that does not tell what the assistant wrote/);
  });

  it('is refused for a conversation whose earlier text changes', async () => {
    const source =
      '{% for m in messages %}<{{ m.role }}>{% if loop.last or "old" not in m.content %}{{ m.content }}{% endif %}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}';
    const template = new ChatTemplate(source);
    expect(await written(template, TALK)).toEqual([' Hello!\n</>', 'So.</>']);
    const messages = TALK.map((message, i) => (i === 1 ? { ...message, content: 'old' } : message));
    const error = await caught(template.spans(messages) as Promise<never>);
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(/messages\[1\]: got an answer that cannot be told from the rest of the text/);
  });

  it('is never marked in a text that has the marks', async () => {
    const messages = [HI[0] as ChatMessage, { role: 'assistant', content: 'a\ufdd0b' }];
    expect(await open('smollm2').render(messages)).toContain('a\ufdd0b');
    expect(await caught(open('qwen3').spans(messages) as Promise<never>)).toBeInstanceOf(DataError);
  });
});

describe('what Python gives a template', () => {
  const render = (source: string, messages: ChatMessage[] = HI, more = {}) =>
    new ChatTemplate(source, options).render(messages, more);

  it.each([
    [
      'strip of characters',
      '{{ "xx a xx".strip("x") }}|{{ "\\n\\n  a".lstrip("\\n") }}|{{ "ab".rstrip("ba") }}|',
      ' a |  a||',
    ],
    ['strip by subscript, in a macro', '{% macro f(x) %}{{ x["lstrip"]("a") }}{% endmacro %}{{ f("aab") }}', 'b'],
    ["Python's white space", '{{ "\x1f\ufeffa\x85" | trim }}', '\ufeffa'],
    ['the date', '{{ strftime_now("%d %b %Y, %A %I:%M %p") }}', '04 Mar 2025, Tuesday 05:06 AM'],
    ['newlines', '{{ "a" }}\r\nb\rc', 'a\nb\nc'],
    ['special tokens', '{{ bos_token }}{{ eos_token }}', '<s></s>'],
    ['nothing for what is null', '{{ messages[0].tool_calls is defined }}{{ tools is none }}', 'falsetrue'],
    ['the text of a message, not its weight', '{{ messages[0].train is defined }}', 'false'],
  ])('%s', async (_, source, text) => {
    const messages = [{ role: 'user', content: 'Hi', tool_calls: null, train: false }];
    expect(await render(source, messages)).toBe(text);
  });

  it('reasoning under each of its names, and variables of the caller', async () => {
    const source = '{{ messages[0].reasoning_content }}{{ messages[0].thinking }}{{ enable_thinking }}';
    const message = { role: 'assistant', content: '', reasoning: 'why ' };
    expect(await render(source, [message], { variables: { enable_thinking: 'no' } })).toBe('why why no');
  });

  it('a date that stays the same if none is given', async () => {
    expect(await new ChatTemplate('{{ strftime_now("%Y-%m-%d") }}').render(HI)).toBe('2024-07-26');
  });
});

describe('a template is code from a file', () => {
  const twice = (times: number) => '{% set s = s ~ s %}'.repeat(times);
  it.each<[string, string, RegExp, typeof FileError]>([
    ['that is no template', '{% if %}', /no Jinja template/, FileError],
    ['of a million brackets', `{{ ${'('.repeat(900_000)} }}`, /no Jinja template|more than/, FileError],
    ['that is too long', 'a'.repeat(1_000_001), /a template of 1000001 characters/, FileError],
    ['with range(1e9)', '{% for i in range(1000000000) %}{% endfor %}', /range of 1000000000 numbers/, DataError],
    ['with a range of nothing', '{{ range(0, 5, 0) }}', /range of/, DataError],
    [
      'that recurses',
      '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}',
      /a recursion without end|Cannot call/,
      DataError,
    ],
    ['that repeats a text', '{{ "x" * 1000000000 }}', /Unknown operator/, DataError],
    ['that doubles a text', `{% set s = "x" %}${twice(26)}{{ s }}`, /a text of 67108864 characters/, FileError],
    [
      'that copies a doubled text',
      `{% set s = "xy" %}${twice(27)}{{ s | upper | length }}`,
      /MiB of memory/,
      FileError,
    ],
    [
      'that writes on and on',
      '{% for i in range(1000) %}{{ "x" | indent(9000, true) }}{% endfor %}',
      /a text of/,
      FileError,
    ],
    [
      'that computes on and on',
      `${'{% for i in range(100000) %}'.repeat(4)}${'{% endfor %}'.repeat(4)}`,
      /processor time|MiB/,
      FileError,
    ],
    ['that raises', '{{ raise_exception("not <so>") }}', /which it refuses: not <so>/, DataError],
    [
      'that calls a constructor',
      '{{ messages.constructor.constructor("return process")() }}',
      /Cannot call something/,
      DataError,
    ],
    ['that calls one of a function', '{{ range.constructor("return process")() }}', /Cannot call something/, DataError],
    ['with an unknown directive', '{{ strftime_now("%Q") }}', /the directive %Q of strftime/, DataError],
  ])('%s', { timeout: 60_000 }, async (_, source, message, type) => {
    const error = await caught(
      (async () => await new ChatTemplate(source, { name: 'hostile' }).render(HI))() as Promise<never>,
    );
    expect(error).toBeInstanceOf(type);
    expect(error.message).toMatch(message);
    expect(await new ChatTemplate('{{ messages[0].content }}').render(HI)).toBe('Hi');
  });

  it('sees plain copies, whatever their keys are called', async () => {
    const message = JSON.parse('{"role":"user","__proto__":{"polluted":1},"constructor":"c"}') as ChatMessage;
    const source =
      '{{ messages[0].constructor }}{{ messages[0].__proto__.polluted }}{{ messages[0].toString is defined }}';
    expect(await new ChatTemplate(source).render([message])).toBe('c1false');
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it('fails alone: others at the same time are rendered', async () => {
    const good = open('smollm2');
    const bad = new ChatTemplate(`{% set s = "xy" %}${twice(27)}{{ s | upper | length }}`);
    const all = await Promise.all([
      good.render(HI),
      caught(bad.render(HI) as Promise<never>),
      good.render(HI),
      good.render(TALK),
    ]);
    expect(all[1]).toBeInstanceOf(FileError);
    expect(all[2]).toBe(all[0]);
    expect(all[3]).toContain('Why?');
  });

  it('gets messages, or an error that says what they are', async () => {
    const template = open('smollm2');
    const cycle: ChatMessage = { role: 'user' };
    cycle.self = cycle;
    for (const [messages, message] of [
      ['Hi', /messages: got "Hi", expected a list of messages/],
      [[{ content: 'Hi' }], /messages\[0\]: got an object, expected an object with "role"/],
      [[cycle], /data that JSON cannot hold/],
    ] as const) {
      expect((await caught(template.render(messages as never) as Promise<never>)).message).toMatch(message);
    }
  });
});
