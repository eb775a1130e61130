/** A small Hugging Face folder with a tokenizer of characters and a chat template. */
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const TEMPLATE =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
export const SPECIAL = ['<|im_start|>', '<|im_end|>', '<stop>'];

/** The recorded llama of 71 rows, with a tokenizer of characters: a token each, and a few special ones. */
export function outsideModel(place: string, characters: string): string {
  cpSync(join(import.meta.dirname, 'parity/families/cases/llama'), place, { recursive: true });
  const tokens = [...SPECIAL, ...characters];
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const json = {
    version: '1.0',
    added_tokens: SPECIAL.map((content, id) => ({ id, content, ...plain })),
    decoder: { type: 'Fuse' },
    model: {
      type: 'BPE',
      unk_token: '?',
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [],
    },
  };
  writeFileSync(join(place, 'tokenizer.json'), JSON.stringify(json));
  writeFileSync(join(place, 'tokenizer_config.json'), '{"eos_token":"<|im_end|>","pad_token":"<|im_end|>"}');
  writeFileSync(join(place, 'chat_template.jinja'), TEMPLATE);
  writeFileSync(join(place, 'generation_config.json'), '{"eos_token_id":[1,2]}');
  return place;
}

export const LETTERS = 'abcdefghijklmnopqrstuvwxyz \n.?';
