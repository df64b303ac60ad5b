package tokenizer

import (
	"strings"
	"sync"
)

// posix reads [:name:] or [:^name:]; nil if there is none.
func posix(s string) (*runeSet, int) {
	end := strings.Index(s, ":]")
	if end < 2 {
		return nil, 0
	}
	name, not := strings.CutPrefix(s[2:end], "^")
	set := table("[:" + name + ":]")
	if name == "ascii" {
		set = setOf([]runeRange{{0, 0x7f}})
	}
	if set != nil && not {
		set = set.not()
	}
	return set, end + 2
}

// groupsOf are the properties that are made of others, and other names of some.
var groupsOf = map[string]string{
	"l": "Lu Ll Lt Lm Lo", "lc": "Lu Ll Lt", "m": "Mn Mc Me", "n": "Nd Nl No", "p": "Pc Pd Ps Pe Pi Pf Po",
	"s": "Sm Sc Sk So", "z": "Zs Zl Zp", "c": "Cc Cf Co Cn",
	"letter": "Lu Ll Lt Lm Lo", "casedletter": "Lu Ll Lt", "mark": "Mn Mc Me", "combiningmark": "Mn Mc Me",
	"number": "Nd Nl No", "punctuation": "Pc Pd Ps Pe Pi Pf Po",
	"symbol": "Sm Sc Sk So", "separator": "Zs Zl Zp", "other": "Cc Cf Co Cn",
	"uppercaseletter": "Lu", "lowercaseletter": "Ll", "titlecaseletter": "Lt", "modifierletter": "Lm",
	"otherletter":    "Lo",
	"nonspacingmark": "Mn", "spacingmark": "Mc", "enclosingmark": "Me", "decimalnumber": "Nd", "letternumber": "Nl",
	"othernumber":          "No",
	"connectorpunctuation": "Pc", "dashpunctuation": "Pd", "openpunctuation": "Ps", "closepunctuation": "Pe",
	"initialpunctuation": "Pi",
	"finalpunctuation":   "Pf", "otherpunctuation": "Po", "mathsymbol": "Sm", "currencysymbol": "Sc",
	"modifiersymbol": "Sk", "othersymbol": "So",
	"spaceseparator": "Zs", "lineseparator": "Zl", "paragraphseparator": "Zp", "control": "Cc", "format": "Cf",
	"privateuse": "Co", "unassigned": "Cn",
	"whitespace": "[:space:]", "hani": "Han", "hira": "Hiragana", "kana": "Katakana", "hang": "Hangul",
	"latn": "Latin", "grek": "Greek", "cyrl": "Cyrillic",
	"arab": "Arabic", "hebr": "Hebrew", "deva": "Devanagari", "zyyy": "Common", "zinh": "Inherited",
}

// properties are the lines of unicode.txt that \p{...} may name, by their names in lower case without _.
var properties = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for name := range unicodeLines() {
		if name[0] >= 'A' && name[0] <= 'Z' {
			m[strings.ToLower(strings.ReplaceAll(name, "_", ""))] = name
		} else if posix, ok := strings.CutPrefix(name, "[:"); ok && posix != "punct:]" {
			m[strings.TrimSuffix(posix, ":]")] = name
		}
	}
	return m
})

// property is the set of \p{name}; nil if it is not known.
func property(name string) *runeSet {
	name = strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(name))
	switch name {
	case "any":
		return setOf([]runeRange{{0, lastRune}})
	case "assigned":
		return table("Cn").not()
	case "ascii":
		return setOf([]runeRange{{0, 0x7f}})
	}
	if line, ok := groupsOf[name]; ok {
		var sets []*runeSet
		for _, l := range strings.Fields(line) {
			sets = append(sets, table(l))
		}
		return union(sets...)
	}
	if line, ok := properties()[name]; ok {
		return table(line)
	}
	return nil
}
