package observe

import (
	"context"
	"fmt"
	"time"

	"stepflow/tracing"
)

// Batches watches what a block does one after the other, such as the batches of an evaluation. The first ten have a span
// each; later ones share spans, ten at a time, then a hundred and so on, so that there are never many.
type Batches struct {
	block  *Block
	above  *part
	name   string
	of     string // the attribute that says how much there was of what
	first  int    // of the span of now
	next   int
	amount int64
	start  time.Time
}

// singly is how many batches have a span each, and how many spans have each number of batches after that.
const singly = 10

// Batches starts to watch. The name is the word for one of them, and of is the attribute for its amount.
func (b *Block) Batches(ctx context.Context, name, of string) *Batches {
	return &Batches{block: b, above: partOf(ctx, b.part), name: name, of: of, start: time.Now()}
}

// Done says that one of them, of this amount, has ended, and that the next begins.
func (x *Batches) Done(amount int64) {
	x.next++
	x.amount += amount
	if x.next-x.first >= shared(x.first) {
		x.End()
	}
}

// End records what has no span yet.
func (x *Batches) End() {
	if x.next == x.first {
		return
	}
	now, name := time.Now(), fmt.Sprintf("%s %d", x.name, x.first)
	if x.next > x.first+1 {
		name += fmt.Sprintf("-%d", x.next-1)
	}
	o := x.block.observer
	o.with(x.above, func(above *tracing.Span) {
		o.spans++
		o.span(above, name, x.start, now, x.block.stage(), tracing.KV{Key: x.of, Value: x.amount})
	})
	x.first, x.amount, x.start = x.next, 0, now
}

// shared is how many batches have a span together, of which one is the first.
func shared(first int) int {
	n := 1
	for limit := singly; first >= limit; limit += singly * n {
		n *= 10
	}
	return n
}
