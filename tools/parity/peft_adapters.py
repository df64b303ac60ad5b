"""Exports of export "peft", added to their base by PEFT: the logits are those of the whole model, which export "huggingface" writes.

usage: peft_adapters.py make FOLDER
       peft_adapters.py compare FOLDER

make saves tiny models of all architectures with transformers and a pipeline that trains adapters on each, in fp32 and in bf16, on all
linear layers, and also on the head, with rsLoRA, from singular vectors, beside modules that are trained whole, and kept apart from
the weights (merge = false), which are their base then. compare reads what the pipeline wrote.
"""
import json
import os
import sys
from pathlib import Path

os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
import torch
import transformers as t
from peft import AutoPeftModelForCausalLM, PeftModel

TOKENIZER = Path(__file__).resolve().parents[2] / "fineweb" / "tokenizer" / "testdata" / "gpt2_style.json"
PLAIN = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, initializer_range=0.1, pad_token_id=None)
MODELS = {"llama": ("Llama", dict(attention_bias=True, mlp_bias=True)), "tied": ("Llama", dict(tie_word_embeddings=True)),
          "mistral": ("Mistral", dict(sliding_window=None)), "qwen2": ("Qwen2", {}),
          "qwen3": ("Qwen3", dict(head_dim=8)), "olmo2": ("Olmo2", {}), "smollm3": ("SmolLM3", dict(pad_token_id=0))}
# name, model, precision, freeze, target_modules, more of the peft block
CASES = [(m, m, "fp32", ["*"], ["all-linear"], "") for m in MODELS] + [
    ("head", "llama", "fp32", ["*"], ["all-linear", "lm_head"], "use_rslora = true"),
    ("some", "qwen2", "fp32", ["*"], ["q_proj", "model.layers.1.mlp.*"], ""),
    ("beside", "llama", "fp32", ["model.layers.*.self_attn.*", "model.layers.*.mlp.*"], ["q_proj", "v_proj"], ""),
    ("bf16", "llama", "bf16", ["*"], ["all-linear"], ""),
    ("again", "stage.llama", "fp32", ["*"], ["all-linear"], ""),  # on a stage that had adapters itself
    ("pissa", "llama", "fp32", ["*"], ["all-linear"], 'init_lora_weights = "pissa"'),
    ("pissa_niter", "qwen2", "bf16", ["*"], ["all-linear"], 'init_lora_weights = "pissa_niter_4"\n  use_rslora = true'),
    ("apart", "llama", "fp32", ["model.layers.*"], ["q_proj", "v_proj"], ""),
    ("apart_nf4", "llama", "fp32", ["*"], ["all-linear"], 'init_lora_weights = "pissa"'),
    ("apart_bf16", "qwen2", "bf16", ["*"], ["all-linear"], ""),
]
APART = {"apart": "", "apart_nf4": 'frozen_dtype = "nf4"', "apart_bf16": ""}  # stages with merge = false, and what else they have


def make(out):
    out.mkdir(parents=True)
    (out / "d.txt").write_text("".join(f"a text of {i} words to learn by heart, and {i * i} more.\n" for i in range(200)))
    tok = json.loads(TOKENIZER.read_text())
    size = 1 + max([*tok["model"]["vocab"].values(), *(a["id"] for a in tok["added_tokens"])])
    (out / "tokenizer.json").write_text(json.dumps(tok))
    blocks = ['data "text" "d" { source = "d.txt" }\ntokenizer "huggingface" "t" { file = "tokenizer.json" }\n'
              'optimizer "adamw" "o" { learning_rate = 2e-2 }\n']
    for name, (family, settings) in MODELS.items():
        torch.manual_seed(7)
        config = getattr(t, family + "Config")(**(PLAIN | dict(vocab_size=size + 3, bos_token_id=0, eos_token_id=0) | settings))
        t.AutoModelForCausalLM.from_config(config).float().save_pretrained(out / "base" / name)
        blocks.append(f'model "auto" "{name}" {{ from = "base/{name}" }}\n')
    for name, model, precision, freeze, targets, more in CASES:
        after = model.startswith("stage.")
        start = f"from = {model}" if after else f"model = model.auto.{model}"
        blocks.append(f"""
peft "lora" "{name}" {{
  r = 4
  lora_alpha = 8
  target_modules = {json.dumps(targets)}
  {more}
}}
stage "{name}" {{
  {start}
  precision = "{precision}"
  freeze = {json.dumps(freeze)}
  {f"merge = false{chr(10)}  {APART[name]}" if name in APART else ""}
  adapter = peft.lora.{name}
  train {{
    data = data.text.d
    tokenizer = tokenizer.huggingface.t
    optimizer = optimizer.adamw.o
    sequence_length = 32
    batch_size = 4
    steps = 8
  }}
}}
export "huggingface" "{name}" {{
  model = stage.{name}
  path = "merged/{name}"
}}
export "peft" "{name}" {{
  model = stage.{name}
  path = "adapters/{name}"
  {f'base_model_name_or_path = export.huggingface.{model.split(".")[1]}.path' if after else ""}
  {f'base_model_name_or_path = export.huggingface.{name}_base.path' if name in APART else ""}
}}
""")
        if name in APART:
            blocks.append(f'export "huggingface" "{name}_base" {{\n  model = stage.{name}\n  path = "apart/{name}"\n  merge = false\n}}\n')
    (out / "main.hcl").write_text("".join(blocks))


def compare(out):
    os.chdir(out)
    for name, model, precision, *_ in CASES:
        base = f"merged/{model.split('.')[1]}" if model.startswith("stage.") else f"base/{model}"
        base = f"apart/{name}" if name in APART else base
        folder = f"adapters/{name}"
        said = json.loads((out / folder / "adapter_config.json").read_text())
        assert said["base_model_name_or_path"] == base, said
        tok = t.AutoTokenizer.from_pretrained(folder)
        ids = tok("a text of 17 words to learn", return_tensors="pt").input_ids
        read = lambda path: t.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            plain = read(base)(ids).logits
            adapted = PeftModel.from_pretrained(read(base), folder).eval()
            got, want = adapted(ids).logits, read(f"merged/{name}")(ids).logits
            named = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()(ids).logits
            merged = adapted.merge_and_unload()(ids).logits
        learnt, off = (want - plain).abs().max().item(), (got - want).abs().max().item()
        print(f"{name}: logits of PEFT and of the merged model differ by {off:.1e} at most, those without adapters by {learnt:.1e}")
        assert learnt > 0.05 and torch.equal(got, named) and (merged - got).abs().max() < 1e-4
        assert off < (1e-4 if precision == "fp32" else 0.05 * learnt), name  # a merge into bf16 rounds


{"make": make, "compare": compare}[sys.argv[1]](Path(sys.argv[2]).resolve())
