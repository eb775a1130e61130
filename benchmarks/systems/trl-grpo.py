"""TRL's GRPO with generation by transformers, a function as the reward, and a reference model."""

import os
import time

import torch
import trl
from datasets import Dataset
from transformers import TrainerCallback

from llama import build
from words import tokenizer
from worker import read_tokens, serve


class Clock(TrainerCallback):
    """Wall time from the begin of the first step to the end of the last: building the trainer is not an iteration."""

    def on_train_begin(self, args, state, control, **_):
        self.began = None

    def on_step_begin(self, args, state, control, **_):
        self.began = self.began or time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        self.seconds = time.perf_counter() - self.began


def score(completion_ids, **_):
    """Share of the lower half of the vocabulary, as in every system."""
    return [sum(token < 128 for token in tokens) / len(tokens) for tokens in completion_ids]


def ppo(workload):
    """An iteration: two answers to half of the prompts, then one epoch over them."""
    return iterations(workload, prompts=workload['prompts'] // 2, group=2, kl_weight=0.05)


def grpo(workload):
    """An iteration: a group of answers to each prompt, then one epoch over them."""
    return iterations(workload, workload['prompts'], workload['group'], workload['klWeight'])


def iterations(workload, prompts, group, kl_weight):
    rows = read_tokens(workload, prompts, workload['promptLength'])[0].tolist()
    count, answers = workload['newTokens'], prompts * group
    args = trl.GRPOConfig(
        output_dir=workload['folder'],
        per_device_train_batch_size=workload['minibatch'],
        generation_batch_size=answers,
        num_generations=group,
        max_completion_length=count,
        generation_kwargs={'min_new_tokens': count},
        beta=kl_weight,
        learning_rate=1e-4,
        max_steps=answers // workload['minibatch'],
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
    path = os.path.join(workload['folder'], 'trl')  # the trainer reads its reference model from there
    build(workload, 'float32').save_pretrained(path)
    trainer = trl.GRPOTrainer(
        path,
        reward_funcs=score,
        args=args,
        train_dataset=Dataset.from_dict({'prompt': [' '.join(map(str, row)) for row in rows]}),
        processing_class=tokenizer(workload['model']['numTokens']),
        callbacks=[clock],
    )

    def run():
        trainer.train()
        return {'samples': answers, 'seconds': clock.seconds}

    run()
    return {}, run


serve({'ppo': ppo, 'grpo': grpo}, lambda: {'trl': trl.__version__, 'torch': torch.__version__})
