package gpu

import "fmt"

func none(Attrs, []Type, []Type) int64 { return 0 }

func init() {
	register(
		Kernel{Name: "embedding", Formula: "y[t,:] = w[ids[t],:] (inputs ids, w)", FLOPs: none,
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 2, 2); err != nil {
					return nil, err
				}
				if in[0].DType != I32 || len(in[1].Shape) != 2 {
					return nil, fmt.Errorf("takes i32 ids and a table [vocabulary, hidden], not %v and %v", in[0], in[1])
				}
				return []Type{{append(append(Shape(nil), in[0].Shape...), in[1].Shape[1]), in[1].DType}}, nil
			}},
		Kernel{Name: "embedding_grad", Formula: "dw[v,:] = acc[v,:] + sum_{t: ids[t]=v} dy[t,:], in order of t and of the type of acc (inputs ids, dy, acc optional)",
			Attrs:   []string{"Rows"},
			InPlace: [][2]int{{0, 2}},
			FLOPs:   func(_ Attrs, in, _ []Type) int64 { return int64(in[1].Shape.Elems()) },
			Infer: func(a Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 2, 3); err != nil {
					return nil, err
				}
				if in[0].DType != I32 || in[0].Shape.Elems() != in[1].Shape.Rows() {
					return nil, fmt.Errorf("takes i32 ids and one row each of dy, not %v and %v", in[0], in[1])
				}
				out := Type{Shape{a.Rows, in[1].Shape.Cols()}, in[1].DType}
				if len(in) == 3 {
					if !in[2].DType.IsFloat() || in[2].Shape.Cols() != out.Shape[1] {
						return nil, fmt.Errorf("the accumulator %v has not the %d columns of dy", in[2], out.Shape[1])
					}
					out = in[2]
				}
				return []Type{out}, nil
			}},
		Kernel{Name: "rmsnorm", Formula: "rstd[r] = 1/sqrt(mean_c x[r,c]² + eps), y[r,c] = x[r,c] rstd[r] w[c]; Zhang & Sennrich 2019, eq. 4",
			Attrs: []string{"Eps"},
			FLOPs: elementwise(4),
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 2, 2); err != nil {
					return nil, err
				}
				if err := needType("the gain", in[1], Type{Shape{in[0].Shape.Cols()}, in[0].DType}); err != nil {
					return nil, err
				}
				return []Type{in[0], {in[0].Shape[:len(in[0].Shape)-1], F32}}, nil
			}},
		Kernel{Name: "rmsnorm_grad_x", Formula: "dx[r,c] = rstd[r] (dy[r,c] w[c] - x[r,c] rstd[r]² mean_k dy[r,k] w[k] x[r,k]) (inputs dy, x, w, rstd)",
			FLOPs: elementwise(8), InPlace: [][2]int{{0, 0}},
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 4, 4); err != nil {
					return nil, err
				}
				if err := needSame("dy and x", in[0], in[1]); err != nil {
					return nil, err
				}
				return []Type{in[0]}, nil
			}},
		Kernel{Name: "rmsnorm_grad_w", Formula: "dw[c] = sum_r dy[r,c] x[r,c] rstd[r] (inputs dy, x, rstd)",
			FLOPs: elementwise(3), Scratch: rowPartials(0),
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 3, 3); err != nil {
					return nil, err
				}
				if err := needSame("dy and x", in[0], in[1]); err != nil {
					return nil, err
				}
				return []Type{{Shape{in[0].Shape.Cols()}, in[0].DType}}, nil
			}},
		Kernel{Name: "rope", Formula: "for each head, i < d/2: y[i] = x[i] cos[t,i] - x[i+d/2] sin[t,i], y[i+d/2] = x[i+d/2] cos[t,i] + x[i] sin[t,i]; sin negated when inverse; Su et al. 2021 in the rotate-half layout (inputs x, cos, sin)",
			Attrs: []string{"Heads", "Inverse"},
			FLOPs: elementwise(3), InPlace: [][2]int{{0, 0}},
			Infer: func(a Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 3, 3); err != nil {
					return nil, err
				}
				x := in[0].Shape
				if len(x) != 3 || a.Heads < 1 || x[2]%a.Heads != 0 || x[2]/a.Heads%2 != 0 {
					return nil, fmt.Errorf("takes [batch, seq, heads·d] with d even, not %v with %d heads", in[0], a.Heads)
				}
				want := Type{Shape{x[1], x[2] / a.Heads / 2}, F32}
				for _, t := range in[1:] {
					if err := needType("the table", t, want); err != nil {
						return nil, err
					}
				}
				return []Type{in[0]}, nil
			}},
		Kernel{Name: "attention", Formula: "s[i,j] = q[i]·k[j]/sqrt(d) for j <= i and seg[i] = seg[j]; lse[i] = log sum_j exp s[i,j]; o[i] = sum_j exp(s[i,j]-lse[i]) v[j]; query head h reads key-value head h·kv_heads/heads (inputs q, k, v [batch, seq, heads·d], seg [batch, seq] optional)",
			Attrs: []string{"Heads", "KVHeads"},
			FLOPs: func(a Attrs, in, _ []Type) int64 { return Product(4, attentionPairs(in[0])) },
			Infer: func(a Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 3, 4); err != nil {
					return nil, err
				}
				if err := attentionShapes(a, in[0], in[1], in[2], in[3:]); err != nil {
					return nil, err
				}
				q := in[0].Shape
				return []Type{in[0], {Shape{q[0], a.Heads, q[1]}, F32}}, nil
			}},
		Kernel{Name: "attention_grad", Formula: "p = exp(s-lse), D[i] = do[i]·o[i], ds = p (do·v - D)/sqrt(d): dq = ds k, dk = dsᵀ q, dv = pᵀ do; Dao et al. 2022, alg. 4 (inputs do, q, k, v, o, lse, seg optional)",
			Attrs:   []string{"Heads", "KVHeads"},
			FLOPs:   func(a Attrs, in, _ []Type) int64 { return Product(10, attentionPairs(in[0])) },
			Scratch: func(a Attrs, in, _ []Type) int64 { return Product(4, int64(in[5].Shape.Elems())) },
			Infer: func(a Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 6, 7); err != nil {
					return nil, err
				}
				if err := attentionShapes(a, in[1], in[2], in[3], in[6:]); err != nil {
					return nil, err
				}
				if err := needSame("do and q", in[0], in[1]); err != nil {
					return nil, err
				}
				return []Type{in[1], in[2], in[3]}, nil
			}},
		Kernel{Name: "cross_entropy", Formula: "lse[r] = log sum_c exp x[r,c]; nll[r] = lse[r] - x[r,target[r]], 0 where target[r] < 0 (inputs logits x, targets)",
			FLOPs: elementwise(4),
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 2, 2); err != nil {
					return nil, err
				}
				if in[1].DType != I32 || in[1].Shape.Elems() != in[0].Shape.Rows() {
					return nil, fmt.Errorf("takes one i32 target a row, not %v for %v", in[1], in[0])
				}
				return []Type{{in[1].Shape, F32}, {in[1].Shape, F32}}, nil
			}},
		Kernel{Name: "cross_entropy_grad", Formula: "dx[r,c] = (exp(x[r,c]-lse[r]) - [c = target[r]]) dnll[r], 0 where target[r] < 0 (inputs dnll, x, targets, lse)",
			FLOPs: func(_ Attrs, in, _ []Type) int64 { return Product(4, int64(in[1].Shape.Elems())) }, InPlace: [][2]int{{0, 1}},
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 4, 4); err != nil {
					return nil, err
				}
				if err := needSame("dnll and lse", in[0], in[3]); err != nil {
					return nil, err
				}
				return []Type{in[1]}, nil
			}},
		Kernel{Name: "linear_cross_entropy", Formula: "cross_entropy of the logits h wᵀ, chunk rows of which are in memory at a time (inputs h, w, targets)",
			Attrs:    []string{"Chunk"},
			Products: true,
			FLOPs:    func(_ Attrs, in, _ []Type) int64 { return Product(logits(in[0], in[1]), int64(2*in[0].Shape.Cols()+4)) },
			Scratch: func(a Attrs, in, _ []Type) int64 {
				return Product(4, int64(min(a.Chunk, in[0].Shape.Rows())), int64(in[1].Shape.Rows()))
			},
			Infer: func(a Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 3, 3); err != nil {
					return nil, err
				}
				if err := headShapes(a, in[0], in[1], in[2]); err != nil {
					return nil, err
				}
				return []Type{{in[2].Shape, F32}, {in[2].Shape, F32}}, nil
			}},
		Kernel{Name: "linear_cross_entropy_grad", Formula: "with x = h wᵀ, chunk rows at a time: nll as cross_entropy gives it, dx = (softmax(x) - onehot(target)) dnll, dh = dx w, and unless frozen dw = acc + dxᵀ h, added chunk by chunk in the type of acc (inputs dnll, h, w, targets, acc optional)",
			Attrs:    []string{"Chunk", "Frozen"},
			Products: true,
			InPlace:  [][2]int{{2, 4}},
			FLOPs: func(a Attrs, in, _ []Type) int64 {
				products := 6
				if a.Frozen {
					products = 4
				}
				return Product(logits(in[1], in[2]), int64(products*in[1].Shape.Cols()+8))
			},
			Scratch: func(a Attrs, in, _ []Type) int64 {
				return Product(4, int64(min(a.Chunk, in[1].Shape.Rows())), int64(in[2].Shape.Rows()))
			},
			Infer: func(a Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 4, 5); err != nil {
					return nil, err
				}
				if err := headShapes(a, in[1], in[2], in[3]); err != nil {
					return nil, err
				}
				if err := needType("dnll", in[0], Type{in[3].Shape, F32}); err != nil {
					return nil, err
				}
				out := []Type{in[0], in[1]}
				if a.Frozen {
					return out, arity(in, 4, 4)
				}
				if len(in) < 5 {
					return append(out, in[2]), nil
				}
				if !in[4].DType.IsFloat() || !in[4].Shape.Equal(in[2].Shape) {
					return nil, fmt.Errorf("the accumulator %v has not the shape of the weight %v", in[4], in[2])
				}
				return append(out, in[4]), nil
			}},
	)
}

// logits counts the elements of h wᵀ.
func logits(h, w Type) int64 { return Product(int64(h.Shape.Rows()), int64(w.Shape.Rows())) }

func headShapes(a Attrs, h, w, targets Type) error {
	if err := needFloat(h, w); err != nil {
		return err
	}
	if a.Chunk < 1 {
		return fmt.Errorf("takes a chunk of at least one row, not %d", a.Chunk)
	}
	if len(w.Shape) != 2 || w.DType != h.DType || w.Shape[1] != h.Shape.Cols() {
		return fmt.Errorf("takes a weight [vocabulary, %d] of the type of %v, not %v", h.Shape.Cols(), h, w)
	}
	if targets.DType != I32 || targets.Shape.Elems() != h.Shape.Rows() {
		return fmt.Errorf("takes one i32 target a row, not %v for %v", targets, h)
	}
	return nil
}

// attentionPairs counts batch · heads · d · causal pairs: half of one multiply-add a pair and channel.
func attentionPairs(q Type) int64 {
	s := q.Shape
	return Product(int64(s[0]), int64(s[2]), int64(s[1]), int64(s[1]+1)) / 2
}

func attentionShapes(a Attrs, q, k, v Type, seg []Type) error {
	if len(q.Shape) != 3 || a.Heads < 1 || a.KVHeads < 1 || q.Shape[2]%a.Heads != 0 || a.Heads%a.KVHeads != 0 {
		return fmt.Errorf("takes q [batch, seq, heads·d] and a number of key-value heads that divides the heads, not %v with %d and %d", q, a.Heads, a.KVHeads)
	}
	kv := Type{Shape{q.Shape[0], q.Shape[1], q.Shape[2] / a.Heads * a.KVHeads}, q.DType}
	if err := needType("k", k, kv); err != nil {
		return err
	}
	if err := needType("v", v, kv); err != nil {
		return err
	}
	for _, s := range seg {
		if err := needType("seg", s, Type{q.Shape[:2], I32}); err != nil {
			return err
		}
	}
	return nil
}
