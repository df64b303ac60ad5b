"""Loads a folder written by export "huggingface" in transformers, recomputes the validation loss of the quickstart
from the parquet file on its own, and compares it with what stepflow measured. An end-of-text token stands before
each document, belongs to it and predicts its first token.

usage: load_export.py MODEL_DIR PARQUET EXPECTED_LOSS [SEQ]
"""
import hashlib
import sys

import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, parquet, expected = sys.argv[1], sys.argv[2], float(sys.argv[3])
seq = int(sys.argv[4]) if len(sys.argv) > 4 else 128
tok = AutoTokenizer.from_pretrained(folder)
model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
assert not info["missing_keys"] and not info["unexpected_keys"], info
model = model.float().eval()

rows = pq.read_table(parquet, columns=["text", "id", "int_score"]).to_pylist()
seen, held = set(), []
for r in rows:
    if r["int_score"] >= 3 and r["text"] not in seen:  # deduplicate keeps the first row of each text
        seen.add(r["text"])
        if int.from_bytes(hashlib.sha256(r["id"].encode()).digest()[:8], "little") / (2**64 - 1) < 0.08:
            held.append(r["text"])
ids, doc = [tok.eos_token_id], [0]
for n, text in enumerate(held):
    t = tok.encode(text, add_special_tokens=False)
    ids += t + [tok.eos_token_id]
    doc += [n] * len(t) + [n + 1]
total, count = 0.0, 0
with torch.no_grad():
    for at in range(0, len(ids) - 1, seq):
        x, d = torch.tensor(ids[at:at + seq]), torch.tensor(doc[at:at + seq])
        y = torch.tensor(ids[at + 1:at + seq + 1])
        same = (d[:, None] == d[None, :]) & (torch.arange(len(x))[:, None] >= torch.arange(len(x))[None, :])
        mask = torch.zeros(1, 1, len(x), len(x)).masked_fill(~same, torch.finfo(torch.float32).min)
        logits = model(input_ids=x[None], attention_mask=mask).logits[0, : len(y)]
        total += torch.nn.functional.cross_entropy(logits, y, reduction="none").double().sum().item()
        count += len(y)
loss = total / count
print(f"documents {len(held)}, tokens {count}, loss {loss:.7f}, stepflow {expected:.7f}, relative difference {abs(loss - expected) / loss:.2e}")
assert abs(loss - expected) < 2e-5 * loss
out = model.generate(**tok("Package strings implements", return_tensors="pt"), max_new_tokens=12, do_sample=False)
print(repr(tok.decode(out[0])))
