package forward

import (
	"cmp"
	"encoding/binary"
	"slices"

	"stepflow/runtime/program"
)

// batch is a run of a segment for rows of n tokens at most.
type batch struct {
	n        int
	rows     []row
	requests []int // of the rows, where they are scored; nil where they are kept
}

// segment is the segment that runs the batch.
func (b *batch) segment() string {
	if b.requests == nil {
		return program.SegContext(b.n)
	}
	return program.SegScore(b.n)
}

// sharing is the requests of one context.
type sharing struct {
	kept     []int32 // the context without its last token, with which the rows of continuations begin
	requests []int
}

// schedule lists the batches that score requests. Each wave of them first keeps a context a slot, of those only what the
// slot does not hold already, and then scores their continuations. Where contexts begin alike, as with examples before a
// question, neighbours in the order of their tokens follow one another in a slot; else those of like length make a wave.
// The cheaper order is taken. What a batch gives does not depend on any of that.
func schedule(x *program.Inference, requests []Request) []batch {
	list := share(requests)
	slices.SortStableFunc(list, func(a, b *sharing) int { return cmp.Compare(len(b.kept), len(a.kept)) })
	byLength := layout(x, requests, slices.Collect(slices.Chunk(list, x.Slots)))
	slices.SortStableFunc(list, func(a, b *sharing) int { return slices.Compare(a.kept, b.kept) })
	var waves [][]*sharing
	each := (len(list) + x.Slots - 1) / max(x.Slots, 1)
	for w := range each {
		var wave []*sharing
		for at := w; at < len(list); at += each {
			wave = append(wave, list[at])
		}
		waves = append(waves, wave)
	}
	if byTokens := layout(x, requests, waves); tokens(x, byTokens) < tokens(x, byLength) {
		return byTokens
	}
	return byLength
}

// tokens counts those that batches run, padding included.
func tokens(x *program.Inference, list []batch) (sum int64) {
	for _, b := range list {
		rows := x.ContextRows(b.n)
		if b.requests != nil {
			rows = x.ScoreRows(b.n)
		}
		sum += int64(rows) * int64(b.n)
	}
	return sum
}

// share puts requests of one context together, in the order in which contexts first come.
func share(requests []Request) (list []*sharing) {
	of := map[string]*sharing{}
	var key []byte
	for i, r := range requests {
		key = key[:0]
		for _, id := range r.Context {
			key = binary.LittleEndian.AppendUint32(key, uint32(id))
		}
		s := of[string(key)]
		if s == nil {
			s = &sharing{kept: r.Context[:len(r.Context)-1]}
			of[string(key)] = s
			list = append(list, s)
		}
		s.requests = append(s.requests, i)
	}
	return list
}

// layout makes the batches of waves, whose contexts are kept in the slots of their places.
func layout(x *program.Inference, requests []Request, waves [][]*sharing) (list []batch) {
	held := make([][]int32, x.Slots)
	for _, wave := range waves {
		list = append(list, keeping(x, held, wave)...)
		list = append(list, scoring(x, requests, wave)...)
	}
	return list
}

// keeping makes the batches that keep contexts in slots that hold others.
func keeping(x *program.Inference, held [][]int32, wave []*sharing) (list []batch) {
	lengths := x.ContextLengths()
	most := lengths[len(lengths)-1]
	var rows []row // what is left to keep
	for slot, s := range wave {
		if s == nil {
			continue
		}
		if at := common(held[slot], s.kept); at < len(s.kept) {
			rows = append(rows, row{slot: slot, past: at, ids: s.kept[at:]})
		}
		held[slot] = s.kept
	}
	for len(rows) > 0 { // a piece of each text at a time
		slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(len(b.ids), len(a.ids)) })
		var left, now []row
		for _, r := range rows {
			if len(r.ids) > most {
				left = append(left, row{slot: r.slot, past: r.past + most, ids: r.ids[most:]})
				r.ids = r.ids[:most]
			}
			now = append(now, r)
		}
		for len(now) > 0 {
			n := program.Fitting(lengths, len(now[0].ids))
			take := min(x.ContextRows(n), len(now))
			list = append(list, batch{n: n, rows: now[:take]})
			now = now[take:]
		}
		rows = left
	}
	return list
}

// scoring makes the batches that score the continuations of contexts in slots.
func scoring(x *program.Inference, requests []Request, wave []*sharing) (list []batch) {
	type scored struct{ slot, request int }
	var all []scored
	for slot, s := range wave {
		for _, i := range s.requests {
			all = append(all, scored{slot, i})
		}
	}
	length := func(s scored) int { return len(requests[s.request].Continuation) }
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(length(b), length(a)) })
	lengths := x.ScoreLengths()
	for len(all) > 0 {
		n := program.Fitting(lengths, length(all[0]))
		b := batch{n: n}
		for _, s := range all[:min(x.ScoreRows(n), len(all))] {
			b.rows, b.requests = append(b.rows, scoredRow(requests[s.request], s.slot)), append(b.requests, s.request)
		}
		list, all = append(list, b), all[len(b.rows):]
	}
	return list
}

// scoredRow is the row of a request whose context, but for the last token, is in a slot.
func scoredRow(r Request, slot int) row {
	past := len(r.Context) - 1
	ids := append([]int32{r.Context[past]}, r.Continuation[:len(r.Continuation)-1]...)
	return row{slot: slot, past: past, ids: ids, targets: r.Continuation}
}

// common is how many tokens two texts begin with alike.
func common(a, b []int32) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
