package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"stepflow/foreign"
)

// RopeScaling stretches the rotary frequencies; ropeKinds lists the kinds and what each takes.
type RopeScaling struct {
	RopeType                      string  `json:"rope_type"`
	Factor                        float64 `json:"factor,omitempty"`
	LowFreqFactor                 float64 `json:"low_freq_factor,omitempty"`
	HighFreqFactor                float64 `json:"high_freq_factor,omitempty"`
	OriginalMaxPositionEmbeddings int     `json:"original_max_position_embeddings,omitempty"`
	AttentionFactor               float64 `json:"attention_factor,omitempty"` // of cos and sin
	BetaFast                      float64 `json:"beta_fast,omitempty"`        // turns within the original length beyond which a frequency stays
	BetaSlow                      float64 `json:"beta_slow,omitempty"`        // and below which it is divided by factor
}

// ropeKinds are the kinds of scaling: the settings that each needs, and those that it may have besides.
var ropeKinds = map[string]struct{ needs, takes []string }{
	"default": {},
	"linear":  {needs: []string{"factor"}},
	"dynamic": {needs: []string{"factor"}},
	"llama3":  {needs: []string{"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}},
	"yarn": {needs: []string{"factor", "original_max_position_embeddings"},
		takes: []string{"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"}},
}

const ropeKindNames = `"default", "linear", "dynamic", "llama3" or "yarn"`

// rope is what one JSON object says of rotary positions.
type rope struct {
	scaling RopeScaling
	theta   *float64 // nil where it gives none
}

// ParseRopeScaling reads the rope_scaling of a config.json, or the same object written in a pipeline. Whatever the kind of
// scaling does not take is an error.
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
	members, err := foreign.Object(b)
	if err != nil {
		return r, fmt.Errorf("%s is %s, not an object such as {\"rope_type\": \"llama3\", \"factor\": 8}", place, foreign.Shown(string(b[:min(len(b), 60)])))
	}
	raw := map[string]json.RawMessage{}
	for _, m := range members {
		if string(m.Value) == "null" {
			continue
		}
		if m.Value[0] == '{' {
			return r, fmt.Errorf("%s gives each type of layer its own settings, such as %s; here all layers share theirs", place, foreign.Shown(m.Name))
		}
		raw[m.Name] = m.Value
	}
	s := &r.scaling
	var older string
	partial, truncate, mscale, mscaleAll := 1.0, true, 0.0, 0.0
	for _, x := range []struct {
		name string
		into any
	}{
		{"rope_type", &s.RopeType}, {"type", &older}, {"rope_theta", &r.theta}, {"partial_rotary_factor", &partial}, {"factor", &s.Factor},
		{"low_freq_factor", &s.LowFreqFactor}, {"high_freq_factor", &s.HighFreqFactor}, {"original_max_position_embeddings", &s.OriginalMaxPositionEmbeddings},
		{"attention_factor", &s.AttentionFactor}, {"beta_fast", &s.BetaFast}, {"beta_slow", &s.BetaSlow}, {"mscale", &mscale}, {"mscale_all_dim", &mscaleAll}, {"truncate", &truncate},
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
		return r, fmt.Errorf("rope_type %q is not supported: its frequencies change with the length of the text. Use %s", s.RopeType, ropeKindNames)
	case !ok:
		return r, fmt.Errorf("rope_type %q is not supported. Use %s", s.RopeType, ropeKindNames)
	case partial != 1:
		return r, fmt.Errorf("partial_rotary_factor is %g in %s; here all channels of a head are rotated", partial, place)
	case raw["attention_factor"] != nil && s.AttentionFactor == 0:
		return r, fmt.Errorf("attention_factor is 0 in %s, which leaves nothing of cos and sin", place)
	case !truncate:
		return r, fmt.Errorf("truncate is false in %s; only true is supported", place)
	}
	if original > 0 && slices.Contains(kind.needs, "original_max_position_embeddings") {
		if in := s.OriginalMaxPositionEmbeddings; in != 0 && in != original {
			return r, fmt.Errorf("original_max_position_embeddings is %d in %s and %d beside it", in, place, original)
		}
		s.OriginalMaxPositionEmbeddings, raw["original_max_position_embeddings"] = original, json.RawMessage(fmt.Sprint(original))
	}
	for _, n := range kind.needs {
		if raw[n] == nil {
			return r, fmt.Errorf("%s is incomplete: rope_type %q needs %s", place, s.RopeType, n)
		}
	}
	for _, m := range members {
		known := slices.Contains([]string{"rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"}, m.Name)
		if raw[m.Name] != nil && !known && !slices.Contains(kind.needs, m.Name) && !slices.Contains(kind.takes, m.Name) {
			return r, fmt.Errorf("%s has %s, which rope_type %q does not take", place, foreign.Shown(m.Name), s.RopeType)
		}
	}
	if s.RopeType == "yarn" {
		s.yarnDefaults(mscale, mscaleAll)
	}
	return r, nil
}

// yarnDefaults fills in what YaRN leaves open (Peng et al. 2023; mscale of DeepSeek-V2): 32 and 1 turns, and the factor of
// cos and sin, 0.1 mscale ln(factor) + 1 over the same of mscale_all_dim.
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
		if !(s.Factor >= 1 && finite(s.Factor) && s.LowFreqFactor > 0 && s.HighFreqFactor > s.LowFreqFactor && finite(s.HighFreqFactor) && s.OriginalMaxPositionEmbeddings > 0) {
			return "llama3 takes factor >= 1, low_freq_factor < high_freq_factor and original_max_position_embeddings"
		}
	case "yarn":
		if !(s.Factor >= 1 && finite(s.Factor) && finite(s.AttentionFactor) && finite(s.BetaSlow) && s.BetaFast > s.BetaSlow && finite(s.BetaFast) && s.OriginalMaxPositionEmbeddings > 0) {
			return "yarn takes factor >= 1, original_max_position_embeddings, attention_factor > 0 and beta_slow < beta_fast"
		}
	default:
		return fmt.Sprintf("rope_type takes %s, not %q", ropeKindNames, s.RopeType)
	}
	return ""
}

// Frequencies gives the frequency of each pair of channels, head_dim/2 of them in radians a position, and what cos and sin
// are multiplied by. The frequency of pair i is theta^(-2i/d) (Su et al. 2021). Scaling makes lower ones of them:
//
//   - linear: f/factor (Chen et al. 2023)
//   - llama3: f/factor below one bound, f above another, a blend between them (Llama 3.1 model code)
//   - yarn: the same with bounds rounded to channels, and cos and sin times attention_factor (Peng et al. 2023)
//   - dynamic: f up to max_position_embeddings (NTK-aware beyond, where no sequence gets)
func (c Config) Frequencies() (freq []float64, scale float64) {
	freq, scale = make([]float64, c.HeadDim/2), 1
	s := c.RopeScaling
	if s == nil {
		s = &RopeScaling{}
	}
	d := float64(c.HeadDim)
	// channel is the pair, as a fraction, whose frequency makes so many turns within the original length.
	channel := func(turns float64) float64 {
		return d * math.Log(float64(s.OriginalMaxPositionEmbeddings)/(turns*2*math.Pi)) / (2 * math.Log(c.RopeTheta))
	}
	for i := range freq {
		f := math.Pow(c.RopeTheta, -float64(2*i)/d)
		switch s.RopeType {
		case "linear":
			f /= s.Factor
		case "llama3":
			wavelength := 2 * math.Pi / f
			old := float64(s.OriginalMaxPositionEmbeddings)
			switch {
			case wavelength > old/s.LowFreqFactor:
				f /= s.Factor
			case wavelength >= old/s.HighFreqFactor:
				smooth := (old/wavelength - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
				f = (1-smooth)*f/s.Factor + smooth*f
			}
		case "yarn":
			scale = s.AttentionFactor
			low, high := max(math.Floor(channel(s.BetaFast)), 0), min(math.Ceil(channel(s.BetaSlow)), d-1)
			if low == high {
				high += 0.001
			}
			ramp := min(max((float64(i)-low)/(high-low), 0), 1)
			f = f/s.Factor*ramp + f*(1-ramp)
		}
		freq[i] = f
	}
	return freq, scale
}

// RopeTables gives cos and sin of position times frequency, each [seq, head_dim/2] row-major.
func (c Config) RopeTables(seq int) (cos, sin []float32) {
	freq, scale := c.Frequencies()
	half := len(freq)
	cos, sin = make([]float32, seq*half), make([]float32, seq*half)
	for i, f := range freq {
		for t := 0; t < seq; t++ {
			sn, cs := math.Sincos(float64(t) * f)
			cos[t*half+i], sin[t*half+i] = float32(scale*cs), float32(scale*sn)
		}
	}
	return cos, sin
}
