/** Every field of a request is honoured or refused by its name; nothing is dropped. */
import { describe, expect, it } from 'vitest';
import { ApiError } from '../../src/web/api-error.ts';
import { chatFields, completionFields } from '../../src/serve/fields.ts';

const CHAT = { model: 'm', messages: [{ role: 'user', content: 'Hi' }] };
const COMPLETION = { model: 'm', prompt: 'Hi' };

function refusal(call: () => unknown): ApiError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(ApiError);
    return error as ApiError;
  }
  return expect.unreachable();
}

describe('fields that are honoured', () => {
  it.each([
    [{ max_tokens: 5, n: 8, temperature: 0, top_p: 1, seed: -7, stop: 'x', user: 'u' }],
    [{ stop: ['a', 'b', 'c', 'd'], frequency_penalty: -2, presence_penalty: 2, logit_bias: { 5: -100, 7: 100 } }],
    [{ stream: true, stream_options: { include_usage: true, include_obfuscation: false } }],
    [{ top_k: -1, min_p: 0, repetition_penalty: 1.1, ignore_eos: true, min_tokens: 3, stop_token_ids: [1] }],
  ])('%j', (fields) => {
    expect(chatFields({ ...CHAT, ...fields }, false)).toEqual({ ...CHAT, ...fields });
    expect(completionFields({ ...COMPLETION, ...fields }, false)).toEqual({ ...COMPLETION, ...fields });
  });

  it.each([
    [
      chatFields,
      { ...CHAT, max_completion_tokens: 4, logprobs: true, top_logprobs: 20, response_format: { type: 'text' } },
    ],
    [chatFields, { ...CHAT, messages: [{ role: 'developer', content: [{ type: 'text', text: 'a' }], name: 'n' }] }],
    [completionFields, { ...COMPLETION, logprobs: 5, echo: true, best_of: 1 }],
    [completionFields, { ...COMPLETION, prompt: [1, 2] }],
    [completionFields, { ...COMPLETION, prompt: ['a', 'b'] }],
    [completionFields, { ...COMPLETION, prompt: [[1], [2, 3]] }],
  ])('%o of its own', (parse, body) => {
    expect(parse(body, false)).toEqual(body);
  });

  it('and those that mean nothing here are accepted, as is null for all', () => {
    const body = {
      ...CHAT,
      store: true,
      metadata: { a: 'b' },
      service_tier: 'auto',
      verbosity: 'low',
      tools: null,
      n: null,
    };
    expect(chatFields(body, false)).toEqual({ ...CHAT, n: null });
  });
});

describe('fields that are refused by name', () => {
  it.each([
    ['tools', []],
    ['functions', []],
    ['modalities', ['text']],
    ['audio', {}],
    ['prediction', {}],
    ['web_search_options', {}],
    ['temprature', 1],
  ])('%s of a chat', (name, value) => {
    const error = refusal(() => chatFields({ ...CHAT, [name]: value }, false));
    expect(error).toMatchObject({ status: 400, param: name, type: 'invalid_request_error' });
    expect(error.message).toContain(name);
    expect(error.body.error.code).toBe(name === 'temprature' ? 'unknown_parameter' : 'unsupported_parameter');
  });

  it('but not an unknown one where that is asked for, and never one that would change the answer', () => {
    expect(chatFields({ ...CHAT, temprature: 1 }, true)).toEqual(CHAT);
    expect(refusal(() => chatFields({ ...CHAT, tools: [] }, true)).param).toBe('tools');
  });

  it.each([
    ['temperature', 3],
    ['temperature', '1'],
    ['temperature', Number.NaN],
    ['top_p', 0],
    ['n', 9],
    ['n', 1.5],
    ['max_tokens', 0],
    ['stop', ['a', 'b', 'c', 'd', 'e']],
    ['stop', ''],
    ['stop', 'x'.repeat(65)],
    ['logit_bias', { a: 1 }],
    ['logit_bias', { 1: 101 }],
    ['logit_bias', Object.fromEntries(Array.from({ length: 301 }, (_, i) => [i, 1]))],
    ['stream_options', { include_use: true }],
    ['response_format', { type: 'json_schema' }],
    ['top_logprobs', 21],
    ['seed', 0.5],
    ['model', ''],
    ['messages', []],
    ['messages', [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }]],
    ['messages', [{ role: 'robot', content: 'x' }]],
    ['messages', [{ role: 'user' }]],
  ])('%s: %j', (name, value) => {
    const error = refusal(() => chatFields({ ...CHAT, [name]: value }, false));
    expect(error).toMatchObject({ status: 400, type: 'invalid_request_error' });
    expect(error.param?.split('.')[0]).toBe(name);
    expect(error.message).toContain(name);
  });

  it.each([
    ['prompt', []],
    ['prompt', [[]]],
    ['prompt', [-1]],
    ['prompt', Array.from({ length: 17 }, () => 'x')],
    ['best_of', 2],
    ['suffix', 'x'],
    ['logprobs', 6],
    ['messages', []],
  ])('%s: %j of a completion', (name, value) => {
    expect(refusal(() => completionFields({ ...COMPLETION, [name]: value }, false)).param?.split('.')[0]).toBe(name);
  });

  it.each([[null], [[]], ['x'], [1]])('a body that is no object: %j', (body) => {
    expect(refusal(() => chatFields(body, false)).message).toContain('JSON object');
  });
});
