package blocks

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// Run is a block that runs, and what it may use of the run around it.
type Run struct {
	*Planned
	Kind    *dsl.Kind
	Hidden  map[string]bool // exports that reveal a sensitive attribute
	Recipe  string
	From    int          // step of the checkpoint that it resumes from; 0 for its start
	Entry   *state.Block // its entry in the state
	State   *state.Dir   // locked
	Device  gpu.Device
	Comm    gpu.Communicator // of the ranks that run the block together; nil for one alone
	Scratch bool             // results are not kept
	Observe *observe.Block
	All     []*Planned // all blocks of the plan, in order
	Shared  *Shared
	Sealed  map[string]cty.Value // values of Hidden exports, which are in scope and nowhere else

	Result func(addr.Addr) (string, error) // folder of a finished block's result, its bytes checked
	Record func() error                    // writes the entry to the state on disk
	Note   func(func(*state.State))        // changes the state, which is then written with the next entry
}

// Shared is what the blocks of a run keep for each other.
type Shared struct {
	Watched map[string]*fineweb.Watched // documents that evaluations measure, by tokenizer and data
	Counted map[addr.Addr]bool          // data of which it was reported already how much is left out
}

// Folder returns the folder of the block's files.
func (r *Run) Folder() string { return filepath.Join(r.State.Path, results.Folder(r.Addr)) }

// Follows reports whether this rank only takes part: rank 0 keeps what the block makes.
func (r *Run) Follows() bool { return r.Comm != nil && r.Comm.Rank() > 0 }

// Write keeps the block's result, with the note that finds it by its recipe, in a folder of this name in the block's
// own.
func (r *Run) Write(name string, parts ...checkpoint.Part) error {
	r.Entry.Dir = filepath.Join(results.Folder(r.Addr), name)
	r.Seal()
	if r.Follows() {
		return nil
	}
	origin, err := results.NoteOf(r.Addr, r.Entry, true)
	if err != nil {
		return err
	}
	r.Entry.Content, err = checkpoint.Write(filepath.Join(r.State.Path, r.Entry.Dir), append(parts, origin))
	return err
}

// WriteValues keeps the entry's values as the block's result, so that they hash to a content id, with other files beside
// them. Of sealed values it keeps a hash.
func (r *Run) WriteValues(beside ...checkpoint.Part) error {
	r.Seal()
	content := maps.Clone(r.Entry.Values)
	for name, v := range r.Sealed {
		content[name] = map[string]any{"sensitive": true, "sha256": fmt.Sprintf("%x",
			sha256.Sum256([]byte(r.Recipe+"\n"+dsl.Show(v))))}
	}
	b, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return r.Write("result", append(beside, checkpoint.Bytes("result.json", append(b, '\n')))...)
}

// Seal moves the values of Hidden exports from the entry to Sealed.
func (r *Run) Seal() {
	for _, e := range r.Kind.Exports {
		v, ok := r.Entry.Values[e.Name]
		if !ok || !r.Hidden[e.Name] {
			continue
		}
		if c, ok := ToCty(v, e.Type); ok {
			if r.Sealed == nil {
				r.Sealed = map[string]cty.Value{}
			}
			r.Sealed[e.Name] = c
		}
		delete(r.Entry.Values, e.Name)
		if words, ok := r.Entry.Values[NotFinite].(map[string]any); ok {
			delete(words, e.Name)
		}
	}
}

// Took records the rate at which work was done, to predict times in later plans. Times of up to 50 ms are not recorded.
func (r *Run) Took(name string, amount float64, time time.Duration) {
	if s := time.Seconds(); s > 0.05 && amount > 0 {
		r.Note(func(st *state.State) { st.Rate(name, amount/s) })
	}
}

// FromState returns the late exports among a block's values.
func FromState(k *dsl.Kind, values map[string]any) map[string]cty.Value {
	out := map[string]cty.Value{}
	for _, e := range k.Exports {
		if v, ok := values[e.Name]; ok && e.Late {
			if c, ok := ToCty(v, e.Type); ok {
				out[e.Name] = c
			}
		}
	}
	return out
}

// ToCty turns a value of a block into one of the language, and reports whether it has type t.
func ToCty(v any, t cty.Type) (cty.Value, bool) {
	switch x := v.(type) {
	case nil: // a number that is not finite
		return cty.NullVal(t), true
	case float64:
		return cty.NumberFloatVal(x), t == cty.Number
	case string:
		return cty.StringVal(x), t == cty.String
	case []string:
		return Strings(x), true
	case map[string]any:
		if t != cty.DynamicPseudoType {
			return cty.NilVal, false
		}
		fields := map[string]cty.Value{}
		for name, v := range x {
			inner := cty.DynamicPseudoType
			if _, is := v.(map[string]any); !is {
				inner = cty.Number
			}
			c, ok := ToCty(v, inner)
			if !ok {
				return cty.NilVal, false
			}
			fields[name] = c
		}
		return cty.ObjectVal(fields), true
	case []any:
		var list []string
		for _, s := range x {
			str, ok := s.(string)
			if !ok {
				return cty.NilVal, false
			}
			list = append(list, str)
		}
		return ToCty(list, t)
	}
	return cty.NilVal, false
}
