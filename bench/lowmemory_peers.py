"""Peers of training with little memory: optimizers with states in 8 bits or in a subspace, and LoRA on weights in NF4, each on
bench/llama.py. One process measures one method and prints JSON."""
import argparse
import importlib
import importlib.metadata
import json
import sys

from peers import flags

LR, BETAS, DECAY, RANK, GAP, LORA_RANK = 1e-3, (0.9, 0.95), 0.1, 128, 200, 16


def low_rank(model, **more):
    """The groups that the authors of GaLore and APOLLO make: projections, and the rest."""
    linear = [p for n, p in model.layers.named_parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if not any(p is x for x in linear)]
    return [dict(params=rest), dict(params=linear, rank=RANK, update_proj_gap=GAP, proj_type="std", **more)]


def adamw(model):
    import torch
    return torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, weight_decay=DECAY, fused=True)


def torchao_8bit(model):
    import torchao.optim
    return torchao.optim.AdamW8bit(model.parameters(), lr=LR, betas=BETAS, weight_decay=DECAY, bf16_stochastic_round=True)


def bitsandbytes_8bit(model):
    import bitsandbytes
    return bitsandbytes.optim.AdamW8bit(model.parameters(), lr=LR, betas=BETAS, weight_decay=DECAY)


def galore(model):
    import galore_torch
    return galore_torch.GaLoreAdamW(low_rank(model, scale=0.25), lr=LR, betas=BETAS, no_deprecation_warning=True)


def galore_8bit(model):
    import galore_torch
    import torch
    if not torch.cuda.is_available():
        torch.cuda.synchronize = lambda: None  # which its step calls, whatever the device
    return galore_torch.GaLoreAdamW8bit(low_rank(model, scale=0.25), lr=LR, betas=BETAS)


def apollo(model):
    import apollo_torch
    return apollo_torch.APOLLOAdamW(low_rank(model, scale=1, scale_type="channel", proj="random"), lr=LR, betas=BETAS)


def lora_nf4(model):
    """LoRA by peft on projections that bitsandbytes stores in NF4 with double quantisation."""
    import bitsandbytes
    import peft
    import torch
    for layer in model.layers:
        for name, old in list(layer.named_children()):
            new = bitsandbytes.nn.Linear4bit(old.in_features, old.out_features, bias=False, compute_dtype=old.weight.dtype,
                                             quant_type="nf4", compress_statistics=True)
            new.weight = bitsandbytes.nn.Params4bit(old.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True)
            setattr(layer, name, new.to(old.weight.device))
    config = peft.LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=["q", "k", "v", "o", "gate", "up", "down"])
    peft.inject_adapter_in_model(config, model)
    for n, p in model.named_parameters():
        p.requires_grad_("lora_" in n)
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, betas=BETAS, weight_decay=DECAY, fused=True)


METHODS = {  # and the libraries of each
    "adamw": (adamw, []),
    "torchao_8bit": (torchao_8bit, ["torchao.optim"]),
    "bitsandbytes_8bit": (bitsandbytes_8bit, ["bitsandbytes"]),
    "galore": (galore, ["galore_torch"]),
    "galore_8bit": (galore_8bit, ["galore_torch"]),
    "apollo": (apollo, ["apollo_torch"]),
    "lora_nf4": (lora_nf4, ["bitsandbytes", "peft"]),
}


def resident():
    """What the process takes now, in bytes; 0 where /proc does not say."""
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * 4096
    except OSError:
        return 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("method", choices=["versions", *METHODS])
    flags(p)
    a = p.parse_args()
    if a.method == "versions":
        names = ("torch", "torchao", "bitsandbytes", "galore-torch", "apollo-torch", "peft")
        print(json.dumps({n: importlib.metadata.version(n) for n in names}))
        return
    import llama
    import torch
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    method, modules = METHODS[a.method]
    for m in modules:
        importlib.import_module(m)
    libraries = resident()
    model = llama.build(a).to(torch.bfloat16 if a.precision == "bf16" else torch.float32)
    opt = method(model)
    trained = [p for g in opt.param_groups for p in g["params"]]
    llama.train(a, model, opt, trained, libraries=libraries)


if __name__ == "__main__":
    try:
        main()
    except Exception as e:  # the last line of what it prints says why the method does not run
        sys.exit(f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}")
