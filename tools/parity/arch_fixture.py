"""Writes tiny models of each architecture, of Llama one with LayerNorm scaling, with what transformers computes with them:
logits, loss and all gradients.

usage: arch_fixture.py FOLDER
       arch_fixture.py -exported FOLDER   compares what transformers computes with config.json as stepflow writes it
"""
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Olmo2Config, Qwen2Config, Qwen3Config, SmolLM3Config

BATCH, SEQ = 2, 10
torch.use_deterministic_algorithms(True)

PLAIN = dict(vocab_size=29, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, initializer_range=0.2, bos_token_id=0, eos_token_id=0, pad_token_id=None)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)
CONFIGS = {
    "llama_lns": LlamaConfig(**PLAIN | dict(num_hidden_layers=3), layernorm_scaling=True, layernorm_depths=[1, 3, 2]),
    "mistral": MistralConfig(**PLAIN, sliding_window=None, head_dim=6),
    "qwen2": Qwen2Config(**PLAIN, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**PLAIN, head_dim=6, rope_parameters=YARN),
    "qwen3_bias": Qwen3Config(**PLAIN | dict(num_attention_heads=2), head_dim=10, attention_bias=True, tie_word_embeddings=True),
    "smollm3": SmolLM3Config(**PLAIN | dict(num_hidden_layers=3), no_rope_layer_interval=2, attention_bias=True, mlp_bias=True),
    "smollm3_list": SmolLM3Config(**PLAIN | dict(num_hidden_layers=3), no_rope_layers=[0, 1, 1], tie_word_embeddings=False),
    "olmo2": Olmo2Config(**PLAIN),
    "olmo2_bias": Olmo2Config(**PLAIN | dict(num_key_value_heads=4), attention_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-3),
}


def scale_norms(model):
    """LayerNorm scaling as its authors do it: what a norm of layer l gives, times 1/sqrt(l)."""
    for layer, l in zip(model.model.layers, getattr(model.config, "layernorm_depths", [])):
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.register_forward_hook(lambda module, args, y, l=l: y / l**0.5)


def make(out):
    for name, cfg in CONFIGS.items():
        torch.manual_seed(1)
        cfg._attn_implementation = "eager"
        model = AutoModelForCausalLM.from_config(cfg).float().eval()
        for n, p in model.named_parameters():  # gains and biases that matter
            if "norm" in n or n.endswith(".bias"):
                p.data += 0.3 * torch.randn_like(p)
        scale_norms(model)
        folder = out / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        ids = torch.randint(0, cfg.vocab_size, (BATCH, SEQ), generator=torch.Generator().manual_seed(2))
        labels = ids.clone()
        labels[0, 4:7] = -100
        result = model(input_ids=ids, labels=labels)
        result.loss.backward()
        tensors = {"ids": ids.int(), "labels": labels.int(), "logits": result.logits.detach(), "loss": result.loss.detach().reshape(1)}
        for n, p in model.named_parameters():
            tensors["grad." + n] = p.grad
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")


def compare(root):
    """A folder per model, with config.json as stepflow writes it, the weights, and what was expected before."""
    for folder in sorted(root.iterdir()):
        want = load_file(folder / "expected.safetensors")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            logits = model(input_ids=want["ids"].long()).logits
        worst = float((logits - want["logits"]).abs().max() / want["logits"].abs().max())
        print(f"{folder.name}: {type(model).__name__}, logits of the exported config.json differ by {worst:.1e}")
        assert worst < 1e-6, folder
    assert sorted(f.name for f in root.iterdir()) == sorted(CONFIGS)


if sys.argv[1] == "-exported":
    compare(Path(sys.argv[2]))
else:
    make(Path(sys.argv[1]))
