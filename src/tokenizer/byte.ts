import { checkKind, TEXT } from '../checks/kinds.ts';
import { checkTokens, type Tokenizer, type TokenizerDescription } from './tokenizer.ts';

/** UTF-8 bytes as tokens 0 to 255, plus eos (256) and padding (257). Needs no file and encodes any text. */
export class ByteTokenizer implements Tokenizer {
  readonly vocabSize = 258;
  readonly eosToken = 256;
  readonly padToken = 257;
  readonly hash = 'byte';

  encode(text: string): number[] {
    checkKind('text', text, TEXT);
    return Array.from(Buffer.from(text, 'utf8'));
  }

  decode(tokens: Iterable<number>): string {
    const bytes = checkTokens(tokens, this.vocabSize).filter((token) => token < 256);
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  }

  describe(): TokenizerDescription {
    return { type: 'byte' };
  }
}
