// Package addr names the blocks of a pipeline. An Addr is comparable: configuration, plan, state,
// traces and reports all use it as a key.
package addr

import (
	"fmt"
	"strconv"
	"strings"
)

// Addr is the name of a block: kind, type (for kinds that have one), name, and the key of an
// instance made by count or for_each.
type Addr struct {
	Kind, Type, Name string
	Key              string // as written between brackets: 0 or "key"; empty without count and for_each
}

// Typed lists the kinds whose blocks carry two labels.
var Typed = map[string]bool{"data": true, "tokenizer": true, "model": true, "peft": true, "optimizer": true, "evaluate": true, "export": true}

// Kinds lists all kinds that can be referred to.
var Kinds = []string{"var", "local", "data", "tokenizer", "model", "peft", "optimizer", "memory_plan", "stage", "evaluate", "export", "output"}

func (a Addr) String() string {
	s := a.Kind
	if a.Type != "" {
		s += "." + a.Type
	}
	s += "." + a.Name
	if a.Key != "" {
		s += "[" + a.Key + "]"
	}
	return s
}

// Block is the address without the key of an instance.
func (a Addr) Block() Addr { a.Key = ""; return a }

// IntKey and StringKey write the keys of instances.
func IntKey(i int) string       { return strconv.Itoa(i) }
func StringKey(k string) string { return strconv.Quote(k) }

// Parse is the inverse of String.
func Parse(s string) (Addr, error) {
	bad := func() (Addr, error) {
		return Addr{}, fmt.Errorf("%q is no block address; one looks like stage.seed, data.fineweb_edu.corpus or stage.grid[\"a\"]", s)
	}
	rest, key := s, ""
	if i := strings.IndexByte(s, '['); i >= 0 {
		if !strings.HasSuffix(s, "]") {
			return bad()
		}
		rest, key = s[:i], s[i+1:len(s)-1]
		if n, err := strconv.Atoi(key); err == nil && n >= 0 && strconv.Itoa(n) == key {
		} else if k, err := strconv.Unquote(key); err != nil || key[0] != '"' || strconv.Quote(k) != key {
			return bad()
		}
	}
	parts := strings.Split(rest, ".")
	a := Addr{Kind: parts[0], Key: key}
	known := false
	for _, k := range Kinds {
		known = known || k == a.Kind
	}
	switch {
	case !known:
		return bad()
	case Typed[a.Kind] && len(parts) == 3:
		a.Type, a.Name = parts[1], parts[2]
	case !Typed[a.Kind] && len(parts) == 2:
		a.Name = parts[1]
	default:
		return bad()
	}
	if a.Name == "" || Typed[a.Kind] && a.Type == "" {
		return bad()
	}
	return a, nil
}

// Dir is the address as the name of a folder: no separators, quotes or brackets.
func (a Addr) Dir() string {
	var b strings.Builder
	for _, r := range a.String() {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			b.WriteRune(r)
		case r == '[':
			b.WriteByte('@')
		case r == ']', r == '"':
		default:
			fmt.Fprintf(&b, "%%%X", r)
		}
	}
	return b.String()
}
