package addr

import "strings"

// MaxDepth is how many modules may be inside each other.
const MaxDepth = 16

// Child returns the path of an instance of a module that a module calls. key is as in Addr.Key.
func Child(module, name, key string) string {
	s := "module." + name
	if module != "" {
		s = module + "." + s
	}
	if key != "" {
		s += "[" + key + "]"
	}
	return s
}

// IsModule reports whether the address names a module, with all that is in it, and not a block.
func (a Addr) IsModule() bool { return a.Kind == "" && a.Module != "" }

// Split returns the path of the module that calls a module, and the name and the key of the call.
func Split(module string) (parent, name, key string) {
	r := reader{rest: module}
	start := 0
	for r.rest != "" {
		start = len(module) - len(r.rest)
		var ok bool
		if name, key, ok = r.module(); !ok {
			return "", "", ""
		}
	}
	return strings.TrimSuffix(module[:start], "."), name, key
}

// Call returns the path of a module without the key of its instance.
func Call(module string) string {
	parent, name, _ := Split(module)
	return Child(parent, name, "")
}

// Covers reports whether an address names another: it is the same, or it is without a key the block or the module of
// which the other is an instance, or the other is in that module. Every step of it may lack its key.
func (a Addr) Covers(b Addr) bool {
	rest, ok := below(a.Module, b.Module)
	switch {
	case !ok:
		return false
	case a.IsModule():
		return true
	case rest != "" || a.Kind != b.Kind || a.Type != b.Type || a.Name != b.Name:
		return false
	}
	return a.Key == "" || a.Key == b.Key
}

// below reports whether a module is another, an instance of it, or in one, and returns the rest of its path.
func below(module, other string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(other, module); ok && (module == "" || rest == "" || rest[0] == '.') {
		return rest, true
	}
	x, y := reader{rest: module}, reader{rest: other}
	for x.rest != "" {
		name, key, okay := x.module()
		name2, key2, okay2 := y.module()
		if !okay || !okay2 || name != name2 || key != "" && key != key2 {
			return "", false
		}
	}
	return y.rest, true
}

// Moved returns the address of b after what is at from has moved to to; ok is false if it stays. If neither has a key,
// all instances move. With a module moves all that is in it.
func Moved(b, from, to Addr) (moved Addr, ok bool) {
	if !from.IsModule() {
		whole := from.Key == "" && to.Key == ""
		if b != from && (!whole || b.Block() != from) {
			return b, false
		}
		if whole {
			to.Key = b.Key
		}
		return to, true
	}
	rest, ok := strings.CutPrefix(b.Module, from.Module)
	if !ok || rest != "" && rest[0] != '.' && (rest[0] != '[' || from.keyed() || to.keyed()) {
		return b, false
	}
	b.Module = to.Module + rest
	return b, true
}

// keyed reports whether the address of a module or a block ends in the key of an instance.
func (a Addr) keyed() bool { return a != a.Block() }

// Whole reports whether a move between two addresses is one of all instances.
func Whole(from, to Addr) bool { return !from.keyed() && !to.keyed() }

// In returns the address, which is relative to a module, as it is in the pipeline.
func (a Addr) In(module string) Addr {
	switch {
	case module == "":
	case a.Module == "":
		a.Module = module
	default:
		a.Module = module + "." + a.Module
	}
	return a
}

// dir writes the path of a module as the beginning of a folder's name. Keys have no dots, so that it can be told where
// they end.
func (a Addr) dir(b *strings.Builder) {
	for r := (reader{rest: a.Module}); r.rest != ""; {
		name, key, ok := r.module()
		if !ok {
			escape(b, r.rest, "")
			return
		}
		b.WriteString("module.")
		escape(b, name, "")
		escapeKey(b, key, "")
		b.WriteByte('.')
	}
}
