"""Saves tiny models of many families with transformers, with their logits. TestFamilies in runtime imports each: equal logits, or a
refusal that names why.

usage: families.py FOLDER
"""
import json
import os
import sys
from pathlib import Path

os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
import torch
import transformers as t
from safetensors.torch import load_file, save_file

VOCAB, SEQ = 96, 48
PLAIN = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             initializer_range=0.3, bos_token_id=0, eos_token_id=0, pad_token_id=None, attn_implementation="eager")
OLD = dict(vocab_size=VOCAB, bos_token_id=0, eos_token_id=0, pad_token_id=0, attn_implementation="eager")


def plain(**more):
    return {k: v for k, v in (PLAIN | more).items() if v != "absent"}


def edit(**keys):
    """Changes config.json; a key of None goes."""
    def change(folder):
        f = folder / "config.json"
        c = json.loads(f.read_text())
        for k, v in keys.items():
            c.pop(k, None) if v is None else c.update({k: v})
        f.write_text(json.dumps(c))
    return change


def tensors(edit):
    def change(folder):
        f = folder / "model.safetensors"
        w = load_file(f)
        edit(w)
        save_file({k: v.contiguous() for k, v in w.items()}, f, {"format": "pt"})
    return change


def both(*changes):
    def change(folder):
        for c in changes:
            c(folder)
    return change


def legacy(theta=10000.0, **scaling):
    """config.json as transformers 4 wrote it."""
    return edit(rope_parameters=None, rope_theta=theta, rope_scaling=scaling or {})


def half(w, dtype=torch.float16):
    for k in w:
        w[k] = w[k].to(dtype)


def biases(w):
    for k in list(w):
        if k.endswith("q_proj.weight"):
            w[k.replace("weight", "bias")] = torch.ones(w[k].shape[0])


def head(w):
    w["lm_head.weight"] = w["model.embed_tokens.weight"] + 1


def same_head(w):
    w["lm_head.weight"] = w["model.embed_tokens.weight"].clone()


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


LLAMA3 = dict(factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
L, M = "Llama", "Mistral"
CASES = [
    # name, family as transformers' classes begin, settings, what edits the saved folder, words of the refusal (None for equal logits),
    # and the length of the sequences, if not that of the window
    ("llama", L, plain(), None, None),
    ("llama_mha", L, plain(num_key_value_heads=4), None, None),
    ("llama_mqa", L, plain(num_key_value_heads=1), None, None),
    ("llama_tied", L, plain(tie_word_embeddings=True), None, None),
    ("llama_head_dim", L, plain(head_dim=12), None, None),
    ("llama_attention_bias", L, plain(attention_bias=True), None, None),
    ("llama_mlp_bias", L, plain(mlp_bias=True), None, None),
    ("llama_eps_theta", L, plain(rms_norm_eps=0.1, rope_parameters=dict(rope_type="default", rope_theta=77.0)), None, None),
    ("llama_swish", L, plain(hidden_act="swish"), None, None),
    ("llama_gelu", L, plain(hidden_act="gelu"), None, "hidden_act"),
    ("llama_linear", L, plain(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0)), None, None),
    ("llama_linear_type", L, plain(), edit(rope_parameters=dict(type="linear", rope_theta=10000.0, factor=2.0)), None),
    ("llama_linear_legacy", L, plain(), legacy(type="linear", factor=3.0), None),
    ("llama_dynamic", L, plain(rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)), None, None),
    ("llama_yarn", L, plain(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)), None, None),
    ("llama_yarn_mscale", L, plain(head_dim=16), legacy(500.0, type="yarn", factor=8.0, original_max_position_embeddings=8, mscale=0.7, mscale_all_dim=0.4, beta_fast=4, beta_slow=0.25), None),
    ("llama_yarn_attention_factor", L, plain(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16, attention_factor=1.7)), None, None),
    ("llama_llama3", L, plain(rope_parameters=dict(rope_type="llama3", rope_theta=5000.0, **LLAMA3)), None, None),
    ("llama_llama3_legacy", L, plain(), legacy(5000.0, rope_type="llama3", **LLAMA3), None),
    ("llama_longrope", L, plain(rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, factor=2.0, short_factor=[1.0] * 4, long_factor=[2.0] * 4, original_max_position_embeddings=32)), None, "longrope"),
    ("llama_theta_twice", L, plain(), edit(rope_theta=5.0), "rope_theta is 5"),
    ("llama_partial", L, plain(), edit(partial_rotary_factor=0.5), "partial_rotary_factor"),
    ("llama_float16", L, plain(), tensors(half), None),
    ("llama_bfloat16", L, plain(), tensors(lambda w: half(w, torch.bfloat16)), None),
    ("llama_float64", L, plain(), tensors(lambda w: half(w, torch.float64)), None),
    ("llama_float8", L, plain(), tensors(lambda w: half(w, torch.float8_e4m3fn)), "F8_E4M3"),
    ("llama_int8", L, plain(), tensors(lambda w: half(w, torch.int8)), "I8"),
    ("llama_no_model_type", L, plain(), edit(model_type=None), None),
    ("llama_nameless", L, plain(), edit(model_type=None, architectures=None), "neither model_type nor architectures"),
    ("llama_classifier", L, plain(), edit(architectures=["LlamaForSequenceClassification"]), "LlamaForSequenceClassification"),
    ("llama_stray_biases", L, plain(), tensors(biases), "attention_bias is false"),
    ("llama_other_head", L, plain(tie_word_embeddings=True), tensors(head), "lm_head.weight"),
    ("llama_same_head", L, plain(tie_word_embeddings=True), tensors(same_head), None),
    ("llama_fewer_layers", L, plain(), edit(num_hidden_layers=2), "num_hidden_layers, which is 2"),
    ("llama_more_layers", L, plain(), edit(num_hidden_layers=4), "model.layers.3"),
    ("llama_softcap", L, plain(), edit(final_logit_softcapping=3.0), "final_logit_softcapping"),
    ("llama_quantised", L, plain(), edit(quantization_config=dict(quant_method="gptq")), "quantization_config"),
    ("llama_pickled", L, plain(), pickled, "save_pretrained"),
    ("llama_adapter", L, plain(), lambda f: (f / "adapter_config.json").write_text("{}"), "adapter_config.json"),
    ("mistral", M, plain(sliding_window=None), None, None),
    ("mistral_window", M, plain(sliding_window=SEQ), None, None),
    ("mistral_short_window", M, plain(sliding_window=8), None, None),
    ("mistral_window_not_used", M, plain(sliding_window=8), edit(use_sliding_window=False), None),
    ("mistral_full_layers", M, plain(sliding_window=8), edit(layer_types=["full_attention"] * 3), None, SEQ),
    ("mistral_sliding_layers", M, plain(sliding_window=8), edit(layer_types=["sliding_attention"] * 3), None),
    ("llama_window", L, plain(), edit(sliding_window=8), None),
    ("llama_sliding_layers", L, plain(), edit(sliding_window=8, layer_types=["sliding_attention"] * 3), None),
    ("llama_two_classes", L, plain(), edit(model_type=None, architectures=["LlamaForCausalLM", "Qwen2ForCausalLM"]), "2 classes"),
    ("llama_yarn_no_attention", L, plain(), legacy(type="yarn", factor=8.0, original_max_position_embeddings=8, attention_factor=0.0), "attention_factor is 0"),
    ("granite_window", "Granite", plain(attention_multiplier=8**-0.5), edit(sliding_window=8), None),
    ("mistral_tied_head_dim", M, plain(sliding_window=None, tie_word_embeddings=True, head_dim=12), None, None),
    ("granite", "Granite", plain(attention_multiplier=8**-0.5), None, None),
    ("granite_scaled", "Granite", plain(attention_multiplier=0.2, embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.3), None, "attention_multiplier"),
    ("mixtral", "Mixtral", plain(num_local_experts=2), None, "mixtures of experts"),
    ("qwen2", "Qwen2", plain(), None, None),
    ("qwen2_no_model_type", "Qwen2", plain(), edit(model_type=None), None),
    ("qwen3", "Qwen3", plain(head_dim=12), None, None),
    ("qwen3_window", "Qwen3", plain(head_dim=12, use_sliding_window=True, sliding_window=8, max_window_layers=1), None, None, 8),
    ("qwen3_no_window", "Qwen3", plain(head_dim=12, sliding_window=8), None, None, SEQ),
    ("qwen3_as_llama", "Qwen3", plain(head_dim=8), edit(model_type="llama", architectures=["LlamaForCausalLM"]), "norms on q and k"),
    ("qwen2_as_llama", "Qwen2", plain(), edit(model_type="llama", architectures=["LlamaForCausalLM"]), "attention_bias is false"),
    ("gemma", "Gemma", plain(head_dim=8), None, "1 + weight"),
    ("gemma2", "Gemma2", plain(head_dim=8), None, "soft-capped"),
    ("gemma3", "Gemma3", plain(head_dim=8), None, "norms on q and k"),
    ("phi", "Phi", plain(), None, "side by side"),
    ("phi3", "Phi3", plain(pad_token_id=0), None, "one tensor"),
    ("olmo", "Olmo", plain(), None, "no weights"),
    ("olmo2", "Olmo2", plain(), None, None),
    ("cohere", "Cohere", plain(), None, "side by side"),
    ("stablelm", "StableLm", plain(), None, "subtract the mean"),
    ("starcoder2", "Starcoder2", plain(), None, "gate"),
    ("gpt2", "GPT2", dict(OLD, n_embd=32, n_layer=2, n_head=4, n_positions=64), None, "learned"),
    ("gpt_neox", "GPTNeoX", dict(OLD, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4), None, "gate"),
    ("smollm3", "SmolLM3", plain(pad_token_id=0, no_rope_layer_interval=2), None, None),
    ("smollm3_window", "SmolLM3", plain(pad_token_id=0, no_rope_layer_interval=2, use_sliding_window=True, sliding_window=8), None, None, 8),
    ("deepseek_v3", "DeepseekV3", plain(n_routed_experts=2, n_group=1, topk_group=1, num_experts_per_tok=1, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8), None, "latent"),
    ("falcon", "Falcon", dict(OLD, hidden_size=32, num_hidden_layers=2, num_attention_heads=4), None, "gate"),
    ("glm", "Glm", plain(head_dim=8, pad_token_id=0), None, "half of the channels"),
    ("exaone4", "Exaone4", plain(), None, "norms on q and k"),
    ("helium", "Helium", plain(head_dim=8), None, "helium"),
    ("arcee", "Arcee", plain(), None, "arcee"),
]


def main(out):
    g = torch.Generator().manual_seed(5)
    ids = torch.randint(0, VOCAB, (2, SEQ), generator=g)
    for name, family, settings, change, refusal, *length in CASES:
        torch.manual_seed(7)
        config = getattr(t, ("Gemma3Text" if family == "Gemma3" else family) + "Config")(**settings)
        model = t.AutoModelForCausalLM.from_config(config).float().eval()
        for n, p in model.named_parameters():  # gains and biases that matter
            if "norm" in n or n.endswith("bias"):
                p.data += 0.3 * torch.randn_like(p)
        seq = length[0] if length else min(SEQ, settings.get("sliding_window") or SEQ)
        folder = out / name
        model.save_pretrained(folder)
        if change:
            change(folder)
        saved = json.loads((folder / "config.json").read_text())
        expected = {"batch": 2, "seq": seq, "refusal": refusal, "type": saved.get("model_type", config.model_type)}
        (folder / "expected.json").write_text(json.dumps(expected))
        if refusal is None:
            named = "model_type" in saved
            loaded = (t.AutoModelForCausalLM if named else type(model)).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
            with torch.no_grad():
                logits = loaded(input_ids=ids[:, :seq]).logits
            save_file({"ids": ids[:, :seq].int().reshape(-1), "logits": logits.contiguous()}, folder / "expected.safetensors")
    print(f"{len(CASES)} models of {len({c[1] for c in CASES})} families, {sum(c[4] is None for c in CASES)} with logits")


main(Path(sys.argv[1]))
