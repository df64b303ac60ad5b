package arch

import "math"

// Frequencies returns the frequency of each pair of channels, head_dim/2 of them in radians a position, and what cos
// and sin are multiplied by. The frequency of pair i is theta^(-2i/d) (Su et al. 2021). Scaling lowers it:
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

// RopeTables returns cos and sin of position times frequency, each [seq, head_dim/2] row-major.
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

// Rotates reports whether layer i rotates q and k by their position.
func (c Config) Rotates(i int) bool {
	switch {
	case len(c.NoRopeLayers) > 0:
		return c.NoRopeLayers[i] != 0
	}
	return c.rotatesAt(i)
}

// rotatesAt reports whether a layer rotates q and k by its place, without a list.
func (c Config) rotatesAt(i int) bool {
	return c.NoRopeLayerInterval <= 0 || (i+1)%c.NoRopeLayerInterval != 0
}

// skipsRope reports whether a layer rotates nothing.
func (c Config) skipsRope() bool {
	if len(c.NoRopeLayers) == 0 {
		return c.NoRopeLayerInterval > 0 && c.NoRopeLayerInterval <= c.NumHiddenLayers
	}
	for _, x := range c.NoRopeLayers {
		if x == 0 {
			return true
		}
	}
	return false
}

// plainRope leaves out the numbers of layers that are not there, which transformers takes, writes the others as 0 or 1,
// and leaves out all of them where they are what the usual interval gives: the list says all, whatever interval stands
// beside it.
func (c *Config) plainRope() {
	if len(c.NoRopeLayers) == 0 || len(c.NoRopeLayers) < c.NumHiddenLayers {
		return
	}
	c.NoRopeLayerInterval = usualNoRopeInterval
	usual := Config{NoRopeLayerInterval: c.NoRopeLayerInterval}
	kinds, same := make([]int, max(c.NumHiddenLayers, 0)), true
	for i := range kinds {
		if c.Rotates(i) {
			kinds[i] = 1
		}
		same = same && c.Rotates(i) == usual.Rotates(i)
	}
	if c.NoRopeLayers = kinds; same {
		c.NoRopeLayers = nil
	}
}
