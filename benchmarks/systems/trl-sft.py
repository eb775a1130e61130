"""TRL's supervised fine-tuning of adapters, as it comes: peft, bfloat16, its own batches of rows that are as long as ours."""

import time

import peft
import torch
import trl
from datasets import Dataset

from llama import build
from words import tokenizer
from worker import read_tokens, serve


def train(workload):
    """Steps of next-token training, which one call of the trainer takes."""
    rows = torch.cat(list(read_tokens(workload, workload['batch'], workload['length'])[:64])).tolist()
    rank = workload['lora']
    args = trl.SFTConfig(
        output_dir=workload['folder'],
        per_device_train_batch_size=workload['batch'],
        max_length=workload['length'],
        max_steps=workload['steps'],
        learning_rate=workload['lr'],
        bf16=workload['mode'] == 'bfloat16',
        use_cpu=True,
        report_to=[],
        save_strategy='no',
        logging_strategy='no',
        disable_tqdm=True,
    )
    trainer = trl.SFTTrainer(
        build(workload, workload['mode']),
        args=args,
        train_dataset=Dataset.from_dict({'input_ids': rows}),
        processing_class=tokenizer(workload['model']['numTokens']),
        peft_config=peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules='all-linear', task_type='CAUSAL_LM'),
    )

    def run():
        began = time.perf_counter()
        trainer.train()
        return {'steps': workload['steps'], 'seconds': time.perf_counter() - began}

    run()
    return {}, run


serve({'train': train}, lambda: {'trl': trl.__version__, 'torch': torch.__version__})
