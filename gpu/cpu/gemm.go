package cpu

//go:generate go run ./asmgen asm_amd64.s

// variant is the kernels of one instruction set: tile multiplies packed panels and stores (add = 0) or
// adds (add = 1) the mr x nr tile at c.
type variant struct {
	name   string
	mr, nr int
	tile   func(k int, a, b, c *float32, ldc int, add int)
	vexp   func(dst, src *float32, n int, scale, shift float32) // on whole vectors; nil for none
}

const (
	blockK = 384  // depth of a packed block; also where a long sum is cut, so it fixes the result's bits
	blockM = 168  // rows of A packed at a time: a multiple of every mr
	blockN = 1024 // columns of B packed at a time: a multiple of every nr
	maxMR  = 14
	maxNR  = 32
)

// variants lists the micro-kernels this machine can run, the best first; portable is always last.
var variants = append(archVariants(), variant{"portable", 4, 4, tilePortable, nil})

func tilePortable(k int, a, b, c *float32, ldc int, add int) {
	as, bs := floats(a, 4*k), floats(b, 4*k)
	var t [16]float32
	for l := 0; l < k; l++ {
		x, y := as[4*l:4*l+4:4*l+4], bs[4*l:4*l+4:4*l+4]
		for i, xi := range x {
			t[4*i] += xi * y[0]
			t[4*i+1] += xi * y[1]
			t[4*i+2] += xi * y[2]
			t[4*i+3] += xi * y[3]
		}
	}
	cs := floats(c, 3*ldc+4)
	for i := 0; i < 4; i++ {
		row := cs[i*ldc : i*ldc+4]
		for j := range row {
			if add != 0 {
				row[j] += t[4*i+j]
			} else {
				row[j] = t[4*i+j]
			}
		}
	}
}

// packs is a worker's own room for packed panels.
type packs struct {
	a, b []float32
	edge [maxMR * maxNR]float32
	room [][]float32 // attention scores
}

func newPacks() *packs {
	return &packs{a: make([]float32, (blockM+maxMR)*blockK), b: make([]float32, (blockN+maxNR)*blockK)}
}

// matrix is a row-major view with a row stride; trans reads it transposed.
type matrix struct {
	v     []float32
	ld    int
	trans bool
}

// sub is the view that starts at row r, column c of the matrix as read.
func (m matrix) sub(r, c int) matrix {
	if m.trans {
		r, c = c, r
	}
	return matrix{m.v[r*m.ld+c:], m.ld, m.trans}
}

// gemm computes c = alpha a b (+ c when add) for a [m,k], b [k,n] as read, on one thread. The order of
// every sum depends on k alone.
func (v *variant) gemm(p *packs, m, n, k int, alpha float32, a, b matrix, c []float32, ldc int, add bool) {
	if m == 0 || n == 0 {
		return
	}
	if k == 0 {
		if !add {
			for i := 0; i < m; i++ {
				clear(c[i*ldc : i*ldc+n])
			}
		}
		return
	}
	for jc := 0; jc < n; jc += blockN {
		nc := min(blockN, n-jc)
		for pc := 0; pc < k; pc += blockK {
			kc := min(blockK, k-pc)
			packPanels(p.b, b.sub(pc, jc), kc, nc, v.nr, 1)
			for ic := 0; ic < m; ic += blockM {
				v.block(p, min(blockM, m-ic), nc, kc, alpha, a.sub(ic, pc), p.b, c[ic*ldc+jc:], ldc, add || pc > 0)
			}
		}
	}
}

// block packs up to blockM rows of a and multiplies them with packed columns of b: one tile after
// the other, those at the edges by way of a full tile beside.
func (v *variant) block(p *packs, m, n, k int, alpha float32, a matrix, packed []float32, c []float32, ldc int, add bool) {
	a.trans = !a.trans // packed k-major, like b
	packPanels(p.a, a, k, m, v.mr, alpha)
	flag := 0
	if add {
		flag = 1
	}
	for j := 0; j < n; j += v.nr {
		for i := 0; i < m; i += v.mr {
			ap, bp := &p.a[i*k], &packed[j*k]
			if i+v.mr <= m && j+v.nr <= n {
				v.tile(k, ap, bp, &c[i*ldc+j], ldc, flag)
				continue
			}
			v.tile(k, ap, bp, &p.edge[0], v.nr, 0)
			for r := 0; r < min(v.mr, m-i); r++ {
				row := c[(i+r)*ldc+j:][:min(v.nr, n-j)]
				src := p.edge[r*v.nr:][:len(row)]
				if add {
					for x := range row {
						row[x] += src[x]
					}
				} else {
					copy(row, src)
				}
			}
		}
	}
}

// packPanels lays m [k,n] out as panels of w columns, k-major, times alpha; the last is padded with zeros.
func packPanels(dst []float32, m matrix, k, n, w int, alpha float32) {
	for j := 0; j < n; j += w {
		d := dst[j*k : j*k+w*k]
		cols := min(w, n-j)
		if cols < w {
			clear(d)
		}
		if !m.trans {
			for l := 0; l < k; l++ {
				src, to := m.v[l*m.ld+j:][:cols], d[l*w:][:cols]
				if alpha == 1 {
					copy(to, src)
					continue
				}
				for c, x := range src {
					to[c] = alpha * x
				}
			}
			continue
		}
		// Four columns at a time: each is a contiguous run of the source.
		c := 0
		for ; c+4 <= cols; c += 4 {
			s0, s1 := m.v[(j+c)*m.ld:][:k], m.v[(j+c+1)*m.ld:][:k]
			s2, s3 := m.v[(j+c+2)*m.ld:][:k], m.v[(j+c+3)*m.ld:][:k]
			o := c
			for l := range s0 {
				to := d[o : o+4 : o+4]
				to[0], to[1], to[2], to[3] = alpha*s0[l], alpha*s1[l], alpha*s2[l], alpha*s3[l]
				o += w
			}
		}
		for ; c < cols; c++ {
			for l, x := range m.v[(j+c)*m.ld:][:k] {
				d[l*w+c] = alpha * x
			}
		}
	}
}
