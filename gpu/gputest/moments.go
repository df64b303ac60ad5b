package gputest

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"stepflow/gpu"
)

// narrowAdamW is an update of a tensor of a shape, in the first rows and columns of w, with moments of a type.
func narrowAdamW(w gpu.Type, moments gpu.DType, master bool, tensor ...int) Case {
	m := gpu.Type{Shape: tensor, DType: moments}
	v := m
	if moments == gpu.Dynamic8 {
		v.DType = gpu.UDynamic8
	}
	c := Case{Kernel: "adamw_narrow", Attrs: adam, In: ops(w, w, m, v, f32(1), f32(gpu.HyperLen)), Positive: []int{3, 4, 5},
		Tol: 2e-6}
	if master {
		c.Kernel, c.Positive = "adamw_narrow_master", []int{4, 5, 6}
		c.In = ops(w, w, f32(w.Shape...), m, v, f32(1), f32(gpu.HyperLen))
	}
	return c
}

// narrowEMA is an update of a moving average of gradients.
func narrowEMA(g gpu.Type, moment gpu.DType, tensor ...int) Case {
	return Case{Kernel: "ema_narrow", Attrs: gpu.Attrs{Beta1: 0.95, Beta2: 0.95},
		In: ops(gpu.Type{Shape: tensor, DType: moment}, g, f32(1), f32(gpu.HyperLen)), Positive: []int{3}, Tol: 1e-6}
}

// narrowAdam is Adam's direction of a gradient, which lies in the first rows and columns of g.
func narrowAdam(g gpu.Type, moments gpu.DType, tensor ...int) Case {
	c := narrowAdamW(g, moments, false, tensor...)
	return Case{Kernel: "adam_narrow", Attrs: gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-6}, In: c.In[1:], Positive: []int{2, 3, 4},
		Tol: 2e-6}
}

// narrowMoments lists the updates with narrow moments: of less than a block and of no whole number of blocks, of what is
// shared out, and of tensors with rows and columns of zeros beside them.
func narrowMoments() (list []Case) {
	for _, s := range []struct{ tensor, wide []int }{
		{[]int{7}, []int{7}}, {[]int{2, 3, 65}, []int{2, 3, 65}}, {[]int{70}, []int{72}}, {[]int{37, 85}, []int{40, 128}},
	} {
		x, half := f32(s.wide...), bf16(s.wide...)
		for _, moments := range []gpu.DType{gpu.BF16, gpu.Dynamic8} {
			mixed, master := narrowAdamW(half, moments, false, s.tensor...), narrowAdamW(half, moments, true, s.tensor...)
			list = append(list, mixed, master, narrowAdamW(x, moments, false, s.tensor...))
			for _, c := range []Case{mixed, master} { // with gradients in fp32
				c.In = append(ops(c.In[0], x), c.In[2:]...)
				list = append(list, c)
			}
		}
		for _, moment := range []gpu.DType{gpu.BF16, gpu.Linear8, gpu.Dynamic8} {
			list = append(list, narrowEMA(x, moment, s.tensor...), narrowEMA(half, moment, s.tensor...))
		}
		list = append(list, narrowAdam(x, gpu.BF16, s.tensor...), narrowAdam(x, gpu.Dynamic8, s.tensor...))
	}
	long := []int{3, 16411}
	return append(list, narrowAdamW(bf16(long...), gpu.Dynamic8, false, long...), narrowAdamW(f32(long...), gpu.BF16, false, long...),
		narrowEMA(f32(long...), gpu.Linear8, long...), narrowAdam(f32(long...), gpu.Dynamic8, long...))
}

// codable makes values that blocks of codes hold, whatever their map: a block's first is the largest, and positive.
func codable(v []float64) []float64 {
	for i := range v {
		v[i] = max(-4, min(v[i], 4))
		if i%gpu.CodeBlock == 0 {
			v[i] = 4
		}
	}
	return v
}

// compareCodes compares blocks of codes: scales are nearly equal, and codes the same but for numbers that lie between two.
func compareCodes(o gpu.Operand, want []float64, arena []byte, mine []bool) (where int, differs string) {
	at, n := int(o.Offset), o.Type.Shape.Elems()
	all := arena[at : at+int(o.Span())]
	for i := range all {
		mine[at+i] = true
	}
	codes, other := o.Type.DType.Codes(), 0
	for i, x := range o.Type.Decode(all) {
		block := i - i%gpu.CodeBlock
		var most float64
		for _, w := range want[block:min(n, block+gpu.CodeBlock)] {
			most = max(most, math.Abs(w))
		}
		if math.Abs(float64(x)-want[i]) <= 1e-5*most {
			continue
		}
		other++
		code := int(all[i])
		apart := float64(codes.Values[min(code+1, 255)]-codes.Values[max(code-1, 0)]) * most
		if !(math.Abs(float64(x)-want[i]) <= apart*(1+1e-5)) {
			return i, fmt.Sprintf("%g, code %d of a block of up to %g, reference %g", x, code, most, want[i])
		}
	}
	if other > 1+n/100 {
		return 0, fmt.Sprintf("one of %d of %d codes that are not the reference's", other, n)
	}
	return 0, ""
}

// padded holds a device to the bits of a tensor that has no zeros beside it.
func padded(t *testing.T, open func() gpu.Device) {
	d := open()
	defer d.Close()
	tensor, wide := []int{37, 85}, []int{40, 128}
	for _, c := range [][2]Case{
		{narrowAdamW(bf16(tensor...), gpu.Dynamic8, false, tensor...), narrowAdamW(bf16(wide...), gpu.Dynamic8, false, tensor...)},
		{narrowAdamW(bf16(tensor...), gpu.BF16, true, tensor...), narrowAdamW(bf16(wide...), gpu.BF16, true, tensor...)},
		{narrowEMA(bf16(tensor...), gpu.Linear8, tensor...), narrowEMA(bf16(wide...), gpu.Linear8, tensor...)},
		{narrowAdam(f32(tensor...), gpu.Dynamic8, tensor...), narrowAdam(f32(wide...), gpu.Dynamic8, tensor...)},
	} {
		values := Inputs(c[0], 5)
		var first [][]byte
		for i, c := range c {
			p, err := Program(c, d.Caps(), nil)
			check(t, err)
			l, err := d.Load(p)
			check(t, err)
			for j, v := range values {
				o := p.Launches[0].In[j]
				b := Encode(v, gpu.Type{Shape: shapeOf(o, tensor), DType: o.Type.DType})
				check(t, named(o, tensor).CopyIn(l, b))
			}
			check(t, l.Run(0, 1, false))
			for j, o := range p.Launches[0].Out {
				x := named(o, tensor)
				got := make([]byte, x.Tensor().Bytes())
				check(t, x.CopyOut(l, got))
				if i == 0 {
					first = append(first, got)
				} else if !bytes.Equal(got, first[j]) {
					t.Errorf("%s: output %d has other bits where there are zeros beside the tensor", c, j)
				}
			}
			l.Close()
		}
	}
}

func shapeOf(o gpu.Operand, tensor gpu.Shape) gpu.Shape {
	if len(o.Type.Shape) == len(tensor) {
		return tensor
	}
	return o.Type.Shape
}

// named is an operand as a buffer, which may be padded.
func named(o gpu.Operand, tensor gpu.Shape) gpu.Buffer {
	b := gpu.Buffer{Name: "operand", Operand: o}
	if s := shapeOf(o, tensor); !s.Equal(o.Type.Shape) {
		b.Shape = s
	}
	return b
}
