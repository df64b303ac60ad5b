package fineweb

import "stepflow/fineweb/tokenizer"

// given says which documents a stream has given up to a position. See order.go for the order.
type given struct {
	corpus *Corpus
	all    bool
	turn   map[int]int // of each piece, by its number
	pieces int
	round  int           // all before it were given whole
	begun  map[int][]int // rows that this round has given, by the number of their piece
	last   [2]int        // piece and row of the document at the position
	tokens int64         // how many of its tokens were given; 0 if it was not begun
}

func (c *Corpus) given(at Cursor) (*given, error) {
	g := &given{corpus: c, all: at.Epoch > 0, turn: map[int]int{}, round: at.Round, begun: map[int][]int{},
		tokens: int64(at.Token)}
	if g.all {
		return g, nil
	}
	s := c.shuffler(0, c.read)
	g.pieces = s.rounds()
	for i, p := range s.sequence {
		g.turn[p.number] = i
	}
	n := at.Document
	if at.Token > 0 {
		n++
	}
	if n == 0 || at.Round >= s.rounds() {
		return g, nil
	}
	if err := s.round(at.Round); err != nil {
		return nil, err
	}
	for i := range min(n, len(s.rows)) {
		_, p, row := s.document(i)
		g.begun[p.number] = append(g.begun[p.number], row)
		if i == at.Document {
			g.last = [2]int{p.number, row}
		}
	}
	return g, nil
}

// givenTo is given that also knows streams of conversations: it packs those of the last sequences again.
func (c *Corpus) givenTo(at Cursor, tok *tokenizer.Tokenizer, seq int) (*given, error) {
	if c.tuning == nil || at.Token == 0 || at.Epoch > 0 {
		return c.given(at)
	}
	s, err := c.Stream(Train, tok, seq, at)
	if err != nil {
		return nil, err
	}
	at.Token = 0
	g, err := c.given(at)
	if err != nil {
		return nil, err
	}
	for _, row := range s.tuned.rows[:s.tuned.given] {
		for _, p := range row {
			if p.lo > 0 {
				continue // it began in the sequence before
			}
			x := &s.tuned.examples[p.example]
			g.begun[x.piece.number] = append(g.begun[x.piece.number], x.row)
		}
	}
	return g, nil
}

// hands lists the hands of a piece that were given whole.
func (g *given) hands(p piece) (list []int) {
	for k := range g.corpus.lanes() {
		if (g.turn[p.number]+k)%g.pieces < g.round {
			list = append(list, k)
		}
	}
	return list
}

// any reports whether a document of a piece was given.
func (g *given) any(p piece) bool {
	return g.all || len(g.begun[p.number]) > 0 || len(g.hands(p)) > 0
}

// rows lists the rows of a piece of n documents that were given.
func (g *given) rows(p piece, n int) (rows []int) {
	if g.all {
		for r := range n {
			rows = append(rows, r)
		}
		return rows
	}
	lanes, order := g.corpus.lanes(), g.corpus.order(n, 0, uint64(p.number))
	for _, k := range g.hands(p) {
		rows = append(rows, order[k*n/lanes:(k+1)*n/lanes]...)
	}
	return append(rows, g.begun[p.number]...)
}

// most is how many tokens of a document were given; 0 for all.
func (g *given) most(p piece, row int) int64 {
	if g.tokens > 0 && g.last == [2]int{p.number, row} {
		return g.tokens
	}
	return 0
}
