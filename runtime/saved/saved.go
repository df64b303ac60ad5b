// Package saved stores a plan in a file. apply FILE runs exactly that plan, or refuses.
package saved

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/durable"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
)

// Plan is a plan on disk. It holds hashes and no programs: apply plans again, and must come to the same hashes.
type Plan struct {
	Version  int    `json:"format_version"`
	Path     string `json:"path"`
	StateDir string `json:"state_dir"`
	Places
	Flags  []dsl.Flag     `json:"flags,omitempty"` // -var and -var-file in their order, without sensitive variables
	Serial int64          `json:"state_serial"`
	Select plan.Selection `json:"selection,omitzero"`

	Device       string   `json:"device,omitempty"`        // kind of device that the plan is for
	DeviceMemory int64    `json:"device_memory,omitempty"` // bytes that the plan fits in
	Actions      []Action `json:"actions"`
	Orphans      []Orphan `json:"orphans,omitempty"` // that apply forgets or destroys

	Moves []string `json:"moves,omitempty"` // of entries of the state

	Drift []plan.Drift `json:"drift,omitempty"` // of a plan that runs nothing

	Outputs map[string]Output `json:"outputs,omitempty"`
	Salt    string            `json:"salt,omitempty"` // for the seals of sensitive values

	Shown Shown `json:"shown"`
}

// Places are where a state and its results lie besides the state's folder, where that was said.
type Places struct {
	Backend   string `json:"backend,omitempty"`
	Artifacts string `json:"artifacts,omitempty"`
}

// Shown is a plan as it was shown to the user.
type Shown struct {
	Text string          `json:"text"` // without colours
	JSON json.RawMessage `json:"json"`
}

// version is the format of the file that Save writes.
const version = 3

// Output is an output of a saved plan, as the state will keep it, with a seal. If only a run gives its value, Unknown
// is set and there is no value.
type Output struct {
	Output  state.Output `json:"output"`
	Unknown bool         `json:"unknown,omitempty"`
}

// Orphan is a block in the state that the configuration no longer has.
type Orphan struct {
	Address string    `json:"address"`
	Fate    plan.Fate `json:"action"`
}

// orphans lists those that apply forgets or destroys.
func orphans(p *plan.Plan) (list []Orphan) {
	for _, o := range p.Orphans {
		if o.Fate != plan.Keep {
			list = append(list, Orphan{o.Addr, o.Fate})
		}
	}
	return list
}

// moves lists the entries of the state that apply moves.
func moves(p *plan.Plan) (list []string) {
	for _, m := range p.Moves {
		list = append(list, m.String())
	}
	return list
}

// list writes a list, such as "a, b"; "nothing" for an empty one.
func list(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}

// Action is one action of a saved plan.
type Action struct {
	Address  string            `json:"address"`
	Verb     plan.Verb         `json:"action"`
	Recipe   string            `json:"recipe"`
	Program  string            `json:"program,omitempty"`  // none on several ranks, of which each has its own
	Replaces string            `json:"replaces,omitempty"` // recipe of another state's model that an export replaces
	Attrs    map[string]string `json:"attributes"`
	Secrets  map[string]string `json:"sensitive,omitempty"` // seals of the sensitive attributes
	Losses   []plan.Loss       `json:"losses,omitempty"`    // what apply FILE may throw away
	Removes  []int             `json:"removes_checkpoints,omitempty"`
}

func actions(p *plan.Plan, salt *state.State) (list []Action) {
	for _, a := range p.Actions {
		s := Action{Address: a.Addr.String(), Verb: a.Verb, Recipe: a.Recipe, Attrs: a.Attrs, Secrets: salt.Seals(a.Secret),
			Losses: a.Losses, Removes: a.Removes}
		if a.Replaces != "" {
			s.Replaces = a.Block.(blocks.Writer).HeldRecipe()
		}
		if x, ok := a.Block.(blocks.Programmed); ok && x.DeviceProgram() != nil && p.Ranks == 1 {
			s.Program = x.DeviceProgram().Hash()
		}
		list = append(list, s)
	}
	return list
}

func outputs(p *plan.Plan, salt *state.State) map[string]Output {
	out := map[string]Output{}
	for n, v := range p.Outputs {
		o := Output{Unknown: !v.IsWhollyKnown()}
		if !o.Unknown && !p.OutputDoc[n].Sensitive {
			o.Output = plan.OutputOf(v)
		}
		if !o.Unknown {
			o.Output.Seal = salt.Seal(plan.SealedText(v))
		}
		o.Output.Sensitive = p.OutputDoc[n].Sensitive
		out[n] = o
	}
	return out
}

// differs returns how an output differs from the saved one; "" if it does not.
func (was Output) differs(is Output) string {
	show := func(o Output) string {
		if o.Unknown {
			return dsl.Show(cty.DynamicVal)
		}
		return plan.OutputText(o.Output)
	}
	switch a, b := was.Output, is.Output; {
	case a.Sensitive == b.Sensitive && was.Unknown == is.Unknown && a.Seal == b.Seal:
		return ""
	case a.Sensitive && b.Sensitive:
		return "(sensitive) changed"
	}
	return fmt.Sprintf("was %s, is %s", show(was), show(is))
}

// savedFile is the file that a plan is saved to. It replaces a saved plan, and no other file. Only its owner may read
// it, because it holds the values of variables.
func savedFile(path string) durable.UserFile {
	return durable.UserFile{Path: path, Private: true, Refusal: "exists and is not a saved plan; choose another " +
		"name, or remove it", Ours: func(r io.Reader) bool {
		var s Plan
		return json.NewDecoder(io.LimitReader(r, maxSaved)).Decode(&s) == nil && s.Version > 0 && s.Path != "" && s.StateDir != ""
	}}
}

// maxSaved is how many bytes of a file are read to tell whether it is a saved plan.
const maxSaved = 64 << 20

// Check returns why a plan cannot be saved to path; nil if it can.
func Check(path string) error { return savedFile(path).Check() }

// Save writes a plan made with these options, of a state that lies in these places, with its text and what is shown of it as JSON. stream reports whether
// path is a pipe or a device, which is written into.
func Save(p *plan.Plan, path string, places Places, o plan.Options, text string, shown any) (stream bool, err error) {
	abs, err := filepath.Abs(o.Path)
	if err != nil {
		return false, err
	}
	stateDir, err := filepath.Abs(p.StateDir)
	if err != nil {
		return false, err
	}
	s := Plan{Version: version, Path: abs, StateDir: stateDir, Places: places, Serial: p.State.Serial, Select: o.Select, Drift: p.Drift,
		Device: p.Caps.Kind, DeviceMemory: p.Caps.Memory, Shown: Shown{Text: text}}
	if s.Shown.JSON, err = json.Marshal(shown); err != nil {
		return false, err
	}
	salt := &state.State{}
	s.Actions, s.Orphans, s.Moves, s.Outputs = actions(p, salt), orphans(p), moves(p), outputs(p, salt)
	s.Salt = salt.Salt
	for _, f := range o.Inputs.Flags {
		name, _, _ := strings.Cut(f.Var, "=")
		switch v := p.Config.Variables[name]; {
		case f.File != "":
			if f.File, err = filepath.Abs(f.File); err != nil {
				return false, err
			}
		case v == nil || v.Sensitive:
			continue
		}
		s.Flags = append(s.Flags, f)
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return false, err
	}
	return savedFile(path).Write(append(b, '\n'))
}

// Read reads a saved plan.
func Read(path string) (*Plan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var s Plan
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("reading the plan %s: %w", path, err)
	}
	if s.Version != version || s.Path == "" {
		return nil, fmt.Errorf("%s is not a plan of this stepflow: plan again", path)
	}
	return &s, nil
}

// Match compares a new plan with the saved one. Its error names every difference.
func (s *Plan) Match(p *plan.Plan) error {
	salt := &state.State{Salt: s.Salt}
	errs := append(s.matchActions(actions(p, salt)), s.matchOrphans(orphans(p))...)
	if now := moves(p); !slices.Equal(s.Moves, now) {
		errs = append(errs, fmt.Errorf("it moves %s, and now %s would move", list(s.Moves), list(now)))
	}
	errs = append(errs, s.matchOutputs(outputs(p, salt))...)
	if len(errs) == 0 && !slices.Equal(s.Drift, p.Drift) {
		errs = append(errs, errors.New("other data or results differ from the state now"))
	}
	if len(errs) == 0 && s.Serial != p.State.Serial {
		errs = append(errs, errors.New("another apply ran since"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("the saved plan no longer holds: %w. Plan again", errors.Join(errs...))
	}
	return nil
}

func (s *Plan) matchActions(list []Action) (errs []error) {
	now := map[string]Action{}
	for _, a := range list {
		now[a.Address] = a
	}
	for _, was := range s.Actions {
		is, ok := now[was.Address]
		delete(now, was.Address)
		if !ok {
			errs = append(errs, fmt.Errorf("%s is gone from the pipeline", was.Address))
		} else if what := was.differs(is); what != "" {
			errs = append(errs, errors.New(what))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		errs = append(errs, fmt.Errorf("%s is new", name))
	}
	return errs
}

// differs returns how an action differs from the saved one; "" if it does not.
func (was Action) differs(is Action) string {
	at := was.Address
	switch l := plan.Uncovered(is.Losses, was.Losses); {
	case is.Recipe != was.Recipe:
		what := "its inputs or the operators changed"
		for n, v := range is.Attrs {
			if was.Secrets[n] != is.Secrets[n] && was.Attrs[n] == v {
				what = n + " (sensitive) changed"
			} else if was.Attrs[n] != v {
				what = fmt.Sprintf("%s was %s, is %s", n, was.Attrs[n], v)
			}
		}
		return fmt.Sprintf("%s: %s", at, what)
	case is.Program != "" && is.Program != was.Program:
		return at + " compiles to another program"
	case is.Replaces != was.Replaces && is.Replaces != "":
		return at + " would replace a model that another state exported after the plan was made"
	case l != nil:
		return fmt.Sprintf("%s would now throw away %d trained steps in %s", at, l.Steps, l.Folder)
	case slices.ContainsFunc(is.Removes, func(s int) bool { return !slices.Contains(was.Removes, s) }):
		return fmt.Sprintf("%s would now remove its checkpoints at %s", at, plan.StepList(is.Removes))
	case is.Verb != was.Verb:
		return fmt.Sprintf("%s was planned as %q and is now %q", at, was.Verb, is.Verb)
	}
	return ""
}

// matchOrphans compares what is to be forgotten and destroyed.
func (s *Plan) matchOrphans(list []Orphan) (errs []error) {
	for _, o := range list {
		if !slices.Contains(s.Orphans, o) {
			errs = append(errs, fmt.Errorf("apply would now %s %s", o.Fate, o.Address))
		}
	}
	for _, o := range s.Orphans {
		if !slices.Contains(list, o) {
			errs = append(errs, fmt.Errorf("apply would no longer %s %s", o.Fate, o.Address))
		}
	}
	return errs
}

func (s *Plan) matchOutputs(now map[string]Output) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(s.Outputs)) {
		is, ok := now[name]
		if !ok {
			errs = append(errs, fmt.Errorf("output.%s is gone from the pipeline", name))
		} else if what := s.Outputs[name].differs(is); what != "" {
			errs = append(errs, fmt.Errorf("output.%s %s", name, what))
		}
		delete(now, name)
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		errs = append(errs, fmt.Errorf("output.%s is new", name))
	}
	return errs
}
