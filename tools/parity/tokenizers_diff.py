"""Encodes many lines in many scripts with the tokenizers library, for fineweb/tokenizer's TestDifferential.

Usage: tokenizers_diff.py OUT [TOKENIZER.json ...]. The lines are the translations that come with Django in some hundred
languages, and every code point of Unicode, alone among others and between letters."""
import ast
import json
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers, Regex

OUT = Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)


def translations():
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(OUT / "wheel"), "django==5.2.8"], check=True)
    seen = set()
    with zipfile.ZipFile(next((OUT / "wheel").glob("*.whl"))) as z:
        for name in sorted(z.namelist()):
            if not name.endswith(".po"):
                continue
            text, on = "", False
            for line in z.read(name).decode("utf-8").splitlines() + [""]:
                if line.startswith("msgstr"):
                    text, on = ast.literal_eval(line[line.index('"'):]), True
                elif on and line.startswith('"'):
                    text += ast.literal_eval(line)
                elif on:
                    on = False
                    if text.strip() and text not in seen:
                        seen.add(text)
                        yield text


def corners():
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for i in range(0, len(points), 48):
        yield "".join(points[i:i + 48])
        yield " a".join(points[i:i + 48:5])
    r = random.Random(5)
    common = points[:0x3000] + list("  \n\r\t''0123456789 .,;:!?-_/\\()[]{}<>") * 40
    for _ in range(20000):
        yield "".join(r.choice(common) for _ in range(r.randrange(1, 40)))
    spaces = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", "\u200b"]
    words = ["a", "Ab", "I'll", "they'RE", "x's", "12", "1234", "٣٤", "é", "e\u0301", "が", "か\u3099", "👍🏽", "...", "#!", "ſ", "'ſ", "K", "İ", "ß"]
    for _ in range(20000):
        yield "".join(r.choice(words if r.random() < 0.6 else spaces) for _ in range(r.randrange(1, 16)))


lines = list(translations())
print(f"{len(lines)} lines of translations")
lines += list(corners())
(OUT / "lines.json").write_text(json.dumps(lines, ensure_ascii=True))
corpus = lines[::3]


def train(name, pre, normalizer=None, bytes_=False, decoder=None):
    if bytes_:
        tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
        alphabet = []
    else:
        tok = Tokenizer(models.BPE())
        special, alphabet = ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet()
    if normalizer:
        tok.normalizer = normalizer
    if pre:
        tok.pre_tokenizer = pre
    tok.decoder = decoder or decoders.ByteLevel()
    tok.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=8000, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    if bytes_:  # the byte tokens are part of the model, not of the added tokens, as in the published files
        saved = json.loads(tok.to_str())
        saved["added_tokens"] = [a for a in saved["added_tokens"] if a["id"] < 3]
        tok = Tokenizer.from_str(json.dumps(saved))
    return name, tok


def split(pattern, **more):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, **more)])


LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
llama_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
gemma_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
styles = [
    train("gpt2", pre_tokenizers.ByteLevel(add_prefix_space=False)),
    train("gpt2-prefix-space", pre_tokenizers.ByteLevel(add_prefix_space=True)),
    train("smollm", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])),
    train("llama3", split(LLAMA3)),
    train("qwen2", split(QWEN2), normalizers.NFC()),
    train("mistral-tekken", split(TEKKEN)),
    train("gpt4o", split(GPT4O)),
    train("llama2", None, normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), True, llama_decoder),
    train("mistral-v1", pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False), None, True, llama_decoder),
    train("gemma", pre_tokenizers.Split(" ", "merged_with_previous"), normalizers.Replace(" ", "▁"), True, gemma_decoder),
]
for path in sys.argv[2:]:
    try:
        styles.append((Path(path).stem, Tokenizer.from_file(path)))
    except Exception as e:
        print(f"{path}: tokenizers does not read it: {e}")
for name, tok in styles:
    tok.no_truncation()
    tok.no_padding()
    tok.save(str(OUT / f"{name}.json"), pretty=False)
    with open(OUT / f"{name}.ids", "wb") as f:
        for at in range(0, len(lines), 1000):
            for e in tok.encode_batch(lines[at:at + 1000], add_special_tokens=False):
                f.write(struct.pack(f"<{len(e.ids) + 1}I", len(e.ids), *e.ids))
    print(f"{name}: {len(lines)} lines")
