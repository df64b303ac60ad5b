package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"stepflow/foreign"
)

// RopeScaling stretches the rotary frequencies; ropeKinds lists the kinds and what each takes. BetaFast and BetaSlow
// are numbers of turns within the original length: a frequency that makes more of them than BetaFast stays, one that
// makes fewer than BetaSlow is divided by Factor.
type RopeScaling struct {
	RopeType                      string  `json:"rope_type"`
	Factor                        float64 `json:"factor,omitempty"`
	LowFreqFactor                 float64 `json:"low_freq_factor,omitempty"`
	HighFreqFactor                float64 `json:"high_freq_factor,omitempty"`
	OriginalMaxPositionEmbeddings int     `json:"original_max_position_embeddings,omitempty"`
	AttentionFactor               float64 `json:"attention_factor,omitempty"` // of cos and sin
	BetaFast                      float64 `json:"beta_fast,omitempty"`
	BetaSlow                      float64 `json:"beta_slow,omitempty"`
}

const originalLength = "original_max_position_embeddings"

// ropeKind is a kind of scaling: the settings that it needs, and those that it may have besides.
type ropeKind struct{ needs, takes []string }

var ropeKinds = map[string]ropeKind{
	"default": {},
	"linear":  {needs: []string{"factor"}},
	"dynamic": {needs: []string{"factor"}},
	"llama3":  {needs: []string{"factor", "low_freq_factor", "high_freq_factor", originalLength}},
	"yarn": {needs: []string{"factor", originalLength},
		takes: []string{"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"}},
}

const ropeKindNames = `"default", "linear", "dynamic", "llama3" or "yarn"`

// rope is what one JSON object says of rotary positions.
type rope struct {
	scaling RopeScaling
	theta   *float64 // nil where it gives none
}

// ParseRopeScaling reads the rope_scaling of a config.json, or the same object written in a pipeline. Whatever the
// kind of scaling does not take is an error.
func ParseRopeScaling(b []byte) (*RopeScaling, error) {
	r, err := parseRope("rope_scaling", b, 0)
	if err == nil && r.theta != nil {
		err = errors.New("rope_scaling has rope_theta, which is an attribute of its own")
	}
	if err != nil {
		return nil, err
	}
	return &r.scaling, nil
}

// parseRope reads rope_parameters or rope_scaling, as place says. original is the original_max_position_embeddings that
// stands beside it, 0 if none does.
func parseRope(place string, b []byte, original int) (r rope, err error) {
	raw, names, err := ropeMembers(place, b)
	if err != nil {
		return r, err
	}
	s := &r.scaling
	var older string
	partial, truncate, mscale, mscaleAll := 1.0, true, 0.0, 0.0
	for _, x := range []struct {
		name string
		into any
	}{
		{"rope_type", &s.RopeType}, {"type", &older}, {"rope_theta", &r.theta}, {"partial_rotary_factor", &partial},
		{"factor", &s.Factor}, {"low_freq_factor", &s.LowFreqFactor}, {"high_freq_factor", &s.HighFreqFactor},
		{originalLength, &s.OriginalMaxPositionEmbeddings}, {"attention_factor", &s.AttentionFactor},
		{"beta_fast", &s.BetaFast}, {"beta_slow", &s.BetaSlow}, {"mscale", &mscale}, {"mscale_all_dim", &mscaleAll},
		{"truncate", &truncate},
	} {
		if err := read(raw, x.name, x.into); err != nil {
			return r, fmt.Errorf("in %s, %w", place, err)
		}
	}
	switch {
	case s.RopeType == "" && older == "":
		s.RopeType = "default"
	case s.RopeType == "":
		s.RopeType = older
	case older != "" && older != s.RopeType:
		return r, fmt.Errorf("%s says rope_type %q and type %q: leave one of them", place, s.RopeType, older)
	}
	kind, ok := ropeKinds[s.RopeType]
	switch {
	case s.RopeType == "longrope" || s.RopeType == "su":
		return r, fmt.Errorf("rope_type %q is not supported: its frequencies change with the length of the text. "+
			"Use %s", s.RopeType, ropeKindNames)
	case !ok:
		return r, fmt.Errorf("rope_type %q is not supported. Use %s", s.RopeType, ropeKindNames)
	case partial != 1:
		return r, fmt.Errorf("partial_rotary_factor is %g in %s; here all channels of a head are rotated",
			partial, place)
	case raw["attention_factor"] != nil && s.AttentionFactor == 0:
		return r, fmt.Errorf("attention_factor is 0 in %s, which leaves nothing of cos and sin", place)
	case !truncate:
		return r, fmt.Errorf("truncate is false in %s; only true is supported", place)
	}
	if original > 0 && slices.Contains(kind.needs, originalLength) {
		if in := s.OriginalMaxPositionEmbeddings; in != 0 && in != original {
			return r, fmt.Errorf("%s is %d in %s and %d beside it", originalLength, in, place, original)
		}
		s.OriginalMaxPositionEmbeddings = original
		raw[originalLength] = json.RawMessage(fmt.Sprint(original))
	}
	if err := kind.check(place, s.RopeType, raw, names); err != nil {
		return r, err
	}
	if s.RopeType == "yarn" {
		s.yarnDefaults(mscale, mscaleAll)
	}
	return r, nil
}

// ropeMembers are the members of a JSON object that are not null, and their names in order.
func ropeMembers(place string, b []byte) (raw map[string]json.RawMessage, names []string, err error) {
	members, err := foreign.Object(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is %s, not an object such as {\"rope_type\": \"llama3\", \"factor\": 8}",
			place, foreign.Shown(string(b[:min(len(b), 60)])))
	}
	raw = map[string]json.RawMessage{}
	for _, m := range members {
		if string(m.Value) == "null" {
			continue
		}
		if m.Value[0] == '{' {
			return nil, nil, fmt.Errorf("%s gives each type of layer its own settings, such as %s; "+
				"here all layers share theirs", place, foreign.Shown(m.Name))
		}
		raw[m.Name], names = m.Value, append(names, m.Name)
	}
	return raw, names, nil
}

// check is the error of settings that a kind of scaling lacks or does not take.
func (k ropeKind) check(place, name string, raw map[string]json.RawMessage, names []string) error {
	for _, n := range k.needs {
		if raw[n] == nil {
			return fmt.Errorf("%s is incomplete: rope_type %q needs %s", place, name, n)
		}
	}
	always := []string{"rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"}
	taken := slices.Concat(k.needs, k.takes, always)
	for _, n := range names {
		if !slices.Contains(taken, n) {
			return fmt.Errorf("%s has %s, which rope_type %q does not take", place, foreign.Shown(n), name)
		}
	}
	return nil
}

// yarnDefaults fills in what YaRN leaves open (Peng et al. 2023; mscale of DeepSeek-V2): 32 and 1 turns, and the
// factor of cos and sin, 0.1 mscale ln(factor) + 1 over the same of mscale_all_dim.
func (s *RopeScaling) yarnDefaults(mscale, mscaleAll float64) {
	if s.BetaFast == 0 {
		s.BetaFast = 32
	}
	if s.BetaSlow == 0 {
		s.BetaSlow = 1
	}
	if s.AttentionFactor != 0 {
		return
	}
	temperature := func(m float64) float64 {
		if s.Factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(s.Factor) + 1
	}
	s.AttentionFactor = temperature(1)
	if mscale != 0 && mscaleAll != 0 {
		s.AttentionFactor = temperature(mscale) / temperature(mscaleAll)
	}
}

// check is what is wrong with the values; empty if nothing is.
func (s *RopeScaling) check() string {
	finite := func(x float64) bool { return x > 0 && x <= math.MaxFloat32 }
	switch s.RopeType {
	case "default":
	case "linear", "dynamic":
		if !(s.Factor >= 1 && finite(s.Factor)) {
			return fmt.Sprintf("%s takes factor >= 1", s.RopeType)
		}
	case "llama3":
		if !(s.Factor >= 1 && finite(s.Factor) && s.LowFreqFactor > 0 && s.HighFreqFactor > s.LowFreqFactor &&
			finite(s.HighFreqFactor) && s.OriginalMaxPositionEmbeddings > 0) {
			return "llama3 takes factor >= 1, low_freq_factor < high_freq_factor and original_max_position_embeddings"
		}
	case "yarn":
		if !(s.Factor >= 1 && finite(s.Factor) && finite(s.AttentionFactor) && finite(s.BetaSlow) &&
			s.BetaFast > s.BetaSlow && finite(s.BetaFast) && s.OriginalMaxPositionEmbeddings > 0) {
			return "yarn takes factor >= 1, original_max_position_embeddings, attention_factor > 0 " +
				"and beta_slow < beta_fast"
		}
	default:
		return fmt.Sprintf("rope_type takes %s, not %q", ropeKindNames, s.RopeType)
	}
	return ""
}

// readRope reads rotary positions, which newer files keep in rope_parameters and older ones in rope_theta and
// rope_scaling. Several places must agree. It returns the names of the fields it set.
func readRope(raw map[string]json.RawMessage, c *Config) (given []string, err error) {
	original := 0
	if err := read(raw, originalLength, &original); err != nil {
		return nil, err
	}
	theta, where := 0.0, ""
	takes := func(x float64, place string) error {
		if where != "" && x != theta {
			return fmt.Errorf("rope_theta is %g in %s and %g in %s: leave the one that is right",
				theta, where, x, place)
		}
		theta, where, given = x, place, []string{ropeTheta.Name}
		return nil
	}
	if raw["rope_theta"] != nil {
		var x float64
		if err := read(raw, "rope_theta", &x); err != nil {
			return nil, err
		}
		if err := takes(x, "config.json itself"); err != nil {
			return nil, err
		}
	}
	var seen *RopeScaling
	for _, place := range []string{"rope_parameters", "rope_scaling"} {
		b := raw[place]
		if b == nil || strings.Join(strings.Fields(string(b)), "") == "{}" {
			continue
		}
		r, err := parseRope(place, b, original)
		if err != nil {
			return nil, err
		}
		if r.theta != nil {
			if err := takes(*r.theta, place); err != nil {
				return nil, err
			}
		}
		if seen != nil && *seen != r.scaling {
			return nil, fmt.Errorf("rope_parameters and rope_scaling say different things (rope_type %q and %q): "+
				"leave the one that is right", seen.RopeType, r.scaling.RopeType)
		}
		seen = &r.scaling
	}
	c.RopeTheta, c.RopeScaling = theta, seen
	return given, nil
}
