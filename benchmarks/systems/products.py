"""The matrix products of a training step alone, without all that surrounds them: the same shapes, in PyTorch's own products."""

import torch

from worker import serve


def shapes(model):
    """[out, in] of every matrix, layer by layer, and of the head; a PaLM unless the workload says otherwise."""
    dim, head = model['dim'], model['dimHead']
    ff, kv_heads = model.get('ff', 4 * dim), model.get('kvHeads', 1)
    queries = model['heads'] * head
    layer = [(queries + 2 * kv_heads * head, dim), (2 * ff, dim), (dim, queries), (dim, ff)]
    return layer * model['depth'] + [(model['numTokens'], dim)]


def train(workload):
    """Forward and backward products of every matrix; adapters train none of these matrices."""
    placed = {'dtype': getattr(torch, workload['mode']), 'device': workload['device']}
    rows = workload['batch'] * workload['length']
    matrices = [torch.randn(shape, **placed) for shape in shapes(workload['model'])]
    widths = {width for matrix in matrices for width in matrix.shape}
    states = {width: torch.randn(rows, width, **placed) for width in widths}

    def step():
        for matrix in matrices:
            torch.mm(states[matrix.size(1)], matrix.t())
        for matrix in reversed(matrices):
            torch.mm(states[matrix.size(0)], matrix)
            if 'lora' not in workload:
                torch.mm(states[matrix.size(0)].t(), states[matrix.size(1)])

    def run():
        for _ in range(workload['steps']):
            step()
        return {'steps': workload['steps']}

    run()
    return {}, run


serve({'train': train}, lambda: {'torch': torch.__version__})
