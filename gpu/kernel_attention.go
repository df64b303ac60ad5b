package gpu

import "fmt"

// attentionKernels are causal attention with rotary position embeddings, and its derivative. Where there are documents,
// equal ids of a sequence in seg are neighbours: devices skip what lies in other documents.
var attentionKernels = []Kernel{
	{
		Name: "rope",
		Formula: "for each head, i < d/2: " +
			"y[i] = x[i] cos[t,i] - x[i+d/2] sin[t,i], y[i+d/2] = x[i+d/2] cos[t,i] + x[i] sin[t,i]; " +
			"sin negated when inverse; Su et al. 2021 in the rotate-half layout; row t of the tables cos and sin is that of " +
			"the token's place in its sequence, or of its position, where there are any (inputs x [batch, seq, heads·d], " +
			"cos, sin [seq or any number of rows, d/2], positions [batch, seq] optional)",
		Attrs:   []string{"Heads", "Inverse"},
		InPlace: [][2]int{{0, 0}},
		Strided: Strided{In: 1, Out: 1},
		FLOPs:   elementwise(3),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 3, 4); err != nil {
				return nil, err
			}
			x := in[0].Shape
			if len(x) != 3 || a.Heads < 1 || x[2]%a.Heads != 0 || x[2]/a.Heads%2 != 0 {
				return nil, fmt.Errorf("takes [batch, seq, heads·d] with d even, not %v with %d heads", in[0], a.Heads)
			}
			want := Type{Shape{x[1], x[2] / a.Heads / 2}, F32}
			if len(in) == 4 {
				if err := needType("positions", in[3], Type{x[:2], I32}); err != nil {
					return nil, err
				}
				if want.Shape[0] = in[1].Shape.Rows(); want.Shape[0] < 1 {
					return nil, fmt.Errorf("the table %v has no rows", in[1])
				}
			}
			for _, t := range in[1:3] {
				if err := needType("the table", t, want); err != nil {
					return nil, err
				}
			}
			return []Type{in[0]}, nil
		},
	},
	{
		Name: "attention",
		Formula: "s[i,j] = q[i]·k[j]/sqrt(d) for j <= i and seg[i] = seg[j]; lse[i] = log sum_j exp s[i,j]; " +
			"o[i] = sum_j exp(s[i,j]-lse[i]) v[j]; query head h reads key-value head h·kv_heads/heads " +
			"(inputs q, k, v [batch, seq, heads·d], seg [batch, seq] optional)",
		Attrs:   []string{"Heads", "KVHeads"},
		Strided: Strided{In: 3, Out: 1},
		FLOPs:   func(a Attrs, in, _ []Type) int64 { return Product(4, attentionPairs(in[0])) },
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 3, 4); err != nil {
				return nil, err
			}
			if err := attentionShapes(a, in[0], in[1], in[2], in[3:]); err != nil {
				return nil, err
			}
			q := in[0].Shape
			return []Type{in[0], {Shape{q[0], a.Heads, q[1]}, F32}}, nil
		},
	},
	{
		Name: "attention_grad",
		Formula: "p = exp(s-lse), D[i] = do[i]·o[i], ds = p (do·v - D)/sqrt(d): " +
			"dq = ds k, dk = dsᵀ q, dv = pᵀ do; Dao et al. 2022, alg. 4 " +
			"(inputs do, q, k, v, o, lse, seg optional)",
		Attrs:   []string{"Heads", "KVHeads"},
		Strided: Strided{In: 5, Out: 3},
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
		},
	},
}

func init() { register(attentionKernels...) }

// attentionPairs counts batch · heads · d · causal pairs: half of one multiply-add a pair and channel.
func attentionPairs(q Type) int64 {
	s := q.Shape
	return Product(int64(s[0]), int64(s[2]), int64(s[1]), int64(s[1]+1)) / 2
}

func attentionShapes(a Attrs, q, k, v Type, seg []Type) error {
	if len(q.Shape) != 3 || a.Heads < 1 || a.KVHeads < 1 || q.Shape[2]%a.Heads != 0 || a.Heads%a.KVHeads != 0 {
		return fmt.Errorf("takes q [batch, seq, heads·d] and a number of key-value heads that divides the heads, "+
			"not %v with %d and %d", q, a.Heads, a.KVHeads)
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
