package cuda

import (
	"math"

	"stepflow/gpu"
)

func bindCacheWrite(b *binder, x *gpu.Launch) work {
	rows, cache := x.In[0], x.Out[0]
	s, kept := rows.Type.Shape, cache.Type.Shape
	from := b.rows(rows)
	return append(b.copyOf(cache, x.In[1]), flatCall("cache_write", rows.Type.DType, elems(rows), s[1], s[2],
		b.at(cache), kept[0], kept[1], from.at, int64(from.ld), b.at(x.In[2]), b.at(x.In[3]), b.at(x.In[4])))
}

// cachedShape mirrors CachedShape of kernels/cache.cu.
type cachedShape struct{ N, Heads, KVHeads, D, Slots, Capacity int32 }

// Warps of a block of attention_cached, as in kernels/cache.cu, and the bytes that it shares: a query, and each warp's
// greatest score, sum, and sum of values.
const (
	cachedWarps  = 8
	cachedShared = 4 * (widestHead + cachedWarps*(2+widestHead))
)

func bindAttentionCached(b *binder, x *gpu.Launch) work {
	q, cache := x.In[0].Type, x.In[3].Type.Shape
	h := headsOf(x.Attrs, q)
	shape := cachedShape{h.shape.Seq, h.shape.Heads, h.shape.KVHeads, h.shape.D, int32(cache[0]), int32(cache[1])}
	return work{newCall("attention_cached"+suffix(q.DType), [3]int{q.Shape[1], x.Attrs.Heads, h.batch},
		cachedWarps*lanes, cachedShared, shape, h.scale*math.Log2E, b.heads(x.Out[0]), b.heads(x.In[0]), b.heads(x.In[1]),
		b.heads(x.In[2]), b.at(x.In[3]), b.at(x.In[4]), b.at(x.In[5]), b.at(x.In[6]))}
}
