package cpu

//go:generate go run ./asmgen loops.go .

import (
	"math"

	"stepflow/gpu"
)

// The inner loops of the device, as Go. asmgen compiles every function named …Loop to AVX-512, AVX2
// and NEON (see asmgen/loops.go for what it knows); this code runs the elements past the last whole
// vector, and everything where there is no assembly. All slices of a call have the length of the
// first; an output may be the same memory as an input, never overlap it otherwise.

// half32 widens an element of a slice in bf16.
func half32(x uint16) float32 { return gpu.FromBF16(x) }

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }

func addLoop(y, a, b []float32) {
	for i := range y {
		y[i] = a[i] + b[i]
	}
}

func mulLoop(y, a, b []float32) {
	for i := range y {
		y[i] = a[i] * b[i]
	}
}

func scaleLoop(y, a []float32, alpha float32) {
	for i := range y {
		y[i] = alpha * a[i]
	}
}

// blendLoop is y = s a + t b: moving averages, and the update of a weight by a direction.
func blendLoop(y, a, b []float32, s, t float32) {
	for i := range y {
		y[i] = s*a[i] + t*b[i]
	}
}

// mul3Loop is y = s a b: RMSNorm's row.
func mul3Loop(y, a, b []float32, s float32) {
	for i := range y {
		y[i] = a[i] * s * b[i]
	}
}

// addMulLoop is y = y + s a b: RMSNorm's gain gradient.
func addMulLoop(y, a, b []float32, s float32) {
	for i := range y {
		y[i] = y[i] + a[i]*s*b[i]
	}
}

func sumLoop(a []float32) (s float32) {
	for i := range a {
		s += a[i]
	}
	return s
}

// maxLoop is the largest element; of NaN it promises nothing.
func maxLoop(a []float32) (m float32) {
	m = float32(math.Inf(-1))
	for i := range a {
		m = max(m, a[i])
	}
	return m
}

// absMaxLoop is the largest magnitude; of NaN it promises nothing.
func absMaxLoop(a []float32) (m float32) {
	for i := range a {
		m = max(m, max(a[i], -a[i]))
	}
	return m
}

func squaresLoop(a []float32) (s float32) {
	for i := range a {
		s += a[i] * a[i]
	}
	return s
}

func halfSquaresLoop(a []uint16) (s float32) {
	for i := range a {
		x := half32(a[i])
		s += x * x
	}
	return s
}

func dotLoop(a, b []float32) (s float32) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

func dot3Loop(a, b, c []float32) (s float32) {
	for i := range a {
		s += a[i] * b[i] * c[i]
	}
	return s
}

// normGradLoop is y = s (dy w - k x): RMSNorm's input gradient, k = rstd² mean(dy w x).
func normGradLoop(y, dy, x, w []float32, s, k float32) {
	for i := range y {
		y[i] = s * (dy[i]*w[i] - k*x[i])
	}
}

// rotateLoop turns the pairs (a, b) by an angle a pair: y + iz = (a + ib)(c + i sign s).
func rotateLoop(y, z, a, b, c, s []float32, sign float32) {
	for i := range y {
		t := sign * s[i]
		u := a[i]
		v := b[i]
		y[i] = u*c[i] - v*t
		z[i] = v*c[i] + u*t
	}
}

// expSumLoop is y = e^(a + shift), added up in s.
func expSumLoop(y, a []float32, shift float32) (s float32) {
	for i := range y {
		e := exp32(a[i] + shift)
		y[i] = e
		s += e
	}
	return s
}

// expScaleLoop is y = k e^(a + shift).
func expScaleLoop(y, a []float32, shift, k float32) {
	for i := range y {
		y[i] = k * exp32(a[i]+shift)
	}
}

func swigluLoop(y, gate, up []float32) {
	for i := range y {
		e := exp32(-gate[i])
		y[i] = gate[i] / (1 + e) * up[i]
	}
}

// swigluGradLoop: s = sigmoid(g): dg = dy u s (1 + g (1-s)), du = dy g s.
func swigluGradLoop(dg, du, dy, gate, up []float32) {
	for i := range dg {
		x := gate[i]
		w := up[i]
		s := 1 / (1 + exp32(-x))
		t := dy[i] * s
		dg[i] = t * w * (1 + x*(1-s))
		du[i] = t * x
	}
}

// scoreExpLoop is attention's softmax for one key and a query a lane: p = e^(p - shift), added to total.
func scoreExpLoop(p, total, shift []float32) {
	for i := range p {
		e := exp32(p[i] - shift[i])
		p[i] = e
		total[i] = total[i] + e
	}
}

// scoreGradLoop is its derivative: p = e^(p - lse), ds = p (ds - delta).
func scoreGradLoop(p, ds, lse, delta []float32) {
	for i := range p {
		e := exp32(p[i] - lse[i])
		p[i] = e
		ds[i] = e * (ds[i] - delta[i])
	}
}

// raiseLoop is y = max(y, a).
func raiseLoop(y, a []float32) {
	for i := range y {
		y[i] = max(y[i], a[i])
	}
}

// emaLoop updates a moving average, y = s a + t b, and looks one step ahead, z = u y + w b. It returns the largest magnitude
// in y.
func emaLoop(y, z, a, b []float32, s, t, u, w float32) (most float32) {
	most = float32(math.Inf(-1))
	for i := range y {
		x := s*a[i] + t*b[i]
		y[i] = x
		z[i] = u*x + w*b[i]
		most = max(most, max(x, -x))
	}
	return most
}

// halfEMALoop is emaLoop with b in bf16.
func halfEMALoop(y, z, a []float32, b []uint16, s, t, u, w float32) (most float32) {
	most = float32(math.Inf(-1))
	for i := range y {
		g := half32(b[i])
		x := s*a[i] + t*g
		y[i] = x
		z[i] = u*x + w*g
		most = max(most, max(x, -x))
	}
	return most
}

// adamwLoop updates w, m and v by the gradient times k, and returns the largest magnitudes of m and v. keep is 1 - lr·wd;
// r1 and r2 are the inverses of the bias corrections.
func adamwLoop(ow, om, ov, w, grad, m, v []float32, k, b1, c1, b2, c2, r1, r2, eps, lr, keep float32) (mostM, mostV float32) {
	mostM, mostV = float32(math.Inf(-1)), float32(math.Inf(-1))
	for i := range ow {
		x := k * grad[i]
		a := b1*m[i] + c1*x
		b := b2*v[i] + c2*x*x
		om[i] = a
		ov[i] = b
		ow[i] = keep*w[i] - lr*(a*r1)/(sqrt32(b*r2)+eps)
		mostM = max(mostM, max(a, -a))
		mostV = max(mostV, b)
	}
	return mostM, mostV
}

// halfAdamWLoop is adamwLoop with w and the gradient in bf16.
func halfAdamWLoop(
	ow, om, ov []float32, w, grad []uint16, m, v []float32, k, b1, c1, b2, c2, r1, r2, eps, lr, keep float32,
) (mostM, mostV float32) {
	mostM, mostV = float32(math.Inf(-1)), float32(math.Inf(-1))
	for i := range ow {
		x := k * half32(grad[i])
		a := b1*m[i] + c1*x
		b := b2*v[i] + c2*x*x
		om[i] = a
		ov[i] = b
		ow[i] = keep*half32(w[i]) - lr*(a*r1)/(sqrt32(b*r2)+eps)
		mostM = max(mostM, max(a, -a))
		mostV = max(mostV, b)
	}
	return mostM, mostV
}

// adamLoop is adamwLoop with the direction in y instead of a new weight, and the bias corrections in one factor.
func adamLoop(y, om, ov, grad, m, v []float32, k, b1, c1, b2, c2, bias, eps float32) (mostM, mostV float32) {
	mostM, mostV = float32(math.Inf(-1)), float32(math.Inf(-1))
	for i := range y {
		x := k * grad[i]
		a := b1*m[i] + c1*x
		b := b2*v[i] + c2*x*x
		om[i] = a
		ov[i] = b
		y[i] = bias * a / (sqrt32(b) + eps)
		mostM = max(mostM, max(a, -a))
		mostV = max(mostV, b)
	}
	return mostM, mostV
}
