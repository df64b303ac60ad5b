"""Exports of export "gguf", read by others: PyPI gguf reads metadata and tensors, llama.cpp (PyPI llama-cpp-python) gives the ids, logits
and greedy texts of transformers.

usage: gguf_models.py make FOLDER [HUGGING_FACE_FOLDER | TOKENIZER_JSON]...
       gguf_models.py compare FOLDER

make saves tiny models of all architectures with transformers, and one for each given tokenizer, and a pipeline that imports each, and the
given ones, and exports it in every type. compare reads what the pipeline wrote.
"""
import json
import os
import shutil
import sys
from pathlib import Path

os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
import numpy as np
import torch
import transformers as t
from safetensors.numpy import load_file

TOKENIZERS = Path(__file__).resolve().parents[2] / "fineweb" / "tokenizer" / "testdata"
TYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0"}
TEXTS = ["Once upon a time", "The quick brown fox, 12345 of them; it's 3.14!", "  two  spaces\n\n\ttab ", "naïve café — Ünïcödé 日本語 🙂", "def f(x):\n    return x<|endoftext|>",
         "a</s>b<s>c", "", " ", "\n", "1 22 333 4444 55555", "I'M you'Re WE'LL they'd", "x" * 40]
PLAIN = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=5000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)
CASES = [
    # name, family as transformers' classes begin, tokenizer, settings
    ("llama", "Llama", "gpt2", {}),
    ("llama_all", "Llama", "smollm", dict(head_dim=24, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-3)),
    ("llama_3", "Llama", "llama3", dict(rope_parameters=LLAMA3)),
    ("llama_linear", "Llama", "dbrx", dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=3.0))),
    ("llama_yarn", "Llama", "gpt2", dict(rope_parameters=YARN)),
    ("llama_yarn_attention", "Llama", "gpt2", dict(rope_parameters=YARN | dict(attention_factor=1.7))),
    ("llama_rows", "Llama", "gpt2", dict(intermediate_size=100)),
    ("mistral", "Mistral", "smollm", dict(sliding_window=None, head_dim=24)),
    ("olmo2", "Olmo2", "dbrx", dict(tie_word_embeddings=True)),
    ("qwen2", "Qwen2", "qwen2", {}),
    ("qwen2_yarn", "Qwen2", "qwen2", dict(rope_parameters=YARN)),
    ("qwen3", "Qwen3", "qwen2", dict(head_dim=24, tie_word_embeddings=True)),
    ("smollm3", "SmolLM3", "llama3", dict(pad_token_id=0, head_dim=24)),
]


def tokenizer(name):
    """A tokenizer.json, in the way of llama.cpp's name."""
    file = {"dbrx": "llama3", "qwen2": "llama3"}.get(name, name)
    tok = json.loads((TOKENIZERS / f"{file}_style.json").read_text())
    if name == "llama3":
        tok["model"]["ignore_merges"] = True
    if name == "qwen2":
        split = tok["pre_tokenizer"]["pretokenizers"][0]["pattern"]
        split["Regex"] = split["Regex"].replace(r"\p{N}{1,3}", r"\p{N}")
        tok["normalizer"], tok["post_processor"] = {"type": "NFC"}, None
    return tok


def make(out, given):
    out.mkdir(parents=True)
    (out / "d.txt").write_text("a text that nothing is trained on\n" * 50)
    blocks = ['data "text" "d" { source = "d.txt" }\noptimizer "adamw" "o" { learning_rate = 1e-3 }\n']
    cases = CASES + [(Path(p).stem, "Llama", p, {}) for p in given if p.endswith(".json")]
    for name, family, tok, settings in cases:
        torch.manual_seed(7)
        tok = json.loads(Path(tok).read_text()) if tok.endswith(".json") else tokenizer(tok)
        tok["truncation"] = tok["padding"] = None  # which say nothing of ids
        tok["model"]["merges"] = [m for m in tok["model"]["merges"] if not isinstance(m, str) or m.count(" ") == 1]  # tokenizers reads no others
        size = 1 + max([*tok["model"]["vocab"].values(), *(a["id"] for a in tok["added_tokens"])])
        eos = next(a["id"] for a in tok["added_tokens"] if a["content"] in ("<|endoftext|>", "<|end_of_text|>", "</s>"))
        config = getattr(t, family + "Config")(**(PLAIN | dict(vocab_size=size + 3, bos_token_id=eos, eos_token_id=eos) | settings))
        model = t.AutoModelForCausalLM.from_config(config).float().eval()
        for n, p in model.named_parameters():
            if "norm" in n or n.endswith("bias"):
                p.data += 0.3 * torch.randn_like(p)
        model.save_pretrained(out / "hf" / name)
        (out / "hf" / name / "tokenizer.json").write_text(json.dumps(tok))
    for folder in (p for p in given if not p.endswith(".json")):
        shutil.copytree(folder, out / "hf" / Path(folder).name)
    for folder in sorted((out / "hf").iterdir()):
        n = folder.name.replace("-", "_")
        blocks.append(f"""
tokenizer "huggingface" "{n}" {{ file = "hf/{folder.name}/tokenizer.json" }}
model "auto" "{n}" {{ from = "hf/{folder.name}" }}
stage "{n}" {{
  model = model.auto.{n}
  precision = "fp32"
  train {{
    data = data.text.d
    tokenizer = tokenizer.huggingface.{n}
    optimizer = optimizer.adamw.o
    sequence_length = 8
    batch_size = 1
    steps = 1
  }}
}}
import {{
  to = stage.{n}
  id = "hf/{folder.name}"
}}
export "gguf" "{n}" {{
  for_each = toset({json.dumps(list(TYPES))})
  model = stage.{n}
  path = "out/{folder.name}/${{each.key}}"
  quantization = each.key
}}
""")
    (out / "main.hcl").write_text("".join(blocks))


def expected(config, weights):
    """The tensors that llama.cpp wants, by its names, as its own conversion makes them."""
    import gguf
    arch = {"mistral": "llama"}.get(config.model_type, config.model_type)
    names = gguf.get_tensor_name_map(next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch), config.num_hidden_layers)
    for name, w in weights.items():
        for proj, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if arch in ("llama", "smollm3") and f".{proj}." in name:
                w = w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
        yield names.get_name(name, try_suffixes=(".weight", ".bias")), w
        if arch == "olmo2" and config.tie_word_embeddings and name == "model.embed_tokens.weight":
            yield "output.weight", w


def compare_tensors(folder, config, file, kind):
    import gguf
    reader = gguf.GGUFReader(file)
    read = {x.name: x for x in reader.tensors}
    assert all(x.data_offset % 32 == 0 for x in reader.tensors), file
    want = dict(expected(config, load_file(folder / "model.safetensors")))
    extra = set(read) - set(want)
    assert not set(want) - set(read) and extra <= {"rope_freqs.weight"}, (file, set(read) ^ set(want))
    for name, w in want.items():
        x = read[name]
        target = gguf.GGMLQuantizationType[TYPES[kind]] if w.ndim > 1 else gguf.GGMLQuantizationType.F32
        if kind == "q8_0" and w.ndim > 1 and w.shape[-1] % 32:
            target = gguf.GGMLQuantizationType.F16
        assert x.tensor_type == target, (file, name, x.tensor_type)
        assert list(x.shape) == list(reversed(w.shape)), (file, name, x.shape)
        ours, theirs = np.ascontiguousarray(x.data).view(np.uint8), np.ascontiguousarray(gguf.quants.quantize(w, target)).view(np.uint8)
        assert np.array_equal(ours.reshape(-1), theirs.reshape(-1)), (file, name)
    return reader


def compare(root):
    import llama_cpp
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, None)
    for folder in sorted((root / "hf").iterdir()):
        config = t.AutoConfig.from_pretrained(folder)
        model = t.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        tok = t.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        for kind, name in TYPES.items():
            file = str(root / "out" / folder.name / kind / f"model-{name}.gguf")
            reader = compare_tensors(folder, config, file, kind)
            if kind != "f32":  # the others compute in their own precision
                lm = llama_cpp.Llama(file, n_ctx=64, verbose=False)
                assert lm.n_vocab() == config.vocab_size, file
                lm.close()
        file = str(root / "out" / folder.name / "f32" / "model-F32.gguf")
        reader = compare_tensors(folder, config, file, "f32")
        lm = llama_cpp.Llama(file, n_ctx=config.max_position_embeddings, n_batch=512, logits_all=True, type_k=0, type_v=0, verbose=False)  # keys and values in F32 too
        worst, ids_equal = 0.0, 0
        for text in TEXTS:
            ids = tok.encode(text)
            theirs = lm.tokenize(text.encode(), add_bos=True, special=True)
            assert theirs == ids, (folder.name, text, ids, theirs)
            ids_equal += 1
            ids = ids[: config.max_position_embeddings]
            if not ids:
                continue
            lm.reset()
            lm.eval(ids)
            with torch.no_grad():
                want = model(input_ids=torch.tensor([ids])).logits[0].numpy()
            worst = max(worst, float(np.abs(lm.scores[: len(ids)] - want).max() / max(np.abs(want).max(), 1)))
        assert worst < 2e-4, (folder.name, worst)
        prompt = tok.encode(TEXTS[0])
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, pad_token_id=0, eos_token_id=None)[0].tolist()
        eos = reader.get_field("tokenizer.ggml.eos_token_id").contents()
        out = out[: out.index(eos, len(prompt))] if eos in out[len(prompt):] else out
        lm.reset()
        got = list(prompt)
        for token in lm.generate(prompt, temp=0.0, repeat_penalty=1.0):
            if token == eos or len(got) == len(prompt) + 40:
                break
            got.append(token)
        assert got == out, (folder.name, tok.decode(got), tok.decode(out))
        print(f"{folder.name}: {ids_equal} texts of the same ids, logits differ by {worst:.1e} of the largest, {len(out) - len(prompt)} greedy tokens equal, tensors of {', '.join(TYPES)} equal")
        lm.close()


if sys.argv[1] == "make":
    make(Path(sys.argv[2]), sys.argv[3:])
else:
    compare(Path(sys.argv[2]))
