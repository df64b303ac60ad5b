"""Trains the model of main.hcl with PyTorch under torchrun, by DDP or FSDP2 over gloo, and prints tokens/s of each step.

The weights are fp32 and products are in bf16, as those of a stage with precision = "bf16" and its masters are.
"""

import contextlib
import os
import sys
import time

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM

MICRO, SEQ, MICROS, STEPS, VOCAB = 2, 256, 8, 6, 2048

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
dist.init_process_group("gloo")
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, hidden_size=512, intermediate_size=1376, num_hidden_layers=12,
                                     num_attention_heads=8, max_position_embeddings=SEQ))
ddp = sys.argv[1] == "ddp"
if ddp:
    run = DistributedDataParallel(model)
else:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for module in [*model.model.layers, model]:
        run = fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(torch.bfloat16))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=ddp)
micros = MICROS // dist.get_world_size()
for step in range(STEPS):
    start = time.time()
    for i in range(micros):
        ids = torch.randint(0, VOCAB, (MICRO, SEQ))
        last = i == micros - 1
        quiet = run.no_sync() if ddp and not last else contextlib.nullcontext()
        if not ddp:
            run.set_requires_gradient_sync(last)
        with quiet, torch.autocast("cpu", dtype=torch.bfloat16, enabled=ddp):
            (run(input_ids=ids, labels=ids).loss / micros).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if dist.get_rank() == 0:
        print(MICROS * MICRO * SEQ / (time.time() - start), flush=True)
dist.destroy_process_group()
