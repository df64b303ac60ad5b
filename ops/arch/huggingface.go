package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"stepflow/foreign"
)

// MaxConfigBytes bounds a config.json.
const MaxConfigBytes = 16 << 20

// Note is what a user should know of a configuration that was read: the key of config.json, and a sentence without
// its full stop.
type Note struct{ Key, Text string }

// ParseConfig reads a config.json of Hugging Face; model_type picks the architecture. Whatever in it would make
// another computation of the model is an error that names it; what is read differently from how it is written, and
// unknown keys, are noted. An absurd number of layers passes: the weights beside it show that. The caller names the
// file in errors.
func ParseConfig(b []byte) (m Model, notes []Note, err error) {
	members, err := foreign.Object(b)
	if err != nil {
		return m, nil, err
	}
	raw, there := map[string]json.RawMessage{}, map[string]bool{}
	for _, x := range members {
		there[x.Name] = true
		if string(x.Value) != "null" {
			raw[x.Name] = x.Value
		}
	}
	family, err := familyOf(raw)
	if err != nil {
		return m, nil, err
	}
	for name, v := range family.absent {
		if !there[name] {
			raw[name] = json.RawMessage(v)
		}
	}
	m.Arch = family
	if family.as != nil {
		m.Arch = family.as
	}
	if err := m.readFields(raw, family); err != nil {
		return m, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if m.Arch.Has(name) {
			continue
		}
		if err := checkNeutral(name, raw[name], m.Config, family); err != nil {
			return m, nil, err
		}
	}
	if notes, err = readWindow(raw, family, &m.Config); err != nil {
		return m, nil, err
	}
	return m, append(notes, notesOf(raw, m.Arch)...), nil
}

// readFields reads the fields of the architecture, fills in their defaults and checks them.
func (m *Model) readFields(raw map[string]json.RawMessage, family *Architecture) error {
	var given []string
	for _, f := range m.Arch.Fields {
		switch {
		case f.Name == ropeTheta.Name || f.Name == ropeScaling.Name: // which stand in several places
		case raw[f.Name] != nil:
			if err := read(raw, f.Name, f.at(&m.Config)); err != nil {
				return err
			}
			given = append(given, f.Name)
		case f.Needed:
			return fmt.Errorf("%s is missing", f.Name)
		}
	}
	for _, name := range family.never {
		if v := string(raw[name]); v != "" && v != "false" {
			return fmt.Errorf("%s is %s, and model_type %s has none", name, foreign.Shown(cut(v)), family.Type)
		}
	}
	rotary, err := readRope(raw, &m.Config)
	if err != nil {
		return err
	}
	if m.HiddenAct == "swish" { // another name of the same
		m.HiddenAct = "silu"
	}
	m.Fill(append(given, rotary...)...)
	for _, p := range m.Check() {
		if p.Attribute != numHiddenLayers.Name || m.NumHiddenLayers < 0 {
			return errors.New(p.What)
		}
	}
	return nil
}

// ConfigJSON is the model's config.json, with keys besides those of the architecture, such as the ids of special
// tokens.
func (m Model) ConfigJSON(more map[string]any) ([]byte, error) {
	keys := map[string]any{"architectures": []string{m.Arch.Class}, "model_type": m.Arch.Type,
		"rope_parameters": ropeParameters(m.Config), "attention_dropout": 0.0, "use_cache": true}
	maps.Copy(keys, m.Arch.written)
	maps.Copy(keys, more)
	for _, f := range m.Arch.Fields {
		if !f.Silent(m.Config) {
			keys[f.Name] = f.Value(m.Config)
		}
	}
	b, err := json.MarshalIndent(keys, "", "  ")
	return append(b, '\n'), err
}

// ropeParameters is the form newer versions of transformers write; older ones read rope_theta and rope_scaling.
func ropeParameters(c Config) any {
	s := RopeScaling{RopeType: "default"}
	if c.RopeScaling != nil {
		s = *c.RopeScaling
	}
	return struct {
		RopeScaling
		RopeTheta float64 `json:"rope_theta"`
	}{s, c.RopeTheta}
}

// supported names the model types that are read.
func supported() string {
	var names, others []string
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if a := table[name]; a.as != nil {
			others = append(others, fmt.Sprintf("%s with %s's settings", name, a.as.Title))
		} else {
			names = append(names, name)
		}
	}
	text := fmt.Sprintf("only %s and %s are supported", strings.Join(names[:len(names)-1], ", "), names[len(names)-1])
	if len(others) > 0 {
		text += ", and " + strings.Join(others, " and ")
	}
	return text
}

// familyOf finds the row of the model type, by model_type or, where that is missing, by architectures; the two must
// agree.
func familyOf(raw map[string]json.RawMessage) (*Architecture, error) {
	var kind string
	var classes []string
	if err := errors.Join(read(raw, "model_type", &kind), read(raw, "architectures", &classes)); err != nil {
		return nil, err
	}
	switch {
	case kind == "" && len(classes) == 0:
		return nil, errors.New("it has neither model_type nor architectures, so the kind of model is unknown: " +
			"add \"model_type\": \"llama\" if it is one")
	case kind == "" && len(classes) > 1:
		return nil, fmt.Errorf("it has no model_type, and architectures names %d classes, %s: "+
			"leave the one whose weights these are, or give model_type",
			len(classes), foreign.Shown(cut(shown(classes))))
	case kind == "":
		return familyOfClass(classes[0])
	}
	family := table[kind]
	switch {
	case family == nil && others[kind].why != "":
		return nil, fmt.Errorf("it is of model_type %q: %s; %s", kind, others[kind].why, supported())
	case family == nil:
		return nil, fmt.Errorf("it is of model_type %q; %s", kind, supported())
	case len(classes) == 0 || slices.Contains(classes, family.Class):
		return family, nil
	case strings.HasSuffix(classes[0], "ForCausalLM"):
		return nil, fmt.Errorf("it is of model_type %q and of the architecture %q, which contradict each other: "+
			"only %s is supported with it", kind, classes[0], family.Class)
	}
	return nil, fmt.Errorf("it is of model_type %q and of the architecture %q: its head is not that of a language "+
		"model; only %s is supported", kind, classes[0], family.Class)
}

// familyOfClass finds the row whose language model is of this class in transformers.
func familyOfClass(class string) (*Architecture, error) {
	for _, a := range table {
		if class == a.Class {
			return a, nil
		}
	}
	for _, o := range others {
		if o.class == class {
			return nil, fmt.Errorf("it is of the architecture %q: %s; %s", class, o.why, supported())
		}
	}
	return nil, fmt.Errorf("it is of the architecture %q; %s", class, supported())
}

// checkNeutral is the error that a key asks for another computation.
func checkNeutral(name string, value json.RawMessage, c Config, family *Architecture) error {
	n, ok := neutral[name]
	if !ok {
		return nil
	}
	var got any
	if err := json.Unmarshal(value, &got); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var want []string
	if n.also != nil {
		x := n.also(c)
		if v, ok := got.(float64); ok && math.Abs(v-x) <= 1e-6*x {
			return nil
		}
		want = append(want, fmt.Sprintf("%.8g", x))
	}
	for d := json.NewDecoder(strings.NewReader(n.values + " " + family.neutral[name])); d.More(); {
		var v any
		if err := d.Decode(&v); err != nil {
			return err
		}
		same, text := shown(v), shown(got)
		if same == text {
			return nil
		}
		want = append(want, same)
	}
	if name == "quantization_config" || name == "compression_config" || name == "quantization" {
		return fmt.Errorf("%s says that the weights are quantised, which cannot be read: "+
			"save the model in float32 or bfloat16 first", name)
	}
	if len(want) == 0 {
		want = []string{"null"}
	}
	return fmt.Errorf("%s is %s, which changes what the model computes: only %s is supported",
		name, foreign.Shown(cut(shown(got))), strings.Join(want, " or "))
}

func cut(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

func oneLine(b json.RawMessage) string { return strings.Join(strings.Fields(string(b)), " ") }

// notesOf are the keys that are ignored and say something.
func notesOf(raw map[string]json.RawMessage, a *Architecture) (notes []Note) {
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		value := oneLine(raw[name])
		_, fixed := neutral[name]
		off := slices.Contains([]string{"false", "0", "0.0", `""`, "[]", "{}"}, value)
		shows := foreign.Shown(cut(value))
		text := ""
		switch {
		case off || a.Has(name) || fixed || harmless[name]:
			continue
		case name == "attention_dropout":
			text = fmt.Sprintf("attention_dropout is %s there; training here drops nothing out", shows)
		case name == "auto_map":
			text = "auto_map names code of the model's own, which is not run: " +
				"its numbers are taken for those of its model_type"
		case elsewhere[name]:
			continue
		default:
			text = fmt.Sprintf("%s is %s there, an unknown key that is ignored: "+
				"check that it does not change what the model computes", foreign.Shown(cut(name)), shows)
		}
		notes = append(notes, Note{name, text})
	}
	return notes
}

// read decodes a member that is there.
func read(raw map[string]json.RawMessage, name string, into any) error {
	b, ok := raw[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		want := "of another form"
		switch into.(type) {
		case *int:
			want = "not a whole number in range"
		case *float64, **float64:
			want = "not a number in range"
		case *bool:
			want = "neither true nor false"
		case *string:
			want = "not a string"
		case *[]int:
			want = "not a list of whole numbers"
		}
		return fmt.Errorf("%s is %s, %s", name, foreign.Shown(string(b[:min(len(b), 60)])), want)
	}
	return nil
}
