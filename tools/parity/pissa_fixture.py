"""What PEFT computes with adapters that begin with principal singular vectors (PiSSA): first values, losses, and the adapters
that it converts to be added to the weights as they were.

usage: pissa_fixture.py MODEL OUT

MODEL is a folder of llama_fixture.py, whose batches are taken.
"""
import json
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

model_dir, out_dir = Path(sys.argv[1]), Path(sys.argv[2])
given = load_file(model_dir / "expected.safetensors")
info = json.loads((model_dir / "expected.json").read_text())
ids, labels = (given[k].reshape(-1, info["batch"], info["seq"]).long() for k in ("ids", "labels"))
torch.use_deterministic_algorithms(True)
STEPS = 8
tensors, runs = {}, {}
for name, rslora in {"pissa": False, "pissa_rslora": True}.items():
    torch.manual_seed(5)
    base = LlamaForCausalLM.from_pretrained(model_dir, attn_implementation="eager").float().eval()
    config = LoraConfig(r=3, lora_alpha=5, use_rslora=rslora, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.0,
                        init_lora_weights="pissa")
    model = get_peft_model(base, config).eval()
    with tempfile.TemporaryDirectory() as tmp:
        first, trained = Path(tmp) / "first", Path(tmp) / "trained"
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(first)
        model.peft_config["default"].init_lora_weights = "pissa"
        for n, module in model.named_modules():
            if hasattr(module, "lora_A") and "layers.1." in n:
                n = n.replace("base_model.model.", "")
                tensors[f"{name}.rest.{n}.weight"] = module.base_layer.weight.detach().clone()
                tensors[f"{name}.delta.{n}.weight"] = module.get_delta_weight("default").detach()
        adapters = [p for n, p in model.named_parameters() if "lora_" in n]
        opt = torch.optim.AdamW(adapters, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
        losses = []
        for s in range(STEPS):
            opt.zero_grad()
            loss = model(input_ids=ids[s], labels=labels[s]).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(adapters, 1.0)
            opt.step()
            losses.append(loss.item())
        # A conversion reads the first values by loading the adapter beside the trained one.
        if not rslora:
            model.save_pretrained(trained, path_initial_model_for_weight_conversion=first)
            converted = json.loads((trained / "adapter_config.json").read_text())
            runs["converted"] = {k: converted[k] for k in ("r", "lora_alpha", "use_rslora")}
            weights = load_file(trained / "adapter_model.safetensors")
            for n in ("self_attn.q_proj", "mlp.down_proj"):
                a, b = (weights[f"base_model.model.model.layers.1.{n}.lora_{x}.weight"] for x in "AB")
                tensors[f"converted.model.layers.1.{n}.weight"] = b @ a * (converted["lora_alpha"] / converted["r"])
    runs[name] = losses
    merged = model.merge_and_unload()
    for n, p in merged.named_parameters():
        if "layers.1." in n and n.split(".")[-2] in ("q_proj", "v_proj", "down_proj"):
            tensors[f"{name}.merged.{n}"] = p.detach().clone()
save_file({k: v.contiguous() for k, v in tensors.items()}, out_dir / "pissa.safetensors")
(out_dir / "pissa.json").write_text(json.dumps(runs, indent=1) + "\n")
