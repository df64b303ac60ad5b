"""What SLTrain computes over 20 steps: losses, gradient norms, and the matrices and values at the end.

usage: sltrain_fixture.py MODEL OUT

MODEL is a folder of llama_fixture.py, whose batches are taken, and OUT becomes OUT/sltrain.safetensors and OUT/sltrain.json. The
linear layer is the paper's (arXiv 2406.02214, eq. 2 and alg. 1), W = (alpha / r) B A + S, with its first values; PyTorch finds the
gradients. The places of S are a sorted part of a random permutation. A, the values of S and their places are in OUT, since
generators differ.
"""
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaForCausalLM

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
R, ALPHA, SPARSITY, STEPS, RATE = 3, 5, 0.05, 20, 1e-2


class SparseLowRankLinear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        out, into = linear.weight.shape
        bound = 1 / math.sqrt(into)
        self.shape, self.bias = (out, into), linear.bias
        self.lora_A = nn.Parameter(torch.empty(R, into))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.lora_B = nn.Parameter(torch.zeros(out, R))
        places = torch.randperm(out * into)[: int(SPARSITY * out * into)].sort().values
        self.register_buffer("sparse_index", places)
        self.sparse_value = nn.Parameter(torch.empty(len(places)).uniform_(-bound, bound))

    def forward(self, x):
        low = (ALPHA / R) * self.lora_B @ self.lora_A
        return F.linear(x, low.flatten().scatter_add(0, self.sparse_index, self.sparse_value).view(self.shape), self.bias)


def decays(name):
    return not ("norm" in name or "embed_tokens" in name)


def main(model_dir, out):
    out, expected = Path(out), json.loads((Path(model_dir) / "expected.json").read_text())
    given = load_file(Path(model_dir) / "expected.safetensors")
    torch.manual_seed(11)
    model = LlamaForCausalLM.from_pretrained(model_dir, attn_implementation="eager").float().eval()
    for name, module in list(model.named_modules()):
        if name.split(".")[-1] in TARGETS:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, SparseLowRankLinear(module))
    made = {n: m for n, m in model.named_modules() if isinstance(m, SparseLowRankLinear)}
    tensors = {}
    for n, m in made.items():
        tensors[f"start.{n}.lora_A.weight"] = m.lora_A.detach().clone()
        tensors[f"start.{n}.sparse_value"] = m.sparse_value.detach().clone()
        tensors[f"start.{n}.sparse_index"] = m.sparse_index.int()
    ids, labels = (given[k].reshape(-1, expected["batch"], expected["seq"]).long() for k in ("ids", "labels"))
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [{"params": [p for n, p in trained if decays(n) == d], "weight_decay": 0.1 if d else 0.0} for d in (True, False)]
    opt = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for step in range(STEPS):
        opt.zero_grad()
        loss = model(input_ids=ids[step], labels=labels[step]).loss
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_([p for _, p in trained], 1.0).item())
        opt.step()
        losses.append(loss.item())
    for n, m in made.items():
        if "layers.1." in n:
            for what, v in (("lora_A.weight", m.lora_A), ("lora_B.weight", m.lora_B), ("sparse_value", m.sparse_value)):
                tensors[f"end.{n}.{what}"] = v.detach().clone()
    save_file(tensors, out / "sltrain.safetensors")
    (out / "sltrain.json").write_text(json.dumps({"losses": losses, "grad_norms": norms}, indent=1) + "\n")


main(*sys.argv[1:])
