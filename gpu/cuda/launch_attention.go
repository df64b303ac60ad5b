package cuda

import (
	"fmt"
	"math"

	"stepflow/gpu"
)

// headShape mirrors Shape of kernels/attention.cu.
type headShape struct{ Seq, Heads, KVHeads, D int32 }

// headRows mirrors Heads of kernels/attention.cu: a tensor [batch, seq, heads·d] whose rows begin LD elements apart.
type headRows struct {
	At Pointer
	LD int64
}

func (b *binder) heads(o gpu.Operand) headRows { return headRows{b.at(o), int64(o.RowStride())} }

const (
	attentionRows    = 64
	attentionThreads = 128
)

// attentionStep is Tile::STEP.
func attentionStep(t gpu.DType) int { return 64 / int(t.Size()) }

// widestHead is the widest that heads are padded to.
const widestHead = 128

// headDim is the channels of a head of an attention launch; 0 for other kernels.
func headDim(x *gpu.Launch) int {
	switch x.Kernel {
	case "attention":
		return x.In[0].Type.Shape[2] / x.Attrs.Heads
	case "attention_grad":
		return x.In[1].Type.Shape[2] / x.Attrs.Heads
	}
	return 0
}

// heads gives a launch's shape, the kernels' ending for the width that its heads are padded to, the padded
// row's bytes, and 1/sqrt(d).
func heads(a gpu.Attrs, q gpu.Type) (s headShape, kernel string, row int, scale float32) {
	d, wide := q.Shape[2]/a.Heads, 16
	for wide < d {
		wide *= 2
	}
	s = headShape{int32(q.Shape[1]), int32(a.Heads), int32(a.KVHeads), int32(d)}
	kernel = fmt.Sprintf("%s_d%d", suffix(q.DType), wide)
	return s, kernel, wide*int(q.DType.Size()) + 16, float32(1 / math.Sqrt(float64(d)))
}

// optional is the last input where there is one.
func (b *binder) optional(x *gpu.Launch, i int) Pointer {
	if len(x.In) > i {
		return b.at(x.In[i])
	}
	return 0
}

func bindAttention(b *binder, x *gpu.Launch) work {
	q := x.In[0].Type
	s, kernel, row, scale := heads(x.Attrs, q)
	step := attentionStep(q.DType)
	grid := [3]int{blocks(int64(s.Seq), attentionRows), x.Attrs.Heads, q.Shape[0]}
	return work{newCall("attention"+kernel, grid, attentionThreads, (attentionRows+2*step)*row+step*4, s, scale,
		b.heads(x.Out[0]), b.at(x.Out[1]), b.heads(x.In[0]), b.heads(x.In[1]), b.heads(x.In[2]), b.optional(x, 3))}
}

func bindAttentionGrad(b *binder, x *gpu.Launch) work {
	q := x.In[1].Type
	s, kernel, row, scale := heads(x.Attrs, q)
	step := attentionStep(q.DType)
	tiles, batch := blocks(int64(s.Seq), attentionRows), q.Shape[0]
	n := int64(q.Shape.Rows()) * int64(x.Attrs.Heads)
	shared := (2*attentionRows+2*step)*row + 3*step*4
	do, qs, k, v, o := b.heads(x.In[0]), b.heads(x.In[1]), b.heads(x.In[2]), b.heads(x.In[3]), b.heads(x.In[4])
	lse, delta, seg := b.at(x.In[5]), b.at(x.Scratch), b.optional(x, 6)
	return work{
		newCall("attention_delta"+suffix(q.DType), [3]int{blocks(n, attentionThreads/32), 1, 1}, attentionThreads, 0,
			n, s, delta, do, o),
		newCall("attention_grad_kv"+kernel, [3]int{tiles, x.Attrs.KVHeads, batch}, attentionThreads, shared, s, scale,
			b.heads(x.Out[1]), b.heads(x.Out[2]), do, qs, k, v, lse, delta, seg),
		newCall("attention_grad_q"+kernel, [3]int{tiles, x.Attrs.Heads, batch}, attentionThreads, shared, s, scale,
			b.heads(x.Out[0]), do, qs, k, v, lse, delta, seg),
	}
}
