"""A tokenizer for systems that insist on one: token number n is the word `n`."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def tokenizer(size):
    words = Tokenizer(models.WordLevel({str(token): token for token in range(size)}, unk_token='0'))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token='0', eos_token='0', unk_token='0')
