package metrics

import (
	"encoding/json"
	"fmt"
	"math"
)

// Word names a number that JSON has none for, as the JSON of protocol buffers does; "" for a finite one.
func Word(x float64) string {
	switch {
	case math.IsNaN(x):
		return "NaN"
	case math.IsInf(x, 1):
		return "Infinity"
	case math.IsInf(x, -1):
		return "-Infinity"
	}
	return ""
}

// ofWord is the inverse of Word; ok is false for other texts.
func ofWord(text string) (x float64, ok bool) {
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if Word(x) == text {
			return x, true
		}
	}
	return 0, false
}

// Finite reports whether x is neither NaN nor infinite.
func Finite(x float64) bool { return Word(x) == "" }

// Text is a number in a sentence, with so many digits as it has.
func Text(x float64) string {
	if w := Word(x); w != "" {
		return w
	}
	return fmt.Sprintf("%g", x)
}

// numbers are those of a step that a diverging run makes infinite or NaN, by their names in JSON.
func (s *Step) numbers() map[string]*float64 {
	return map[string]*float64{"loss": &s.Loss, "grad_norm": &s.GradNorm, "learning_rate": &s.LearningRate,
		"tokens_per_second": &s.TokensPerSec, "mfu": &s.MFU, "merge_error": &s.MergeError}
}

// plainStep is a Step without its methods.
type plainStep Step

// stepJSON is a step in which numbers may be null; not_finite has the words for those.
type stepJSON struct {
	*plainStep
	Loss         *float64          `json:"loss"`
	LearningRate *float64          `json:"learning_rate"`
	GradNorm     *float64          `json:"grad_norm"`
	TokensPerSec *float64          `json:"tokens_per_second"`
	MFU          *float64          `json:"mfu,omitempty"`
	MergeError   *float64          `json:"merge_error,omitempty"`
	NotFinite    map[string]string `json:"not_finite,omitempty"`
}

// MarshalJSON writes null for a number that is not finite, and its word into not_finite.
func (s Step) MarshalJSON() ([]byte, error) {
	words := map[string]string{}
	numbers := s.numbers()
	for name, x := range numbers {
		if w := Word(*x); w != "" {
			words[name], numbers[name] = w, nil
		}
	}
	for _, name := range []string{"mfu", "merge_error"} { // left out where there is none
		if x := numbers[name]; x != nil && *x == 0 {
			numbers[name] = nil
		}
	}
	return json.Marshal(stepJSON{(*plainStep)(&s), numbers["loss"], numbers["learning_rate"], numbers["grad_norm"],
		numbers["tokens_per_second"], numbers["mfu"], numbers["merge_error"], words})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (s *Step) UnmarshalJSON(b []byte) error {
	var words struct {
		NotFinite map[string]string `json:"not_finite"`
	}
	if err := json.Unmarshal(b, (*plainStep)(s)); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &words); err != nil {
		return err
	}
	for name, x := range s.numbers() {
		if v, ok := ofWord(words.NotFinite[name]); ok {
			*x = v
		}
	}
	return nil
}
