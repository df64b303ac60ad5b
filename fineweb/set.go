package fineweb

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"stepflow/fineweb/tokenizer"
)

// Weighted is a source of a mixture; of data that are no mixture it is the only one.
type Weighted struct {
	Name   string
	Source Source
	Weight float64 // share of the sequences, relative to the others' weights
}

// Set is an opened mixture. It serves one goroutine.
type Set struct {
	parts       []Weighted
	corpora     []*Corpus
	prefetching sync.WaitGroup
}

// OpenSet opens every source; reading them ends with ctx.
func OpenSet(ctx context.Context, parts []Weighted) (*Set, error) {
	s := &Set{parts: parts}
	for _, p := range parts {
		c, err := Open(ctx, p.Source)
		if err != nil {
			s.Close()
			return nil, err
		}
		if len(parts) > 1 {
			c.part = p.Name
		}
		s.corpora = append(s.corpora, c)
	}
	return s, nil
}

// Identities are those of the sources, in order: hashes of what their files hold.
func (s *Set) Identities() ([]string, error) {
	ids, errs := make([]string, len(s.corpora)), make([]error, len(s.corpora))
	for i, c := range s.corpora {
		ids[i], errs[i] = c.Identity()
	}
	return ids, errors.Join(errs...)
}

// Close closes every source once prefetching has ended. It does not wait for that where the sources' context has.
func (s *Set) Close() error {
	for _, c := range s.corpora {
		if c.source.ended() != nil {
			go s.close()
			return nil
		}
	}
	return s.close()
}

func (s *Set) close() error {
	s.prefetching.Wait()
	var errs []error
	for _, c := range s.corpora {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Texts visits the documents of a split, source by source, in file order until visit returns false.
func (s *Set) Texts(split Split, visit func(text string) bool) error {
	more := true
	for _, c := range s.corpora {
		if !more {
			break
		}
		if err := c.Texts(split, func(text string) bool { more = visit(text); return more }); err != nil {
			return err
		}
	}
	return nil
}

// None says why Texts found no document.
func (s *Set) None(split Split) error { return s.corpora[0].none(split) }

// Position is that of a mixture: the next token to come of each source, and how many sequences each has given. Of
// data that are no mixture it is a Cursor.
type Position struct {
	Cursor
	Sources []Cursor `json:"sources,omitempty"`
	Drawn   []int64  `json:"drawn,omitempty"`
}

// Mix draws sequences from streams: the next from the source whose weight, divided by twice the sequences it
// gave plus one, is largest (Sainte-Laguë's method: at every moment the shares are as near the weights as whole
// sequences allow). No chance is involved, so the position is all the state.
type Mix struct {
	set     *Set
	weights []float64
	streams []*Stream
	drawn   []int64
	usedUp  []bool
}

// Stream starts at a position.
func (s *Set) Stream(split Split, tok *tokenizer.Tokenizer, seq int, at Position) (*Mix, error) {
	m := &Mix{set: s, drawn: make([]int64, len(s.corpora)), usedUp: make([]bool, len(s.corpora))}
	if len(at.Sources) > 0 && (len(at.Sources) != len(s.corpora) || len(at.Drawn) != len(s.corpora)) {
		return nil, fmt.Errorf("the position is one in a mixture of %d sources, not of %d",
			len(at.Sources), len(s.corpora))
	}
	copy(m.drawn, at.Drawn)
	for i, c := range s.corpora {
		from := at.Cursor
		if len(at.Sources) > 0 {
			from = at.Sources[i]
		}
		st, err := c.Stream(split, tok, seq, from)
		if err != nil {
			return nil, err
		}
		m.weights, m.streams = append(m.weights, s.parts[i].Weight), append(m.streams, st)
	}
	return m, nil
}

// Endless lifts the limits on epochs: for a look at what comes next, which is not trained on.
func (m *Mix) Endless() {
	for _, s := range m.streams {
		s.limit = 0
	}
}

// Next packs a number of sequences.
func (m *Mix) Next(sequences int) (*Batch, error) {
	if len(m.streams) == 1 {
		return m.streams[0].Next(sequences)
	}
	b := &Batch{Sources: make([]int, len(m.streams))}
	for n := 0; n < sequences; {
		j := nextPart(m.weights, m.drawn, func(j int) bool { return m.usedUp[j] })
		if j < 0 {
			return nil, fmt.Errorf("all sources of the mixture: %w", ErrUsedUp)
		}
		x, err := m.streams[j].Next(1)
		if errors.Is(err, ErrUsedUp) {
			m.usedUp[j] = true
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.set.parts[j].Name, err)
		}
		m.drawn[j]++
		b.Sources[j]++
		b.IDs, b.Targets, b.Segments = append(b.IDs, x.IDs...), append(b.Targets, x.Targets...),
			append(b.Segments, x.Segments...)
		for _, d := range x.Documents {
			d.At += n * len(x.IDs)
			b.Documents = append(b.Documents, d)
		}
		b.Valid += x.Valid
		b.Watched += x.Watched
		n++
	}
	for _, s := range m.streams {
		b.Cursor.Sources = append(b.Cursor.Sources, s.at)
		b.Cursor.Epoch = max(b.Cursor.Epoch, s.at.Epoch)
		b.Skipped += s.corpus.Skipped
		b.Copies += s.corpus.found()
		b.Contaminated += s.corpus.contaminated()
		b.Specials += s.specials
		if s.tuned != nil {
			b.Specials += s.tuned.quoted
			b.Truncated += s.tuned.truncated
			b.Masked += s.tuned.masked
		}
	}
	b.Cursor.Drawn = append(b.Cursor.Drawn, m.drawn...)
	return b, nil
}

// Prefetch packs batches in the background, a few ahead, until the context ends. The channel is
// closed after an error, which is then in the last item.
func (m *Mix) Prefetch(ctx context.Context, sequences, ahead int) <-chan Prefetched {
	out := make(chan Prefetched, ahead)
	m.set.prefetching.Add(1)
	go func() {
		defer m.set.prefetching.Done()
		defer close(out)
		for {
			b, err := m.Next(sequences)
			select {
			case out <- Prefetched{b, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// Prefetched is a batch or the error that ended the stream.
type Prefetched struct {
	Batch *Batch
	Err   error
}
