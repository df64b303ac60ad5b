"""Writes small tokenizers and the ids the tokenizers library gives for a list of hard texts."""
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers, Regex

OUT = Path(sys.argv[1])

CORPUS = [
    "Package fmt implements formatted I/O with functions analogous to C's printf and scanf.",
    "The verbs are derived from C's but are simpler. It's what we've got; they'll see, I'd say.",
    "Numbers 1234567890 and 3.14159, dates 2024-01-31, hex 0xDEADBEEF.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Ça va? Señor!",
    "日本語のテキスト と 中文 文本 한국어 텍스트 русский текст العربية",
    "func main() {\n\tfmt.Println(\"hello, world\")\n}\n\n\n  indented   text\r\n",
    "Emoji 😀👍🏽 family 👨‍👩‍👧 and flags 🇩🇪.",
] * 4

TEXTS = [
    "", " ", "  ", "\n", "\t\n ", "a", " a", "a ", "hello world", "Hello,  world!", "don't we'll I'd they're 's 'S",
    "x=1;y=22;z=333", "1234567890", "٣٤٥ ½ Ⅷ 5", "ZWÖLF Boxkämpfer", "e\u0301 \u00e9", "日本語テキスト中文", "한국어 텍스트",
    "\u00a0non\u00a0breaking", "\u3000wide", "line\r\nline\n\n\nline", "    four\n\tspace", "😀👍🏽👨‍👩‍👧🇩🇪", "\u200b\ufeff", "a\u0000b",
    "<|endoftext|>", "before<|endoftext|>after", "<s> </s> <unk>", "snake_case camelCase kebab-case", "tail   ", "...!!!???", "'", "''s",
    "https://go.dev/pkg/fmt?x=1&y=2#frag", "The quick brown fox jumps over the lazy dog. " * 6, "ab" * 120, " " * 70, "\U0010ffff\ud7ff",
]


def dump(name, tok, add):
    path = OUT / f"{name}.json"
    tok.save(str(path), pretty=False)
    cases = []
    for t in TEXTS:
        ids = tok.encode(t, add_special_tokens=False).ids
        cases.append({"text": t, "ids": ids, "with_special": tok.encode(t).ids, "decoded": tok.decode(ids, skip_special_tokens=False)})
    (OUT / f"{name}.cases.json").write_text(json.dumps(cases, ensure_ascii=True) + "\n")


def byte_level(pre, size=500):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=size, special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tok


dump("gpt2_style", byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)), False)
dump("smollm_style", byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])), False)
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
t = byte_level(pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))
t.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
dump("llama3_style", t, True)

tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
tok.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>", "<s>", "</s>"] + byte_tokens, show_progress=False))
saved = json.loads(tok.to_str())
saved["added_tokens"] = [a for a in saved["added_tokens"] if a["id"] < 3]
tok = Tokenizer.from_str(json.dumps(saved))
tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
dump("llama2_style", tok, True)

# What a training run over the corpus gives, for comparison with our own trainer.
trained = json.loads(byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), 400).to_str())
(OUT / "trained.merges.json").write_text(json.dumps({"corpus": CORPUS, "merges": trained["model"]["merges"]}) + "\n")
