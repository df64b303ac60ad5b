"""What PEFT computes with LoRA on frozen weights that bitsandbytes has quantised: logits, loss, gradients and merged weights.

usage: quantized_lora_fixture.py MODEL OUT

MODEL is a folder of llama_fixture.py, whose adapters are taken. In nf4 the layers' projections are Linear4bit with double
quantisation, which PEFT wraps. In int8 they are multiplied by what int8_vectorwise_dequant gives: Linear8bitLt would round
activations too.
"""
import json
import sys
from pathlib import Path

import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

model_dir, out_dir = Path(sys.argv[1]), Path(sys.argv[2])
given = load_file(model_dir / "expected.safetensors")
info = json.loads((model_dir / "expected.json").read_text())
batch, seq = info["batch"], info["seq"]
ids = given["ids"].reshape(-1, batch, seq)[0].long()
labels = given["labels"].reshape(-1, batch, seq)[0].long()
torch.use_deterministic_algorithms(True)


def projections(model):
    for name, module in list(model.model.layers.named_modules()):
        if isinstance(module, torch.nn.Linear):
            parent, _, child = name.rpartition(".")
            yield model.model.layers.get_submodule(parent), child, module


def nf4(model):
    for parent, child, linear in projections(model):
        q = bnb.nn.Linear4bit(linear.in_features, linear.out_features, bias=linear.bias is not None, compute_dtype=torch.float32,
                              compress_statistics=True, quant_type="nf4")
        q.weight = bnb.nn.Params4bit(linear.weight.data.clone(), requires_grad=False, compress_statistics=True, quant_type="nf4",
                                        blocksize=64)
        if linear.bias is not None:
            q.bias = linear.bias
        setattr(parent, child, q.to("cpu"))
    model.is_loaded_in_4bit = True  # by this PEFT knows
    assert all(m.weight.quant_state is not None for m in model.modules() if isinstance(m, bnb.nn.Linear4bit))


def int8(model):
    for _, _, linear in projections(model):
        codes, scales, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(linear.weight.data.clone(), 0.0)
        linear.weight.data = F.int8_vectorwise_dequant(codes, scales)


def values(module):
    weight = module.base_layer.weight
    return F.dequantize_4bit(weight.data, weight.quant_state) if isinstance(weight, bnb.nn.Params4bit) else weight.detach()


tensors = {}
for name, quantise in {"nf4": nf4, "int8": int8}.items():
    model = LlamaForCausalLM.from_pretrained(model_dir, attn_implementation="eager").float().eval()
    quantise(model)
    lora = LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.0)
    model = get_peft_model(model, lora).train()  # in eval mode, bitsandbytes multiplies in bf16 on a CPU; there is no dropout
    adapters = {n.replace("base_model.model.", "").replace(".default", ""): p for n, p in model.named_parameters() if "lora_" in n}
    for n, p in adapters.items():
        p.data = given[n].clone()
    out = model(input_ids=ids, labels=labels)
    out.loss.backward()
    tensors[name + ".logits"], tensors[name + ".loss"] = out.logits.detach(), out.loss.detach().reshape(1)
    for n, p in adapters.items():
        tensors[f"{name}.grad.{n}"] = p.grad
    for n, module in model.named_modules():
        if n.endswith("layers.1.self_attn.q_proj"):
            tensors[name + ".merged"] = values(module) + module.get_delta_weight("default")
            assert name == "int8" or type(module).__name__ == "Linear4bit", type(module)
save_file({k: v.detach().contiguous() for k, v in tensors.items()}, out_dir / "quantized.safetensors")
