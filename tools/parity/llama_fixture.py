"""Writes tiny LlamaForCausalLM models with what transformers, torch and peft compute with them."""
import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT = Path(sys.argv[1])
BATCH, SEQ, STEPS = 2, 12, 20
torch.use_deterministic_algorithms(True)

CONFIGS = {
    "untied_gqa": dict(vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                       max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False, initializer_range=0.2),
    "tied_bias_llama3": dict(vocab_size=48, hidden_size=32, intermediate_size=56, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
                             max_position_embeddings=64, rms_norm_eps=1e-6, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, initializer_range=0.2,
                             rope_theta=5000.0, rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)),
}


def decays(name):
    return not ("norm" in name or "embed_tokens" in name or name.endswith(".bias"))


for name, kwargs in CONFIGS.items():
    torch.manual_seed(1)
    cfg = LlamaConfig(**kwargs, attn_implementation="eager")
    model = LlamaForCausalLM(cfg).float().eval()
    for n, p in model.named_parameters():  # gains and biases that matter
        if "norm" in n or n.endswith(".bias"):
            p.data += 0.3 * torch.randn_like(p)
    dir = OUT / name
    model.save_pretrained(dir)
    (dir / "generation_config.json").unlink(missing_ok=True)
    g = torch.Generator().manual_seed(2)
    ids = torch.randint(0, cfg.vocab_size, (STEPS, BATCH, SEQ), generator=g)
    labels = ids.clone()
    labels[0, 0, 4:7] = -100
    out = model(input_ids=ids[0], labels=labels[0])
    out.loss.backward()
    tensors = {"ids": ids.int().reshape(-1), "labels": labels.int().reshape(-1), "logits": out.logits.detach()}
    for n, p in model.named_parameters():
        tensors["grad." + n] = p.grad
    groups = [{"params": [p for n, p in model.named_parameters() if decays(n) == d], "weight_decay": 0.1 if d else 0.0} for d in (True, False)]
    opt = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for s in range(STEPS):
        opt.zero_grad()
        loss = model(input_ids=ids[s], labels=labels[s]).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        opt.step()
        losses.append(float(loss))
    info = {"batch": BATCH, "seq": SEQ, "loss": float(out.loss.detach()), "losses": losses, "grad_norms": norms}

    # A LoRA with a non-zero B on the untrained model.
    torch.manual_seed(3)
    base = LlamaForCausalLM.from_pretrained(dir, attn_implementation="eager").float().eval()
    lora = LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.0)
    wrapped = get_peft_model(base, lora).eval()
    for n, p in wrapped.named_parameters():
        if "lora_B" in n:
            p.data = 0.2 * torch.randn_like(p)
    out = wrapped(input_ids=ids[0], labels=labels[0])
    out.loss.backward()
    tensors["lora_logits"] = out.logits.detach()
    for n, p in wrapped.named_parameters():
        if "lora_" in n:
            short = n.replace("base_model.model.", "").replace(".default", "")
            tensors[short], tensors["grad." + short] = p.detach().clone(), p.grad
    merged = wrapped.merge_and_unload()
    tensors["merged_logits"] = merged(input_ids=ids[0]).logits.detach()
    for n, p in merged.named_parameters():
        if n.endswith("q_proj.weight"):
            tensors["merged." + n] = p.detach().clone()
    info["lora_loss"] = float(out.loss.detach())
    save_file({k: v.contiguous() for k, v in tensors.items()}, dir / "expected.safetensors")
    (dir / "expected.json").write_text(json.dumps(info, indent=1) + "\n")
