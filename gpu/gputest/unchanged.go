package gputest

import (
	"bytes"
	"math"
	"testing"

	"stepflow/gpu"
)

// unchanged holds a device to what a clip coefficient that is not finite means: the update is skipped, and every
// output of every update kernel has the bits of the input that it replaces.
func unchanged(t *testing.T, open func() gpu.Device) {
	x, half, r, one, hyper := f32(3, 411), bf16(3, 411), f32(411), f32(1), f32(gpu.HyperLen)
	d := open()
	defer d.Close()
	adamw := gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}
	for _, c := range []Case{
		{Kernel: "adamw", Attrs: adamw, In: []gpu.Type{x, x, x, x, one, hyper}},
		{Kernel: "adamw_stochastic", Attrs: adamw, In: []gpu.Type{half, half, x, x, one, hyper}},
		{Kernel: "ema", Attrs: gpu.Attrs{Beta1: 0.9}, In: []gpu.Type{x, x, one}},
		{Kernel: "sgdw", Attrs: gpu.Attrs{Alpha: 1, WeightDecay: 0.1}, In: []gpu.Type{x, x, one, hyper}},
		narrowAdamW(x, gpu.Dynamic8, false, 3, 411), narrowAdamW(half, gpu.Dynamic8, false, 3, 411),
		narrowAdamW(half, gpu.Dynamic8, true, 3, 411), narrowAdamW(half, gpu.BF16, true, 3, 411),
		narrowEMA(x, gpu.Linear8, 3, 411), narrowEMA(half, gpu.BF16, 3, 411),
		narrowAdam(x, gpu.Dynamic8, 3, 411), narrowAdam(x, gpu.BF16, 3, 411),
		{Kernel: "adam", Attrs: gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, In: []gpu.Type{x, x, x, one, hyper}},
		{Kernel: "channel_factors", Attrs: gpu.Attrs{Alpha: 1}, In: []gpu.Type{r, r, r, one, one, hyper}},
		{Kernel: "align_rows", In: []gpu.Type{x, half, one}},
		{Kernel: "ema_squares", Attrs: gpu.Attrs{Cols: 3, Eps: 1e-30}, In: []gpu.Type{r, r, one, hyper}},
	} {
		coef := len(c.In) - 1
		if c.In[coef].Equal(hyper) {
			coef--
		}
		for _, k := range []float64{math.NaN(), math.Inf(1)} {
			p, err := Program(c, d.Caps(), nil)
			check(t, err)
			l, err := d.Load(p)
			check(t, err)
			launch := p.Launches[0]
			var in [][]byte
			for i, v := range Inputs(c, seedOf(c)) {
				if i == coef {
					v[0] = k
				}
				in = append(in, Encode(v, c.In[i]))
				check(t, l.CopyIn(launch.In[i], in[i]))
			}
			check(t, l.Run(0, 1, false))
			for _, pair := range gpu.Lookup(c.Kernel).InPlace {
				if c.Kernel == "adam" && pair[0] == 0 {
					continue // what it gives is no state
				}
				out := launch.Out[pair[0]]
				got := make([]byte, out.Type.Bytes())
				check(t, l.CopyOut(got, out))
				if !bytes.Equal(got, in[pair[1]]) {
					t.Errorf("%s with coefficient %g changes input %d", c.Kernel, k, pair[1])
				}
			}
			l.Close()
		}
	}
}
