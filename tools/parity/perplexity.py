"""Perplexities by the recipes of others, with transformers: perplexity.py OUT [TEXT].

Writes OUT/NAME for each of two tokenizers, one that begins texts with a token of its own and one that does not: a random LLaMA, the
rows of a set in WikiText's form (lines, many of them empty) as parquet, as JSON lines and as text, and expected.json: what the loop of Hugging Face's guide to the
perplexity of fixed-length models gives for several windows, as the mean over tokens. TEXT is a file of such lines, such as WikiText-2's
test set; without it they are made up.
"""
import json
import math
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WINDOWS = [(64, 64), (64, 32), (64, 16), (96, 40), (256, 128), (256, 256)]


def rows(path):
    if path:
        return Path(path).read_text().split("\n")[:40]
    rng = random.Random(1)
    words = "the of and in to a was is for on as by with he that at from his it an were which are be this has also had".split()
    out = []
    for i in range(20):
        out += [f" = Title {i} = ", ""]
        out += [" " + " ".join(rng.choice(words) for _ in range(rng.randint(5, 60))) + " .  ", ""]
    return out


def sliding(model, ids, length, stride):
    """The guide's loop. The loss of a window is the mean over what it predicts; weighted by that number it is the mean over tokens."""
    total, count, before = 0.0, 0, 0
    for begin in range(0, ids.size(1), stride):
        end = min(begin + length, ids.size(1))
        window = ids[:, begin:end]
        labels = window.clone()
        labels[:, : -(end - before)] = -100
        n = int((labels[:, 1:] != -100).sum())
        if n:
            with torch.no_grad():
                total += model(window, labels=labels).loss.double().item() * n
            count += n
        before = end
        if end == ids.size(1):
            break
    return total / count, count


def main(out, path=None):
    torch.set_num_threads(1)
    text = rows(path)
    joined = "\n\n".join(text)
    for name, bos in (("with-bos", True), ("without-bos", False)):
        folder = Path(out) / name
        tok = Tokenizer(models.BPE())
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tok.decoder = decoders.ByteLevel()
        tok.train_from_iterator(text, trainers.BpeTrainer(vocab_size=500, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        if bos:
            tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
        torch.manual_seed(3)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=tok.get_vocab_size(), hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
                                             num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2, bos_token_id=0 if bos else None, eos_token_id=1)).float().eval()
        model.save_pretrained(folder)
        fast = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="</s>", **({"bos_token": "<s>"} if bos else {}))
        fast.save_pretrained(folder)
        pq.write_table(pa.table({"text": text}), folder / "rows.parquet")
        (folder / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in text))
        (folder / "rows.txt").write_text("\n".join(text))
        ids = fast(joined, return_tensors="pt")["input_ids"]
        expected = []
        for length, stride in WINDOWS:
            loss, tokens = sliding(model, ids, length, stride)
            expected.append({"length": length, "stride": stride, "loss": loss, "tokens": tokens, "perplexity": math.exp(loss)})
        (folder / "expected.json").write_text(json.dumps({"bytes": len(joined.encode()), "words": len(joined.split()), "windows": expected}, indent=1))


main(*sys.argv[1:])
