"""TRL's GRPO with generation by transformers, a function as the reward, and a reference model."""

import os
import time

import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TrainerCallback

from llama import build
from worker import read_tokens, serve


class Clock(TrainerCallback):
    """Wall time from the begin of the first step to the end of the last: building the trainer is not an iteration."""

    def on_train_begin(self, args, state, control, **_):
        self.began = None

    def on_step_begin(self, args, state, control, **_):
        self.began = self.began or time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        self.seconds = time.perf_counter() - self.began


def tokenizer(size):
    """Token number n is the word `n`."""
    words = Tokenizer(models.WordLevel({str(token): token for token in range(size)}, unk_token='0'))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token='0', eos_token='0', unk_token='0')


def score(completion_ids, **_):
    """Share of the lower half of the vocabulary, as in every system."""
    return [sum(token < 128 for token in tokens) / len(tokens) for tokens in completion_ids]


def ppo(workload):
    """An iteration: answers to all prompts, then one epoch over them."""
    prompts = read_tokens(workload, workload['prompts'], workload['promptLength'])[0].tolist()
    count = workload['newTokens']
    args = trl.GRPOConfig(
        output_dir=workload['folder'],
        per_device_train_batch_size=workload['minibatch'],
        generation_batch_size=workload['prompts'],
        num_generations=2,
        max_completion_length=count,
        generation_kwargs={'min_new_tokens': count},
        beta=0.05,
        learning_rate=1e-4,
        max_steps=workload['prompts'] // workload['minibatch'],
        bf16=workload['mode'] == 'bfloat16',
        gradient_checkpointing=False,
        model_init_kwargs={'dtype': 'float32'},
        use_cpu=workload['device'] == 'cpu',
        report_to=[],
        save_strategy='no',
        logging_strategy='no',
        disable_tqdm=True,
    )
    clock = Clock()
    path = os.path.join(workload['folder'], 'llama')  # the trainer reads its reference model from there
    build(workload, 'float32').save_pretrained(path)
    trainer = trl.GRPOTrainer(
        path,
        reward_funcs=score,
        args=args,
        train_dataset=Dataset.from_dict({'prompt': [' '.join(map(str, prompt)) for prompt in prompts]}),
        processing_class=tokenizer(workload['model']['numTokens']),
        callbacks=[clock],
    )

    def run():
        trainer.train()
        return {'samples': workload['prompts'], 'seconds': clock.seconds}

    run()
    return {}, run


serve({'ppo': ppo}, lambda: {'trl': trl.__version__, 'torch': torch.__version__})
