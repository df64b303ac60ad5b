"""What ReLoRA computes over three resets: losses, learning rates, adapters and merged weights.

usage: relora_fixture.py [-authors CHECKOUT] MODEL OUT

MODEL is a folder of llama_fixture.py, whose batches are taken, and OUT becomes OUT/relora.safetensors and OUT/relora.json. The
linear layer, its merge, the pruning of moments and the learning rate are those of the authors (github.com/Guitaricet/relora:
relora.py, training_utils.py; Apache 2.0), without dropout and quantisation. With -authors, a checkout of that repository, they
are compared with its own. Four of its habits are left out, since stepflow differs there on purpose:

- A is zero until the first reset, as is B, so that the first cycle trains no adapter. Here A is drawn.
- The learning rate is that of the step before, so that the first step, and the one after each reset, have rate 0; the merge
  comes after the latter. Here a step has the rate of its own number, and the merge follows the last step of a cycle.
- "Resetting" the moments zeroes 99.9 % of their elements and keeps the count of steps, so that Adam's bias correction does
  not start again. Mode "reset" begins both again, as a new optimizer does; mode "pruned" prunes and keeps the count.
- Each moment is pruned by its own magnitudes. Where the first is kept and the second is not, the next step of A, whose gradient
  is 0 since B is, divides by eps: here weights then reach 1e5. Mode "pruned" prunes both where the first is small.
"""
import argparse
import json
import math
import sys
import types
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaForCausalLM

TARGETS, R, ALPHA = ["q_proj", "v_proj", "down_proj"], 3, 5
STEPS, EVERY, WARMUP, RESTART_WARMUP, MIN_LR, PRUNED = 20, 5, 2, 2, 0.1, 0.8
RATE = 3e-2


class ReLoRaLinear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.weight = nn.Parameter(linear.weight.data, requires_grad=False)
        self.lora_A = nn.Linear(linear.in_features, R, bias=False)
        self.lora_B = nn.Linear(R, linear.out_features, bias=False)
        self.scaling = ALPHA / R
        self.restart()

    def restart(self):
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    @torch.no_grad()
    def merge_and_reinit(self):
        self.weight.data += self.lora_B.weight @ self.lora_A.weight * self.scaling
        self.restart()

    def forward(self, x):
        return F.linear(x, self.weight) + self.lora_B(self.lora_A(x)) * self.scaling


def large(tensor, ratio):
    """The mask of magnitude_pruning_"""
    magnitude = torch.abs(tensor)
    return magnitude > torch.quantile(magnitude.flatten(), ratio)


def rate(step):
    """_get_cosine_schedule_with_multiple_warmups_lambda"""
    if step < WARMUP:
        return step / WARMUP
    restart, number = step % EVERY, step // EVERY

    def cosine(at):
        return MIN_LR + (1 - MIN_LR) * 0.5 * (1 + math.cos(math.pi * (at - WARMUP) / (STEPS - WARMUP)))

    if restart < RESTART_WARMUP and step >= EVERY:
        return restart / RESTART_WARMUP * cosine(number * EVERY + RESTART_WARMUP)
    return cosine(step)


def ours(step):
    """The same schedule of stepflow: a step, from 1, has the rate of its own number, and rises with the cosine."""
    since = (step - 1) % EVERY + 1
    rise = min(1, since / RESTART_WARMUP) if step > EVERY else 1
    if step < WARMUP:
        return step / WARMUP
    return rise * (MIN_LR + (1 - MIN_LR) * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))))


def decays(name):
    return not ("norm" in name or "embed_tokens" in name)


def train(model_dir, given, batch, seq, mode, tensors):
    torch.manual_seed(7)
    model = LlamaForCausalLM.from_pretrained(model_dir, attn_implementation="eager").float().eval()
    for name, module in list(model.named_modules()):
        if name.split(".")[-1] in TARGETS:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, ReLoRaLinear(module))
    adapted = {n: m for n, m in model.named_modules() if isinstance(m, ReLoRaLinear)}
    ids, labels = (given[k].reshape(-1, batch, seq).long() for k in ("ids", "labels"))
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [{"params": [p for n, p in trained if decays(n) == d], "weight_decay": 0.1 if d else 0.0} for d in (True, False)]
    opt = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), eps=1e-8)

    def note(what, cycle):
        for n, m in adapted.items():
            if what == "merged":
                if "layers.1." in n:
                    tensors[f"{mode}.{cycle}.{n}.weight"] = m.weight.detach().clone()
                continue
            tensors[f"{mode}.{cycle}.{n}.lora_A.weight"] = m.lora_A.weight.detach().clone()

    losses, norms = [], []
    note("started", 0)
    for step in range(1, STEPS + 1):
        for g in opt.param_groups:
            g["lr"] = RATE * ours(step)
        opt.zero_grad()
        loss = model(input_ids=ids[step - 1], labels=labels[step - 1]).loss
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_([p for _, p in trained], 1.0).item())
        opt.step()
        losses.append(loss.item())
        if step % EVERY == 0 and step < STEPS:
            for m in adapted.values():
                m.merge_and_reinit()
                for p in (m.lora_A.weight, m.lora_B.weight):
                    if mode == "reset":
                        del opt.state[p]
                        continue
                    kept = large(opt.state[p]["exp_avg"], PRUNED)
                    for key in ("exp_avg", "exp_avg_sq"):
                        opt.state[p][key].mul_(kept)
            note("merged", step // EVERY)
            note("started", step // EVERY)
    for n, m in adapted.items():
        if "layers.1." in n:
            tensors[f"{mode}.end.{n}.lora_A.weight"] = m.lora_A.weight.detach()
            tensors[f"{mode}.end.{n}.lora_B.weight"] = m.lora_B.weight.detach()
    return {"losses": losses, "grad_norms": norms}


def compare(checkout):
    """Compares the functions above with those of the authors, whose modules need packages that do nothing here."""
    for name in ("bitsandbytes", "bitsandbytes.functional", "wandb", "loguru", "peft_pretraining.modeling_llama"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["loguru"].logger = types.SimpleNamespace(info=print, warning=print)
    sys.modules["wandb"].AlertLevel = None
    sys.modules["peft_pretraining.modeling_llama"].LlamaDecoderLayer = None
    sys.path.insert(0, str(checkout))
    from peft_pretraining import relora, training_utils

    for step in range(STEPS):
        theirs = training_utils._get_cosine_schedule_with_multiple_warmups_lambda(
            step, num_training_steps=STEPS, first_warmup_steps=WARMUP, restart_warmup_steps=RESTART_WARMUP, restart_every=EVERY,
            min_lr_ratio=MIN_LR, adjust_step=0)
        assert math.isclose(theirs, rate(step), rel_tol=1e-12), (step, theirs, rate(step))
    torch.manual_seed(1)
    linear = nn.Linear(24, 40, bias=False)
    mine = ReLoRaLinear(linear)
    other = relora.ReLoRaLinear(24, 40, R, lora_alpha=ALPHA, lora_dropout=0.0, bias=False, quantize=None,
                                weight_data=linear.weight.data.clone())
    mine.weight.data = linear.weight.data.clone()
    mine.lora_B.weight.data.normal_()
    other.lora_A.weight.data, other.lora_B.weight.data = mine.lora_A.weight.data.clone(), mine.lora_B.weight.data.clone()
    x = torch.randn(5, 24)
    assert torch.equal(mine(x), other(x))
    torch.manual_seed(2)
    mine.merge_and_reinit()
    torch.manual_seed(2)
    other.merge_and_reinit()
    for p, q in zip(mine.parameters(), other.parameters()):
        assert torch.equal(p, q)
    p, state = nn.Parameter(torch.randn(7, 9)), torch.randn(7, 9)
    training_utils.optimizer_reset(types.SimpleNamespace(state={p: {"exp_avg": (theirs := state.clone())}}), reset_params=[p],
                                   optimizer_state_keys=["exp_avg"], reset_optimizer_on_relora=False, optimizer_random_pruning=0,
                                   optimizer_magnitude_pruning=PRUNED)
    assert torch.equal(state * large(state, PRUNED), theirs)
    print("the same as the authors' code")


args = argparse.ArgumentParser()
args.add_argument("-authors", type=Path)
args.add_argument("model", type=Path)
args.add_argument("out", type=Path)
args = args.parse_args()
torch.use_deterministic_algorithms(True)
if args.authors:
    compare(args.authors)
given = load_file(args.model / "expected.safetensors")
info = json.loads((args.model / "expected.json").read_text())
tensors, runs = {}, {}
for mode in ("reset", "pruned"):
    runs[mode] = train(args.model, given, info["batch"], info["seq"], mode, tensors)
runs["authors_rates"] = [rate(s) for s in range(STEPS + 1)]
save_file({k: v.contiguous() for k, v in tensors.items()}, args.out / "relora.safetensors")
(args.out / "relora.json").write_text(json.dumps(runs, indent=1) + "\n")
