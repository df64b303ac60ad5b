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

const attentionThreads = 128

// cut mirrors Forward, GradQ and GradKV of kernels/attention.cu: the rows that a block owns, and those of a step.
type cut struct{ rows, step int }

// tiles is what a block of an attention kernel holds in shared memory: own operands of the rows that it owns, two of
// each of two steps, and columns of 4 bytes a row, mine beside the former and each beside the latter.
type tiles struct {
	own, mine, each int
	cuts            map[gpu.DType][2]cut // of heads of up to 64 and of up to 128 channels
}

var attentionTiles = map[string]tiles{
	"attention": {1, 1, 1,
		map[gpu.DType][2]cut{gpu.F32: {{64, 16}, {64, 16}}, gpu.BF16: {{128, 64}, {128, 32}}}},
	"attention_grad_q": {2, 3, 1,
		map[gpu.DType][2]cut{gpu.F32: {{64, 16}, {64, 8}}, gpu.BF16: {{128, 64}, {128, 32}}}},
	"attention_grad_kv": {2, 1, 3,
		map[gpu.DType][2]cut{gpu.F32: {{64, 16}, {64, 8}}, gpu.BF16: {{128, 64}, {64, 32}}}},
}

// widestHead is the widest that heads are padded to.
const widestHead = 128

// headDim is the channels of a head of an attention launch; 0 for other kernels.
func headDim(x *gpu.Launch) int {
	switch x.Kernel {
	case "attention", "attention_cached":
		return x.In[0].Type.Shape[2] / x.Attrs.Heads
	case "attention_grad":
		return x.In[1].Type.Shape[2] / x.Attrs.Heads
	}
	return 0
}

// heads is what the kernels of an attention launch have in common.
type heads struct {
	shape headShape
	dtype gpu.DType
	wide  int     // channels that a head is padded to
	scale float32 // 1/sqrt(d)
	batch int
}

func headsOf(a gpu.Attrs, q gpu.Type) heads {
	d, wide := q.Shape[2]/a.Heads, 16
	for wide < d {
		wide *= 2
	}
	return heads{headShape{int32(q.Shape[1]), int32(a.Heads), int32(a.KVHeads), int32(d)}, q.DType, wide,
		float32(1 / math.Sqrt(float64(d))), q.Shape[0]}
}

// call launches a kernel with a block for each tile of rows of each of n heads.
func (h heads) call(kernel string, n int, args ...any) *Call {
	t := attentionTiles[kernel]
	c, row := t.cuts[h.dtype][0], h.wide*int(h.dtype.Size())
	if h.wide > 64 {
		c = t.cuts[h.dtype][1]
	}
	if h.dtype == gpu.F32 {
		row += 16 // Tile::LD
	}
	shared := (t.own*c.rows+4*c.step)*row + (t.mine*c.rows+2*t.each*c.step)*4
	return newCall(fmt.Sprintf("%s%s_d%d", kernel, suffix(h.dtype), h.wide),
		[3]int{blocks(int64(h.shape.Seq), c.rows), n, h.batch}, attentionThreads, shared,
		append([]any{h.shape, h.scale}, args...)...)
}

// optional is the last input where there is one.
func (b *binder) optional(x *gpu.Launch, i int) Pointer {
	if len(x.In) > i {
		return b.at(x.In[i])
	}
	return 0
}

func bindAttention(b *binder, x *gpu.Launch) work {
	h := headsOf(x.Attrs, x.In[0].Type)
	return work{h.call("attention", x.Attrs.Heads, b.heads(x.Out[0]), b.at(x.Out[1]), b.heads(x.In[0]),
		b.heads(x.In[1]), b.heads(x.In[2]), b.optional(x, 3))}
}

func bindAttentionGrad(b *binder, x *gpu.Launch) work {
	h := headsOf(x.Attrs, x.In[1].Type)
	lanes := 1 // of attention_delta, for each query
	for lanes*16 < int(h.shape.D)*int(h.dtype.Size()) {
		lanes *= 2
	}
	do, q, k, v, o := b.heads(x.In[0]), b.heads(x.In[1]), b.heads(x.In[2]), b.heads(x.In[3]), b.heads(x.In[4])
	lse, delta, seg := b.at(x.In[5]), b.at(x.Scratch), b.optional(x, 6)
	return work{
		newCall("attention_delta"+suffix(h.dtype),
			[3]int{blocks(int64(h.shape.Seq), attentionThreads/lanes), x.Attrs.Heads, h.batch}, attentionThreads, 0,
			h.shape, lanes, delta, do, o),
		h.call("attention_grad_kv", x.Attrs.KVHeads, b.heads(x.Out[1]), b.heads(x.Out[2]), do, q, k, v, lse,
			delta, seg),
		h.call("attention_grad_q", x.Attrs.Heads, b.heads(x.Out[0]), do, q, k, v, lse, delta, seg),
	}
}
