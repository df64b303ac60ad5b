"""Contamination by other means, with sets of tuples of words and of tokens: contamination.py OUT [DATA].

Writes OUT/train.jsonl, OUT/eval.jsonl, OUT/tokenizer.json and OUT/expected.json: of each document to measure, how many n-grams it
has and how many of them stand in a document to train on, by words and by tokens; and which documents to train on share an n-gram of
words. Measured are planted copies with another case, other punctuation, line breaks, accents and invisible characters, near misses,
short documents and random characters. DATA is a folder of test data (text/*.txt and eval/*.jsonl); without it the texts are the
pages of docs. Where lm_eval is installed, its Janitor must find the same documents, of those in ASCII.
"""
import contextlib
import io
import json
import random
import re
import sys
import unicodedata
from pathlib import Path

from tokenizers import Tokenizer

N, LEAST = 13, 8


def letter(c):
    """The letters that stand for a character of a decomposed text; a space where a word ends."""
    kind = unicodedata.category(c)
    if kind == "Cc" or kind[0] == "Z":
        return " "
    if kind[0] in "PSM" or kind == "Cf":
        return ""
    for case in (str.upper, str.lower):
        if len(case(c)) == 1:
            c = case(c)
    if 0x3400 <= ord(c) <= 0x9FFF or 0x20000 <= ord(c) <= 0x3FFFF:
        return f" {c} "
    return c


def words(text):
    return "".join(map(letter, unicodedata.normalize("NFD", text))).split()


def grams(units):
    if len(units) >= N:
        return [tuple(units[i:i + N]) for i in range(len(units) - N + 1)]
    return [tuple(units)] if len(units) >= LEAST else []


def runs(units, lengths):
    return {tuple(units[i:i + n]) for n in lengths for i in range(len(units) - n + 1)}


def texts(data):
    """Documents to train on, and documents to measure beside what is planted."""
    if not data:
        pages = [p for f in sorted(Path("docs").rglob("*.md")) for p in f.read_text().split("\n\n")]
        return pages[::2], pages[1::2]
    train = [p for f in ("wikitext2_test", "tinyshakespeare") for p in re.split(r"\n\s*\n| \n", (data / f"text/{f}.txt").read_text())]
    measured = []
    for f in ("arc_easy", "piqa", "lambada_openai"):
        for line in (data / f"eval/{f}.jsonl").open():
            x = json.loads(line)
            measured.append(x["query"] + " " + x["choices"][x["gold"]] if "choices" in x and "gold" in x else " ".join(str(v) for v in x.values()))
    return train, measured


def planted(rng, span):
    """Ways to write a span of words: those that are the same words, and those that are not."""
    yield " ".join(span)
    yield " ".join(span).upper()
    yield "\n\n".join(span)
    yield " ".join(w + rng.choice(["", ",", "!?", "…", "”", "\u00ad"]) for w in span)
    yield "\u00a0".join(unicodedata.normalize(rng.choice(["NFC", "NFD"]), w) for w in span)
    yield " ".join("".join(c + ("\u0301" if c in "aeiou" else "") for c in w) for w in span)
    for k in (0, len(span) // 2, len(span) - 1):
        yield " ".join(span[:k] + ["otherwise"] + span[k + 1:])
        yield " ".join(span[:k] + span[k + 1:])
    yield " ".join(span[:7])
    yield "".join(span)


def noise(rng):
    """A line of random characters of Unicode, with spaces between some. Syllables of Hangul stay as they are in our words."""
    def char():
        while True:
            c = chr(rng.choice([rng.randrange(0x20, 0x600), rng.randrange(0x20, 0x3400), rng.randrange(0x20, 0xFFFE), rng.randrange(0x10000, 0x1FFFF)]))
            hangul = 0x1100 <= ord(c) < 0x1200 or 0xAC00 <= ord(c) < 0xD7B0 or 0xA960 <= ord(c) < 0xA980
            if unicodedata.category(c) not in ("Cs", "Cn", "Co") and not hangul:
                return c
    return "".join(char() + rng.choice(["", "", " "]) for _ in range(60))


def main():
    out, data = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    train, measured = texts(data)
    train = [t for t in train if t]
    lines = [noise(rng) for _ in range(600)]
    train += lines[:300]
    measured += lines[:150] + lines[300:] + [unicodedata.normalize("NFD", x) for x in lines[150:300]] + ["春眠不覺曉，處處聞啼鳥。夜來風雨聲"]
    train += ["孟浩然：春眠不覺曉，處處聞啼鳥，夜來風雨聲，花落知多少。"]
    long = [t.split() for t in train if len(t.split()) > 40]
    for _ in range(300):
        span = rng.choice(long)
        at, n = rng.randrange(len(span) - 30), rng.choice([8, 10, 12, 13, 14, 20, 30])
        measured += planted(rng, span[at:at + n])
    measured = [m for m in measured if m]
    source = Path("fineweb/tokenizer/testdata/gpt2_style.json")
    tok = Tokenizer.from_file(str(source))
    (out / "tokenizer.json").write_bytes(source.read_bytes())
    tok.encode_special_tokens = True
    expected = {}
    for kind, units in ("words", words), ("tokens", lambda t: tok.encode(t, add_special_tokens=False).ids):
        mine = [grams(units(t)) for t in measured]
        lengths = sorted({len(g) for m in mine for g in m})
        known = {g for m in mine for g in m}
        shared = [runs(units(t), lengths) & known for t in train]
        found = set().union(*shared)
        expected[kind] = [[len(m), sum(g in found for g in m)] for m in mine]
        if kind == "words":
            expected["unclean"] = [i for i, s in enumerate(shared) if s]
    for name, docs in ("train", train), ("eval", measured):
        (out / f"{name}.jsonl").write_text("".join(json.dumps({"id": str(i), "text": t}) + "\n" for i, t in enumerate(docs)))
    (out / "expected.json").write_text(json.dumps(expected))
    janitor(train, measured, expected["words"])
    dirty = sum(f > 0 for _, f in expected["words"])
    print(f"{len(measured)} documents, {dirty} share words with {len(expected['unclean'])} of {len(train)}, "
          f"{sum(f > 0 for _, f in expected['tokens'])} tokens")


def janitor(train, measured, want):
    """lm-evaluation-harness calls contaminated a document of which a 13-gram stands in the training data."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # which tells of a module in C++ that it can do without
            from lm_eval.decontamination.janitor import Janitor, word_ngrams
    except ImportError:
        print("lm_eval is not installed: its Janitor was not compared")
        return
    j = Janitor()
    plain = lambda t: t.isascii() and not re.search(r"[\x00-\x08\x0e-\x1f\x7f]", t)
    train = [t for t in train if plain(t)]
    known = set().union(*(word_ngrams(j.normalize_string(t), N) for t in train))
    inside = {g for t in train for g in grams(words(t))}
    n = 0
    for i, t in enumerate(measured):
        mine = grams(words(t))
        if plain(t) and mine and len(mine[0]) == N:
            theirs = [g in known for g in word_ngrams(j.normalize_string(t), N)]
            assert theirs == [g in inside for g in mine], t
            n += 1
    print(f"lm_eval's Janitor finds the same n-grams in {n} documents")


main()
