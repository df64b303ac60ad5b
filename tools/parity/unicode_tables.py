"""Writes fineweb/tokenizer/unicode.txt: what the tokenizers library takes each character for.

Its parts disagree with one another and with Go's tables: patterns (Oniguruma) know Unicode 16, `\\w` of added tokens is the regex
crate's, white space and digits are those of Rust's standard library, punctuation is of Unicode 8, normalization of Unicode 9. Ids must be
equal, so each part is asked about every character. A line is a name and ranges in hexadecimal."""
import sys
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

assert tuple(map(int, unicodedata.unidata_version.split("."))) <= (15, 0, 0), "this Python's Unicode is newer than Go's"
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CHUNKS = ["".join(map(chr, POINTS[i:i + 4096])) for i in range(0, len(POINTS), 4096)]
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn".split()
POSIX = "alnum alpha blank cntrl digit graph lower print punct space upper xdigit word".split()
BINARY = ["Alphabetic", "Uppercase", "Lowercase", "Emoji", "Emoji_Presentation", "Emoji_Modifier", "Emoji_Modifier_Base", "Extended_Pictographic",
          "ID_Start", "ID_Continue", "Ideographic", "Unified_Ideograph", "Punct"]
SCRIPTS = """Adlam Ahom Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid
Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret
Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek Gujarati
Gunjala_Gondi Gurmukhi Gurung_Khema Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited
Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki
Khudawadi Kirat_Rai Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen
Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean
Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian Old_Italic Old_North_Arabian
Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa
Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo
Sundanese Sunuwar Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan
Tifinagh Tirhuta Todhri Toto Tulu_Tigalari Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square""".split()


def kept(split):
    for chunk in CHUNKS:
        for piece, _ in split.pre_tokenize_str(chunk):
            yield from map(ord, piece)


def matched(expression):
    """The characters that a class of Oniguruma holds; a class and its complement, since a match of an added test character would hide nothing."""
    return set(kept(pre_tokenizers.Split(Regex(expression), "removed", invert=True)))


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return " ".join(f"{lo:x}" if lo == hi else f"{lo:x}-{hi:x}" for lo, hi in out)


table = {}
for name in CATEGORIES + SCRIPTS + BINARY:
    table[name] = matched(r"\p{%s}" % name)
for name in POSIX:
    table[f"[:{name}:]"] = matched(f"[[:{name}:]]")
every = set(POINTS)
table["white"] = every - set(kept(pre_tokenizers.WhitespaceSplit()))
table["punctuation"] = every - set(kept(pre_tokenizers.Punctuation("removed")))
digits, words = pre_tokenizers.Digits(False), pre_tokenizers.Whitespace()
table["numeric"] = {c for c in POINTS if len(digits.pre_tokenize_str(chr(c) + "7")) == 1}
table["word"] = {c for c in POINTS if c not in table["white"] and len(words.pre_tokenize_str(chr(c) + "a")) == 1}
clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
accents = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
strip, lowercase, nfd = normalizers.StripAccents(), normalizers.Lowercase(), normalizers.NFD()
table["control"] = {c for c in POINTS if clean.normalize_str(chr(c)) == ""}
table["nonspacing"] = {c for c in POINTS if accents.normalize_str(chr(c)) == ""}
table["mark"] = {c for c in POINTS if strip.normalize_str(chr(c)) == ""}

inert = set()  # characters newer than the library's tables of normalization: they decompose to nothing and combine with nothing
forms = {n: getattr(normalizers, n)() for n in ("NFC", "NFD", "NFKC", "NFKD")}
for c in POINTS:
    ch = chr(c)
    if any(unicodedata.normalize(n, ch) != f.normalize_str(ch) for n, f in forms.items()):
        inert.add(c)
    moved = "a" + ch + "\u0334"  # of combining class 1: it moves before marks of higher classes
    if unicodedata.combining(ch) > 1 and forms["NFD"].normalize_str(moved) == moved:
        inert.add(c)
    if unicodedata.category(ch) == "Cn" and c not in table["Cn"]:  # newer than Python's table: not known to older ones either
        inert.add(c)
table["inert"] = inert

with open(sys.argv[1], "w") as f:
    f.write("# Made by tools/parity/unicode_tables.py.\n")
    for name, points in table.items():
        assert points, name
        f.write(f"{name} {ranges(points)}\n")
    lower = []  # first, last, step, difference
    for c in POINTS:
        s = lowercase.normalize_str(chr(c))
        if s == chr(c):
            continue
        if len(s) > 1:
            f.write(f"lower {c:x} {' '.join(f'{ord(x):x}' for x in s)}\n")
            continue
        d = ord(s) - c
        if lower and lower[-1][3] == d and (c - lower[-1][1] == lower[-1][2] or lower[-1][0] == lower[-1][1] and c - lower[-1][1] <= 2):
            lower[-1][2], lower[-1][1] = c - lower[-1][1], c
        else:
            lower.append([c, c, 1, d])
    f.write("lowers " + " ".join(f"{a:x}-{b:x}/{step}{d:+d}" for a, b, step, d in lower) + "\n")
