"""Writes what Python's re finds and replaces: the fixture of foreign/pyre."""
import json
import pathlib
import re

patterns = [
    (r"#### (\-?[0-9\.\,]+)", r""), (r"(-?[$0-9.,]{2,})|(-?[0-9]+)", r"<\1|\2>"), (r",", ""), (r"\$", ""),
    (r"(?s).*#### ", ""), (r"\.$", ""), (r"\[.*?\]", ""), (r"(?P<a>\d+)\s*(?P<b>[a-z]*)", r"\g<b>\g<1>\\"),
    (r"(a)(?P<n>b)?(c)", r"\3\1"), (r"[^[\]a]+", "x"), (r"a{,2}", "-"), (r"(?<=\s)\w", "_"), (r"\bthe\b", "THE\\n"),
    (r"(\w)(?P=q)|(?P<q>z)" if False else r"(?P<q>\w)(?P=q)", r"\g<q>"), (r"\s+", " "), (r"x*", "-"), (r"\Aone|two\Z", "!"),
    (r"(?i)THE (?:answer|Antwort) is\s*:?\s*([A-D])", r"\1"), (r"é|三", "e"), (r"\U0001F642", ":)"), ("(?#c)o", "0"),
]
texts = [
    "", "one two", "the answer is 42. #### 1,234.50", "So $5.00 and -3\n#### -7.", "[title] ab abc ac [x] aab\n",
    "The answer is: C. the Antwort is  d", "été 三 12 ab 🙂 aazz  two", "5.\n", "baac", "a.b.\n\n",
]
cases = []
for pattern, repl in patterns:
    for text in texts:
        for count in (0, 1):
            if count and (len(pattern) + len(text)) % 3:
                continue
            found = [[m] if isinstance(m, str) else list(m) for m in re.findall(pattern, text)]
            cases.append({"Pattern": pattern, "Text": text, "Repl": repl, "Count": count, "All": found,
                          "Sub": re.sub(pattern, repl, text, count=count)})
out = pathlib.Path(__file__).parents[2] / "foreign" / "pyre" / "testdata" / "python.json"
out.parent.mkdir(exist_ok=True)
out.write_text(json.dumps(cases, indent=1) + "\n")
