// Package addr names the blocks of a pipeline. An Addr is comparable: configuration, plan, state,
// traces and reports all use it as a key.
package addr

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Addr is the name of a block: the module it is in, kind, type (for kinds that have one), name, and the key of an
// instance made by count or for_each. Without a kind it is the name of a module.
type Addr struct {
	Module           string // path of the module's instance as written: module.a["k"].module.b; empty in the root
	Kind, Type, Name string
	Key              string // as written between brackets: 0 or "key"; empty without count and for_each
}

// Typed lists the kinds whose blocks carry two labels.
var Typed = map[string]bool{"data": true, "tokenizer": true, "model": true, "peft": true, "optimizer": true, "evaluate": true, "export": true, "executor": true}

// Kinds lists all kinds that can be referred to.
var Kinds = []string{"var", "local", "executor", "data", "tokenizer", "model", "peft", "optimizer", "memory_plan", "stage", "task", "evaluate", "export", "output"}

func (a Addr) String() string {
	if a.IsModule() {
		return a.Module
	}
	s := a.Kind
	if a.Module != "" {
		s = a.Module + "." + s
	}
	if a.Type != "" {
		s += "." + a.Type
	}
	s += "." + a.Name
	if a.Key != "" {
		s += "[" + a.Key + "]"
	}
	return s
}

// Word writes the address as a word of a command line: a shell would take the quotes of a key away.
func (a Addr) Word() string {
	s := a.String()
	if !strings.Contains(s, "[") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Block is the address without the key of an instance: of a block, or where it names a module of that.
func (a Addr) Block() Addr {
	if a.IsModule() {
		return Addr{Module: Call(a.Module)}
	}
	a.Key = ""
	return a
}

// IntKey and StringKey write the keys of instances.
func IntKey(i int) string       { return strconv.Itoa(i) }
func StringKey(k string) string { return strconv.Quote(k) }

// longest is what a folder's name may have; file systems take 255 bytes, and a name may get a suffix.
const longest = 200

// Dir is the address as the name of a folder. Two addresses never share one, not even where the file system takes upper
// case for lower: all but lower-case letters, digits, '_' and '-' are written in hexadecimal, a string key that
// reads like a number too, and an address that is too long ends in its hash.
func (a Addr) Dir() string {
	var b strings.Builder
	a.dir(&b)
	b.WriteString(a.Kind + ".")
	if a.Type != "" {
		escape(&b, a.Type, "")
		b.WriteByte('.')
	}
	escape(&b, a.Name, "")
	escapeKey(&b, a.Key, ".")
	if s := b.String(); len(s) <= longest {
		return s
	}
	sum := sha256.Sum256([]byte(a.String()))
	return b.String()[:longest-1-2*16] + "~" + hex.EncodeToString(sum[:16])
}

// escapeKey writes the key of an instance, if there is one, as escape does.
func escapeKey(b *strings.Builder, key, allowed string) {
	if key == "" {
		return
	}
	b.WriteByte('@')
	if k, err := strconv.Unquote(key); err != nil { // a number
		b.WriteString(key)
	} else if n, err := strconv.Atoi(k); err == nil && strconv.Itoa(n) == k {
		fmt.Fprintf(b, "%%%02X%s", k[0], k[1:])
	} else if rest, ok := strings.CutSuffix(k, "."); ok { // some systems drop a dot at the end
		escape(b, rest, allowed)
		b.WriteString("%2E")
	} else {
		escape(b, k, allowed)
	}
}

// escape writes s with every byte in hexadecimal that is not a lower-case letter, a digit, '_', '-' or one of allowed.
func escape(b *strings.Builder, s, allowed string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-', strings.IndexByte(allowed, c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(b, "%%%02X", c)
		}
	}
}
