"""What every Python system shares: one JSON object a line on stdin, one a line on stdout; the libraries print to stderr."""

import json
import os
import sys
import time

replies = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)


def serve(workloads, versions):
    """Answers {prepare: workload}, then {run: true} until stdin ends.

    `workloads[kind](workload)` gets everything ready, warms up and gives (facts about that, function that does one run
    and gives what it computed).
    """
    import torch

    for line in sys.stdin:
        request = json.loads(line)
        try:
            if 'prepare' in request:
                workload = request['prepare']
                torch.set_num_threads(workload['threads'])
                facts, run = workloads[workload['kind']](workload)
                reply = {**facts, 'versions': versions()}
                reset_peak()
            else:
                reply = measured(run)
        except Exception as error:  # the harness reports it; one system's failure is not the others'
            import traceback

            traceback.print_exc()
            reply = {'error': f'{type(error).__name__}: {error}'}
        print(json.dumps(reply), file=replies, flush=True)


def measured(run):
    """Wall and processor time of one run beside what it gave."""
    synchronize()
    processor, wall = time.process_time(), time.perf_counter()
    outcome = run()
    synchronize()
    seconds = {'seconds': time.perf_counter() - wall, 'cpuSeconds': time.process_time() - processor}
    return {**seconds, 'peakBytes': peak_bytes(), **outcome}


def trained(workload, step):
    """Facts and run of a training workload: the losses of the first steps, which compile it, and how long the first took."""
    began = time.perf_counter()
    losses = [step()]
    facts = {'firstSeconds': time.perf_counter() - began}
    facts['losses'] = losses + [step() for _ in range(workload['lossSteps'] - 1)]
    steps = workload['steps']
    return facts, lambda: {'steps': steps, 'losses': [step() for _ in range(steps)]}


def synchronize():
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_bytes():
    """Most memory held at once so far: the device's where there is one, else the process's resident set."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with open('/proc/self/status') as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmHWM'))


def reset_peak():
    """From now on `peak_bytes` is that of the runs alone: compiling and loading need more, once."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with open('/proc/self/clear_refs', 'w') as peak:
        peak.write('5')


def read_tokens(workload, rows, length):
    """The seeded tokens that all systems read, as batches [rows, length] int64 on the device."""
    import numpy
    import torch

    flat = torch.from_numpy(numpy.fromfile(workload['tokens'], dtype='<i4').astype('int64'))
    count = len(flat) // (rows * length)
    return flat[: count * rows * length].view(count, rows, length).to(workload['device'])
