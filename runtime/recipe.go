package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/fineweb/tokenizer"
	"stepflow/runtime/state"
)

// operatorVersion changes when the meaning of an operator, a kernel or a default does, so that what older
// versions made is not taken for what this one would make.
const operatorVersion = "5"

// unhashed lists the attributes that change no bit of what a block makes, by kind, with why. Where files have an identity it
// stands for the text that names them, so that a pipeline can be moved.
var unhashed = []struct{ kind, attr, why string }{
	{"data", "cache", "tokens are the same from a cache"},
	{"data", "source", "the identity of the files is hashed"},
	{"tokenizer", "file", "the bytes of the file are hashed"},
	{"model", "from", "the identity of the folder's files is hashed"},
	{"stage", "train.checkpoint", "when something is saved"},
	{"stage", "train.checkpoint.every_steps", "when something is saved"},
	{"stage", "train.checkpoint.keep", "when something is saved"},
	{"stage", "train.activation_checkpointing", "activations that are computed again are the same"},
	{"evaluate", "batch_size", "the loss of a token does not depend on the sequences beside it"},
	{"export", "path", "the folder itself says which recipe wrote it"},
}

// hashes reports whether an attribute is part of a block's recipe.
func hashes(kind, attr string) bool {
	for _, x := range unhashed {
		if x.kind == kind && x.attr == attr {
			return false
		}
	}
	return true
}

// resolved lists the attributes of a stage of which only counts what comes of them: one thing can be said in several ways.
var resolved = []string{"train.micro_batch_size", "train.tokens", "train.steps", "train.flops", "train.stop_at", "train.schedule", "train.accumulate_dtype"}

// noDecay is the attribute for which an empty list is not the default.
const noDecay = "no_decay"

// recipe identifies what a block would make: a hash of the evaluated configuration, the ids of the inputs by role, the
// identity of files and the versions of operators. Addresses stay out of it, so a block that is renamed has the same recipe.
func (p *planner) recipe(a *Action) string {
	h := sha256.New()
	fmt.Fprintf(h, "stepflow %s %s %s %s\n", operatorVersion, a.Addr.Kind, a.Addr.Type, p.caps.Kind)
	for _, n := range slices.Sorted(maps.Keys(a.hashed)) {
		if !hashes(a.Addr.Kind, n) {
			continue
		}
		v := a.hashed[n]
		switch {
		case a.Stage != nil && slices.ContainsFunc(resolved, func(x string) bool { return n == x || strings.HasPrefix(n, x+".") }):
			continue // what comes of it is hashed below
		case v == "[]" && n != noDecay:
			continue // names nothing, as when it is not given
		}
		if id, ok := p.refID(v); ok {
			v = "=" + id
		}
		fmt.Fprintf(h, "%s %q\n", n, v)
	}
	fmt.Fprintln(h, slices.Sorted(maps.Values(a.Inputs)))
	if a.Data != nil {
		fmt.Fprintf(h, "files %s\n", a.Data.Identity)
	}
	if a.Token != nil {
		fmt.Fprintf(h, "encoder %d\n", tokenizer.EncoderVersion)
		if a.Token.path != "" {
			fmt.Fprintf(h, "file %s\n", a.Token.hash)
		}
	}
	if a.model != nil {
		fmt.Fprintf(h, "weights %s\n", a.model.hash)
	}
	if s := a.Stage; s != nil { // sums are made in this order, and the device's memory has a say in it
		fmt.Fprintf(h, "micro-batch %d, rows of logits %d, gradients", s.Micro, s.Chunk)
		for _, x := range s.Trainable() {
			fmt.Fprintf(h, " %v", s.GradType(x))
		}
		fmt.Fprintln(h)
		schedule, horizon := s.Schedule.Used(), s.Horizon
		if schedule.Constant() {
			horizon = 0
		}
		fmt.Fprintf(h, "steps %d, horizon %v, schedule %+v\n", s.Steps, horizon, schedule)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// refID gives the id of the block that an attribute's value names; the value stands as in the language.
func (p *planner) refID(shown string) (string, bool) {
	v, err := strconv.Unquote(shown)
	if err != nil {
		return "", false
	}
	v = strings.NewReplacer("$${", "${", "%%{", "%{").Replace(v)
	a, err := addr.Parse(v)
	word := ""
	if err != nil {
		at := strings.LastIndexByte(v, '.')
		if at < 0 {
			return "", false
		}
		word = v[at+1:]
		if a, err = addr.Parse(v[:at]); err != nil || a.Kind != "data" || splits[word] == 0 {
			return "", false
		}
	}
	id, ok := p.ids[a]
	if word != "" {
		id += " " + word
	}
	return id, ok
}

// difference says what changed since the block last ran.
func (p *planner) difference(a *Action, old *state.Block) string {
	for _, in := range slices.Sorted(maps.Keys(a.Inputs)) {
		if x, err := addr.Parse(in); err == nil && p.pending[x] {
			return fmt.Sprintf("%s will run", in)
		}
	}
	var changes []string
	note := func(format string, args ...any) { changes = append(changes, fmt.Sprintf(format, args...)) }
	kind := a.Addr.Kind
	for _, n := range slices.Sorted(maps.Keys(a.Attrs)) {
		before, ok := old.Attrs[n]
		seal, sealed := old.Secrets[n]
		_, sensitive := a.secret[n]
		switch {
		case !hashes(kind, n):
		case sealed && sensitive:
			if p.state.Seal(a.secret[n]) != seal {
				note("%s (sensitive) changed", n)
			}
		case !ok:
			note("%s was not set, is %s", n, a.Attrs[n])
		case before != a.Attrs[n]:
			note("%s was %s, is %s", n, before, a.Attrs[n])
		}
	}
	for _, n := range slices.Sorted(maps.Keys(old.Attrs)) {
		if _, ok := a.Attrs[n]; !ok && hashes(kind, n) {
			note("%s was %s, is not set", n, old.Attrs[n])
		}
	}
	for _, in := range slices.Sorted(maps.Keys(a.Inputs)) {
		if before, ok := old.Inputs[in]; !ok {
			note("%s is new", in)
		} else if before != a.Inputs[in] {
			note("%s changed", in)
		}
	}
	if len(changes) == 0 {
		return "the operators of this stepflow differ from those that made it, or the device or its memory does"
	}
	if len(changes) > 3 {
		changes = append(changes[:3], fmt.Sprintf("and %d more", len(changes)-3))
	}
	return strings.Join(changes, "; ")
}
