package addr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// longestText is the most bytes that an address may have.
const longestText = 1 << 16

// Parse is the inverse of String for blocks.
func Parse(s string) (Addr, error) {
	a, err := ParseAny(s)
	if err != nil || a.IsModule() {
		return Addr{}, fmt.Errorf("%q is not the address of a block; one looks like stage.seed, data.fineweb_edu.corpus "+
			"or stage.grid[\"a\"]", shown(s))
	}
	return a, nil
}

// ParseAny is the inverse of String for blocks and modules.
func ParseAny(s string) (Addr, error) {
	r := reader{rest: s}
	a, ok := r.address()
	if len(s) > longestText || !ok {
		return Addr{}, fmt.Errorf("%q is not the address of a block or a module; one looks like stage.seed, "+
			"data.fineweb_edu.corpus, stage.grid[\"a\"] or module.run", shown(s))
	}
	return a, nil
}

// ParsePart reads the address of a block, or of a part of one such as data.text.d.validation.
func ParsePart(s string) (a Addr, part string, err error) {
	if a, err = Parse(s); err == nil {
		return a, "", nil
	}
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return a, "", err
	}
	a, bad := Parse(s[:i])
	if bad != nil || strings.ContainsAny(s[i:], "[]\"") {
		return Addr{}, "", err
	}
	return a, s[i+1:], nil
}

// shown cuts a text that is too long for a message.
func shown(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// reader reads an address from its start.
type reader struct{ rest string }

// address reads all of it.
func (r *reader) address() (a Addr, ok bool) {
	whole := r.rest
	for depth := 0; strings.HasPrefix(r.rest, "module."); depth++ {
		if _, _, ok := r.module(); !ok || depth == MaxDepth {
			return a, false
		}
	}
	a.Module = strings.TrimSuffix(strings.TrimSuffix(whole, r.rest), ".")
	if r.rest == "" {
		return a, a.Module != "" && !strings.HasSuffix(whole, ".")
	}
	if a.Kind, ok = r.name(); !ok || !slices.Contains(Kinds, a.Kind) {
		return a, false
	}
	if Typed[a.Kind] {
		if a.Type, ok = r.next(); !ok {
			return a, false
		}
	}
	if a.Name, ok = r.next(); !ok {
		return a, false
	}
	a.Key, ok = r.key()
	return a, ok && r.rest == ""
}

// module reads a step such as module.a["k"] and the dot after it.
func (r *reader) module() (name, key string, ok bool) {
	if word, good := r.name(); !good || word != "module" {
		return "", "", false
	}
	if name, ok = r.next(); !ok {
		return "", "", false
	}
	if key, ok = r.key(); !ok {
		return "", "", false
	}
	if r.rest != "" {
		r.rest, ok = strings.CutPrefix(r.rest, ".")
	}
	return name, key, ok
}

// name reads a name.
func (r *reader) name() (string, bool) {
	n := strings.IndexAny(r.rest, ".[]\"")
	if n < 0 {
		n = len(r.rest)
	}
	name := r.rest[:n]
	r.rest = r.rest[n:]
	return name, name != ""
}

// next reads a dot and a name.
func (r *reader) next() (name string, ok bool) {
	if r.rest, ok = strings.CutPrefix(r.rest, "."); !ok {
		return "", false
	}
	return r.name()
}

// key reads the key of an instance, if there is one.
func (r *reader) key() (key string, ok bool) {
	rest, ok := strings.CutPrefix(r.rest, "[")
	if !ok {
		return "", true
	}
	if strings.HasPrefix(rest, `"`) {
		key, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return "", false
		}
		if k, err := strconv.Unquote(key); err != nil || strconv.Quote(k) != key {
			return "", false
		}
		r.rest, ok = strings.CutPrefix(rest[len(key):], "]")
		return key, ok
	}
	key, r.rest, ok = strings.Cut(rest, "]")
	n, err := strconv.Atoi(key)
	return key, ok && err == nil && n >= 0 && strconv.Itoa(n) == key
}
