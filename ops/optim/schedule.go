package optim

import "math"

// Schedule shapes the learning rate over a horizon of tokens.
type Schedule struct {
	Kind        string  // "constant", "linear", "cosine" or "wsd"
	WarmupRatio float64 // share of the horizon over which the rate rises linearly from 0
	MinLRRatio  float64 // rate at the horizon relative to the peak
	DecayRatio  float64 // wsd: share of the horizon over which the rate falls
	DecayType   string  // wsd: "linear", "cosine" or "1-sqrt"
}

// Used is the schedule without what its kind makes no use of.
func (s Schedule) Used() Schedule {
	switch s.Kind {
	case "constant":
		s.MinLRRatio = 0
		fallthrough
	case "linear", "cosine":
		s.DecayRatio, s.DecayType = 0, ""
	}
	return s
}

// Constant reports whether the rate is its peak throughout, whatever the horizon.
func (s Schedule) Constant() bool { return s.Kind == "constant" && s.WarmupRatio == 0 }

// Kinds lists the schedules.
var Kinds = []string{"constant", "linear", "cosine", "wsd"}

// Factor is the learning rate relative to its peak after tokens of a horizon: a function of the
// token count alone, so a resumed run cannot jump. Past the horizon it stays at its last value.
//
// wsd (warm-up, stable, decay) is Hu et al. 2024, arXiv 2404.06395; 1-sqrt is Hägele et al. 2024.
func (s Schedule) Factor(tokens, horizon float64) float64 {
	p := math.Min(tokens/horizon, 1)
	if p < s.WarmupRatio {
		return p / s.WarmupRatio
	}
	fall := func(from float64, kind string) float64 { // 1 at from, MinLRRatio at 1
		x := 0.0
		if from < 1 && p > from {
			x = (p - from) / (1 - from)
		}
		switch kind {
		case "cosine":
			x = (1 - math.Cos(math.Pi*x)) / 2
		case "1-sqrt":
			x = math.Sqrt(x)
		}
		return 1 - (1-s.MinLRRatio)*x
	}
	switch s.Kind {
	case "linear":
		return fall(s.WarmupRatio, "linear")
	case "cosine":
		return fall(s.WarmupRatio, "cosine")
	case "wsd":
		return fall(math.Max(1-s.DecayRatio, s.WarmupRatio), s.DecayType)
	}
	return 1
}
