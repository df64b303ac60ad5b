"""Makes tokenizers of random parts with random flags, and what the tokenizers library gives for hard lines, for fineweb/tokenizer's
TestGenerated.

Usage: tokenizers_generated.py OUT.jsonl COUNT [SEED], or tokenizers_generated.py -check FILE.jsonl, which compares a file made before with what
the library gives now. A line of OUT holds a tokenizer.json, texts, and for each its ids, its ids where special
tokens are text, and what the ids decode to. What the library itself refuses is left out."""
import json
import os
import random
import select
import signal
import sys
import time

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CORPUS = [
    "Package fmt implements formatted I/O with functions analogous to C's printf and scanf.",
    "The verbs are derived from C's but are simpler. It's what we've got; they'll see, I'd say. HELLO World hello",
    "Numbers 1234567890 and 3.14159, dates 2024-01-31, hex 0xDEADBEEF. <extra> foo FOO Foo <mask>",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Ça va? Señor! İstanbul",
    "日本語のテキスト と 中文 文本 한국어 텍스트 русский текст العربية हिन्दी",
    "func main() {\n\tfmt.Println(\"hello, world\")\n}\n\n\n  indented   text\r\n",
    "Emoji 😀👍🏽 family 👨‍👩‍👧 and flags 🇩🇪. e\u0301 ﬁ ½ ① ™",
] * 4
BYTES = [f"<0x{b:02X}>" for b in range(256)]
SPECIAL = ["<unk>", "<s>", "</s>", "<|endoftext|>"]


def trained(model, trainer, pre):
    tok = Tokenizer(model)
    if pre:
        tok.pre_tokenizer = pre
    tok.train_from_iterator(CORPUS, trainer)
    return json.loads(tok.to_str())["model"]


def base_models():
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    common = dict(vocab_size=500, show_progress=False)
    yield trained(models.BPE(), trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"], **common), level)
    yield trained(models.BPE(unk_token="<unk>"), trainers.BpeTrainer(special_tokens=SPECIAL + BYTES, vocab_size=750, show_progress=False), pre_tokenizers.Metaspace())
    yield trained(models.BPE(unk_token="<unk>"), trainers.BpeTrainer(special_tokens=SPECIAL, limit_alphabet=60, end_of_word_suffix="</w>", **common), pre_tokenizers.WhitespaceSplit())
    yield trained(models.BPE(unk_token="<unk>"), trainers.BpeTrainer(special_tokens=SPECIAL, limit_alphabet=60, continuing_subword_prefix="##", **common), pre_tokenizers.Whitespace())
    yield trained(models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer(special_tokens=SPECIAL, limit_alphabet=80, **common), pre_tokenizers.BertPreTokenizer())
    yield trained(models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False, vocab_size=80), pre_tokenizers.Whitespace())
    yield trained(models.Unigram(), trainers.UnigramTrainer(special_tokens=SPECIAL + BYTES, unk_token="<unk>", vocab_size=600, show_progress=False), pre_tokenizers.Metaspace())
    yield trained(models.Unigram(), trainers.UnigramTrainer(special_tokens=SPECIAL, unk_token="<unk>", vocab_size=250, show_progress=False), pre_tokenizers.Metaspace())


PUBLISHED = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r" ?[^(\s|[.,!?…。，、।۔،])]+", r"[\r\n]", r"\p{N}", r"\d{1,3}(?=(?:\d{3})*\b)", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[一-龥ࠀ-一가-퟿]+", r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]
ATOMS = ["a", "b", "e", " ", "'", ".", r"\s", r"\S", r"\w", r"\W", r"\d", r"\D", r"\h", r"\H", r"\R", r"\p{L}", r"\P{L}", r"\p{Lu}", r"\p{^N}", r"\p{Han}", r"\p{Hiragana}", r"\p{Latin}",
         r"\p{Alpha}", r"\p{Punct}", r"\p{M}", r"\p{S}", r"\p{Emoji}", "[a-z]", "[^a-z]", "[[:alpha:]]", "[[:punct:]]", "[[:^space:]]", "[[:upper:]0-9]", "[^[:word:]]", "[a-z&&[^aeiou]]",
         r"[\p{L}&&[^\p{Han}]]", r"[^\s\p{L}&&[^x]]", "[ab[c-e]]", "[^ab[c-e]]", r"[\w-]", r"[-\s]", "[^(\\s|[.,!?])]", r"[\x41-\x5a]", r"\x{3042}", r"\u0041", r"\t", r"\n", "(?:ab|a)", "(?:a|ab)", "(l+)",
         "(?i:hello)", "(?i:'S)", "(?i:[a-f])", "(?>a+|b)", "(?<x>o|w)", "(?#c)", "{1}", "{,}"]
ASSERTIONS = ["^", "$", r"\b", r"\B", r"\A", r"\z", r"\Z", r"(?=\s)", r"(?!\S)", r"(?<=\s)", r"(?<!\w)", "(?<=a|bc)", "(?=l)", r"(?<!a\Z)", "(?<!(l))", "(?<=(?<!l)o)"]
QUANTIFIERS = ["", "", "", "*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{1,3}", "{,2}", "{2,}", "{1,3}?", "{2}+", "{3,1}"]


class Made:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def one(self, *options):
        return self.r.choice(options)

    def expression(self, depth=0):
        if depth == 0 and self.r.random() < 0.35:
            return self.one(*PUBLISHED)
        parts = []
        for _ in range(self.r.randrange(1, 4)):
            kind = self.r.random()
            if kind < 0.15:
                parts.append(self.one(*ASSERTIONS))
            elif kind < 0.3 and depth < 2:
                parts.append(self.one("(?:%s)", "(%s)", "(?>%s)", "(?=%s)", "(?!%s)", "(?i:%s)", "(?m:%s)", "(?x: %s )") % self.expression(depth + 1) + (self.one("", "", "*", "+", "?", "++", "{1,2}") if parts or depth else ""))
            else:
                parts.append(self.one(*ATOMS) + self.one(*QUANTIFIERS))
        e = "".join(parts)
        if self.r.random() < 0.4:
            e += "|" + self.expression(depth + 1)
        if self.r.random() < 0.05:
            e = "(?i)" + e
        return e

    def pattern(self):
        if self.r.random() < 0.25:
            return {"String": self.one(" ", "a", "▁", "l", ".", "ab", "", "\n", "Ġ", "e\u0301", "||", "-")}
        return {"Regex": self.expression()}

    def sequence(self, kind, field, make, most):
        n = self.r.randrange(0, most + 1)
        if n == 0:
            return None
        if n == 1 and self.r.random() < 0.7:
            return make()
        parts = [make() for _ in range(n)]
        if self.r.random() < 0.15:
            parts.append({"type": "Sequence", field: [make()]})
        return {"type": "Sequence", field: parts}

    def flag(self):
        return self.r.random() < 0.5

    def normalizer(self):
        kind = self.one("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "BertNormalizer", "Nmt", "Replace", "Replace", "Prepend", "ByteLevel")
        f = {"type": kind}
        if kind == "Strip":
            f |= {"strip_left": self.flag(), "strip_right": self.flag()}
        elif kind == "BertNormalizer":
            f |= {"clean_text": self.flag(), "handle_chinese_chars": self.flag(), "strip_accents": self.one(None, True, False), "lowercase": self.flag()}
        elif kind == "Replace":
            f |= {"pattern": self.pattern(), "content": self.one("▁", " ", "", "x", "ab", "\n", "é")}
        elif kind == "Prepend":
            f["prepend"] = self.one("▁", " ", "ab", "")
        return f

    def pre_tokenizer(self):
        kind = self.one("ByteLevel", "ByteLevel", "Digits", "WhitespaceSplit", "Whitespace", "Punctuation", "BertPreTokenizer", "CharDelimiterSplit", "FixedLength", "Metaspace", "Metaspace", "Split", "Split", "Split")
        f = {"type": kind}
        behaviors = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
        if kind == "ByteLevel":
            f |= {"add_prefix_space": self.flag(), "trim_offsets": self.flag(), "use_regex": self.flag()}
        elif kind == "Digits":
            f["individual_digits"] = self.flag()
        elif kind == "Punctuation":
            f["behavior"] = self.one(*behaviors)
        elif kind == "CharDelimiterSplit":
            f["delimiter"] = self.one(" ", "a", "▁", ".")
        elif kind == "FixedLength":
            f["length"] = self.r.randrange(1, 7)
        elif kind == "Metaspace":
            f |= {"replacement": self.one("▁", "▁", "_", "a"), "prepend_scheme": self.one("first", "always", "never"), "split": self.flag()}
        elif kind == "Split":
            f |= {"pattern": self.pattern(), "behavior": self.one(*behaviors), "invert": self.r.random() < 0.3}
        return f

    def decoder(self):
        kind = self.one("ByteLevel", "Metaspace", "Replace", "Fuse", "ByteFallback", "WordPiece", "BPEDecoder", "CTC", "Strip")
        f = {"type": kind}
        if kind == "ByteLevel":
            f |= {"add_prefix_space": self.flag(), "trim_offsets": self.flag(), "use_regex": self.flag()}
        elif kind == "Metaspace":
            f |= {"replacement": "▁", "prepend_scheme": self.one("first", "always", "never"), "split": self.flag()}
        elif kind == "Replace":
            f |= {"pattern": self.pattern(), "content": self.one(" ", "", "x")}
        elif kind == "WordPiece":
            f |= {"prefix": self.one("##", "a"), "cleanup": self.flag()}
        elif kind == "BPEDecoder":
            f["suffix"] = self.one("</w>", "a")
        elif kind == "CTC":
            f |= {"pad_token": self.one("<s>", "a"), "word_delimiter_token": self.one("|", "▁"), "cleanup": self.flag()}
        elif kind == "Strip":
            f |= {"content": self.one(" ", "▁", "a"), "start": self.r.randrange(2), "stop": 0}
        return f

    def added(self, model):
        vocab = model["vocab"]
        known = set(vocab if isinstance(vocab, dict) else (t for t, _ in vocab))
        out, next_id = [], len(vocab)
        ids = dict(vocab) if isinstance(vocab, dict) else {t: i for i, (t, _) in enumerate(vocab)}
        names = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<extra>", "foo", "FOO", "<mask>", "lo", "hello", " hello", "a b", "é", "e\u0301", "İ", "\n\n", "<|im_start|>", "<|im", "▁x", "12", "ll", "  ", "ﬁ", "日本", "&", "Ġ"]
        for name in self.r.sample(names, self.r.randrange(0, 8)):
            i = ids.get(name)
            if i is None:
                i, next_id = next_id, next_id + 1
            out.append({"id": i, "content": name, "single_word": self.r.random() < 0.25, "lstrip": self.r.random() < 0.25, "rstrip": self.r.random() < 0.25,
                        "normalized": self.flag(), "special": self.flag()})
        return sorted(out, key=lambda a: a["id"])

    def tokenizer(self, bases):
        model = json.loads(self.one(*bases))
        if model["type"] == "BPE":
            model |= {"fuse_unk": self.flag(), "byte_fallback": self.flag(), "ignore_merges": self.flag()}
            if self.r.random() < 0.3:
                model["unk_token"] = self.one(None, "<unk>") if "<unk>" in model["vocab"] else None
            if self.r.random() < 0.2:
                model["end_of_word_suffix"] = self.one("</w>", "", None)
            if self.r.random() < 0.1 and not model["continuing_subword_prefix"]:
                model["merges"] = model["merges"][:50]
        elif model["type"] == "Unigram":
            model["byte_fallback"] = self.flag()
        elif model["type"] == "WordPiece":
            model["max_input_chars_per_word"] = self.one(100, 5, 1000)
        return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": self.added(model),
                "normalizer": self.sequence("normalizer", "normalizers", self.normalizer, 3),
                "pre_tokenizer": self.sequence("pre_tokenizer", "pretokenizers", self.pre_tokenizer, 3),
                "post_processor": None, "decoder": self.sequence("decoder", "decoders", self.decoder, 3), "model": model}

    def line(self):
        words = ["a", "Ab", "I'll", "they'RE", "x's", "12", "1234567", "٣٤", "é", "e\u0301", "が", "か\u3099", "👍🏽", "...", "#!", "ſ", "'ſ", "K", "İ", "ß", "hello", "HELLO", "foo", "FOO", "<extra>", "<mask>",
                 "<|endoftext|>", "<|im_start|>", "<s>", "</s>", "<unk>", "日本語", "中文", "한국어", "русский", "العربية", "हिन्दी", "ﬁ", "½", "①", "™", "Ω", "ǅ", "x\u200dy", "a_b", "Ⅷ", "²", "^", "$", "|", "<", ">", "+",
                 "lo", "ll", "world", "\u0301", "\u0e33", "Σας", "\ufdfa", "\U00010d50", "\ua7cb", "\U00011f50", "\u0378", "▁", "▁x", "Ġ", "##", "</w>", "a b", "<0x41>", "the", "ab", "abab", "\ufffd", "\x00", "&", "-"]
        spaces = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", "\u200b", "\ufeff", "\x0b", "\u1680", "\u180e"]
        if self.r.random() < 0.1:
            return "".join(chr(self.r.choice([c for c in (self.r.randrange(0x3000), self.r.randrange(0x11000), self.r.randrange(0x110000)) if not 0xD800 <= c < 0xE000] or [65])) for _ in range(self.r.randrange(1, 12)))
        return "".join(self.r.choice(words if self.r.random() < 0.65 else spaces) for _ in range(self.r.randrange(0, 12)))


def row(text, lines):
    try:
        tok = Tokenizer.from_str(text)
    except BaseException:  # a panic of Rust is no Exception
        return None
    rows = []
    for line in lines:
        try:
            tok.encode_special_tokens = False
            ids = tok.encode(line, add_special_tokens=False).ids
            decoded = tok.decode(ids, skip_special_tokens=False)
            skipped = tok.decode(ids, skip_special_tokens=True)
            tok.encode_special_tokens = True
            plain = tok.encode(line, add_special_tokens=False).ids
        except BaseException:
            continue
        rows.append({"text": line, "ids": ids, "plain": plain, "decoded": decoded, "skipped": skipped})
    return {"tokenizer": text, "rows": rows}


def bounded(f, seconds):
    """What f gives, in a process of its own: Oniguruma may take for ever, and cannot be interrupted."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with open(write, "wb") as w:
            w.write(json.dumps(f(), ensure_ascii=True).encode())
        os._exit(0)
    os.close(write)
    out, end = b"", time.monotonic() + seconds
    with open(read, "rb", buffering=0) as r:
        while left := max(0, end - time.monotonic()):
            if select.select([r], [], [], left)[0]:
                if not (chunk := r.read(1 << 20)):
                    break
                out += chunk
    if left == 0:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return json.loads(out) if left and out else None


def main():
    if sys.argv[1] == "-check":
        for line in open(sys.argv[2]):
            old = json.loads(line)
            new = bounded(lambda: row(old["tokenizer"], [r["text"] for r in old["rows"]]), 60)
            assert new and new["rows"] == old["rows"], f"tokenizer {old['n']} gives something else now"
        return
    out, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
    bases = [json.dumps(m) for m in base_models()]
    kept = 0
    with open(out, "w") as f:
        for n in range(count):
            m = Made(f"{seed}/{n}")
            text = json.dumps(m.tokenizer(bases))
            lines = [m.line() for _ in range(40)]
            if made := bounded(lambda: row(text, lines), 10):
                f.write(json.dumps({"n": n} | made, ensure_ascii=True) + "\n")
                kept += 1
    print(f"{kept} tokenizers of {count}; the library itself refuses the others, or takes too long")


main()
