package gpu

import "fmt"

// cacheKernels run a model over what follows a context whose keys and values were kept: a cache of one layer is
// [slots, capacity, width], a context a slot. They have no derivatives. A slot and a number of kept rows that are not
// there are those nearest to them: what the host gives never makes a device read or write elsewhere.
var cacheKernels = []Kernel{
	{
		Name: "attention_cached",
		Formula: "attention of query i of sequence b over rows j < past[b] of slot[b] of the cache, then over new keys " +
			"j <= i; s, o and the heads as in attention (inputs q [batch, n, heads·d], k, v [batch, n, kv_heads·d], " +
			"caches of k and v [slots, capacity, kv_heads·d], slot, past [batch])",
		Attrs:   []string{"Heads", "KVHeads"},
		Strided: Strided{In: 3, Out: 1},
		// As of full caches: how much of them is read is known only when it runs.
		FLOPs: func(a Attrs, in, _ []Type) int64 {
			s := in[0].Shape
			kept := Product(4, int64(s[0]), int64(s[1]), int64(s[2]), int64(in[3].Shape[1]))
			return Sum(kept, Product(4, attentionPairs(in[0])))
		},
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 7, 7); err != nil {
				return nil, err
			}
			q, k := in[0], in[1]
			if err := attentionShapes(a, q, k, in[2], nil); err != nil {
				return nil, err
			}
			if err := cacheShape(in[3], k); err != nil {
				return nil, err
			}
			if err := needType("the cache of v", in[4], in[3]); err != nil {
				return nil, err
			}
			return []Type{q}, perSequence(q.Shape[0], in[5:])
		},
	},
	{
		Name: "cache_write",
		Formula: "y = cache, but for t < count[b]: y[slot[b], past[b]+t, :] = x[b,t,:], where past[b]+t < capacity; " +
			"no two of these are one place (inputs x [batch, n, width], cache [slots, capacity, width], " +
			"slot, past, count [batch])",
		InPlace: [][2]int{{0, 1}},
		Strided: Strided{In: 1},
		FLOPs:   none,
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 5, 5); err != nil {
				return nil, err
			}
			x, cache := in[0], in[1]
			if len(x.Shape) != 3 || !x.DType.IsFloat() {
				return nil, fmt.Errorf("writes rows [batch, n, width], not %v", x)
			}
			if err := cacheShape(cache, x); err != nil {
				return nil, err
			}
			return []Type{cache}, perSequence(x.Shape[0], in[2:])
		},
	},
}

func init() { register(cacheKernels...) }

// cacheShape checks that a cache keeps rows such as those of x [batch, n, width].
func cacheShape(cache, x Type) error {
	s := cache.Shape
	if len(s) != 3 || s[0] < 1 || s[1] < 1 || s[2] != x.Shape[2] || cache.DType != x.DType {
		return fmt.Errorf("a cache of rows of %v is [slots, capacity, %d] of the same type, not %v", x, x.Shape[2], cache)
	}
	return nil
}

// perSequence checks inputs that have a whole number for each of batch sequences.
func perSequence(batch int, in []Type) error {
	for _, t := range in {
		if err := needType("a number a sequence", t, Type{Shape{batch}, I32}); err != nil {
			return err
		}
	}
	return nil
}
