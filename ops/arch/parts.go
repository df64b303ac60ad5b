package arch

import "stepflow/ops"

// Parts lists what may change places in a layer. Channels of q and k may not: each is rotated by a frequency of its own.
func (m Model) Parts() []ops.Parts {
	both := func(modules ...string) (list []string) {
		for _, x := range modules {
			list = append(list, x+".weight", x+".bias")
		}
		return list
	}
	kv, q := both(kProj, vProj), both(qProj)
	if m.Arch.Features.QKNorm == QKNormWhole {
		kv, q = append(kv, kNorm+".weight"), append(q, qNorm+".weight")
	}
	out := []string{oProj + ".weight"}
	list := []ops.Parts{
		{Groups: 1, Count: m.IntermediateSize, Rows: both(gateProj, upProj), Cols: []string{downProj + ".weight"}},
		{Groups: 1, Count: m.NumKeyValueHeads, Rows: append(kv, q...), Cols: out}, // with their query heads
	}
	if n := m.NumAttentionHeads / m.NumKeyValueHeads; n > 1 {
		list = append(list, ops.Parts{Groups: m.NumKeyValueHeads, Count: n, Rows: q, Cols: out})
	}
	return append(list, ops.Parts{Groups: m.NumKeyValueHeads, Count: m.HeadDim, Repeated: true, Rows: both(vProj), Cols: out})
}
