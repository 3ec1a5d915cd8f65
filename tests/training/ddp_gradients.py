"""Gradients of one process's share of a batch, gathered by DDP: python ddp_gradients.py OUT PIECES LAYERS..."""

import sys

import torch
from accelerate import Accelerator
from plain_gradients import LAYER_SEED, images, loss_of, network

from archsr.training.layers import select

out, pieces, *layers = sys.argv[1:]
accelerator = Accelerator(cpu=True)
net = network(LAYER_SEED)
select(net, layers)
net.recompute(int(pieces) if pieces.isdigit() else pieces)
net.to(memory_format=torch.channels_last)
wrapped = accelerator.prepare_model(net)
x, target = (t.chunk(accelerator.num_processes)[accelerator.process_index] for t in images())
loss_of(wrapped(x), target).backward()
if accelerator.is_main_process:
    assert accelerator.num_processes == 2
    torch.save({k: p.grad for k, p in net.named_parameters() if p.grad is not None}, out)
accelerator.wait_for_everyone()  # all ranks
accelerator.end_training()
