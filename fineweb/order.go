package fineweb

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// The order of documents in an epoch is a pure function of the data, the seed and the epoch, and documents that lie
// side by side come far apart, though little is in memory at a time.
//
// The pieces of all files are put in an order in which those that follow each other lie in different parts of the data
// (sequence). An epoch of P pieces then has P rounds. Each piece's rows are permuted and dealt into as many hands as
// there are lanes; round r holds hand k of the k-th piece before piece r, for each lane k, and permutes them together.
// So a round mixes as many pieces as there are lanes, each round needs one piece more than the one before, and a piece
// is done with after as many rounds as there are lanes: a convolutional interleaver. Pieces before the first are the
// last ones, so that the first round mixes as many as any other.
//
// To go on from a position, the pieces of its round are read.

// lanes is how many pieces are mixed at a time, if documents are shuffled.
const lanes = 16

// What is permuted, so that no two permutations have the same random numbers. The rows of a piece have its number.
const (
	ofRounds = (iota + 1) << 48
	ofStrata
	ofPieces
)

// order is the permutation of n things for an epoch: a pure function of seed, epoch and what.
func (c *Corpus) order(n int, epoch int64, what uint64) []int {
	if !c.source.Shuffle {
		p := make([]int, n)
		for i := range p {
			p[i] = i
		}
		return p
	}
	return rand.New(rand.NewPCG(c.source.Seed^uint64(epoch)*0x9e3779b97f4a7c15, what)).Perm(n)
}

// lanes is the number of pieces that a round mixes.
func (c *Corpus) lanes() int {
	if c.source.Shuffle {
		return lanes
	}
	return 1
}

// pieces are all of them in order of files.
func (c *Corpus) pieces() (all []piece) {
	for _, g := range c.groups {
		all = append(all, g...)
	}
	return all
}

// sequence puts the pieces in the order of an epoch: the data are cut into as many strata as there are lanes, the
// pieces of each are permuted, and spread evenly over the epoch, each stratum a little later than the one before. So
// the pieces of a round, which follow each other, are one of each stratum, but for a few where strata differ in size.
func (c *Corpus) sequence(epoch int64) []piece {
	all := c.pieces()
	if !c.source.Shuffle {
		return all
	}
	type turn struct {
		when float64 // in the epoch, from 0 to 1
		piece
	}
	n := min(lanes, len(all))
	turns := make([]turn, 0, len(all))
	for i, s := range c.order(n, epoch, ofStrata) {
		part := all[s*len(all)/n : (s+1)*len(all)/n]
		for k, j := range c.order(len(part), epoch, ofPieces+uint64(s)) {
			turns = append(turns, turn{float64(k*n+i) / float64(n*len(part)), part[j]})
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return cmp.Compare(a.when, b.when) })
	list := make([]piece, len(turns))
	for i, t := range turns {
		list[i] = t.piece
	}
	return list
}

// row is a document of a round: a piece by its place in the sequence, and the row in it.
type row struct{ piece, row int }

// loaded is a piece in memory, with the order of its documents.
type loaded struct {
	docs  []document
	order []int
}

// shuffler gives the documents of an epoch, round by round.
type shuffler struct {
	corpus   *Corpus
	load     func(piece) ([]document, error)
	epoch    int64
	sequence []piece
	pieces   map[int]*loaded // those of the round, by their place in the sequence
	rows     []row           // of the round
}

// shuffler of an epoch; load reads a piece.
func (c *Corpus) shuffler(epoch int64, load func(piece) ([]document, error)) *shuffler {
	return &shuffler{corpus: c, load: load, epoch: epoch, sequence: c.sequence(epoch), pieces: map[int]*loaded{}}
}

// rounds is the number of rounds of the epoch.
func (s *shuffler) rounds() int { return len(s.sequence) }

// round reads what a round needs and is not there yet, lets go of what no round needs any more, and puts its documents
// in order.
func (s *shuffler) round(r int) error {
	c, n, lanes := s.corpus, len(s.sequence), s.corpus.lanes()
	for _, x := range s.rows { // of the round before
		if p := s.pieces[x.piece]; p != nil {
			p.docs[x.row] = document{}
		}
	}
	s.rows = nil
	needed := map[int]bool{}
	for k := range lanes {
		needed[((r-k)%n+n)%n] = true
	}
	for i := range s.pieces {
		if !needed[i] {
			delete(s.pieces, i)
		}
	}
	var dealt []row
	for k := range lanes {
		i := ((r-k)%n + n) % n
		if s.pieces[i] == nil {
			docs, err := s.load(s.sequence[i])
			if err != nil {
				return err
			}
			s.pieces[i] = &loaded{docs, c.order(len(docs), s.epoch, uint64(s.sequence[i].number))}
		}
		order := s.pieces[i].order
		for _, j := range order[k*len(order)/lanes : (k+1)*len(order)/lanes] {
			dealt = append(dealt, row{i, j})
		}
	}
	for _, j := range c.order(len(dealt), s.epoch, ofRounds+uint64(r)) {
		s.rows = append(s.rows, dealt[j])
	}
	return nil
}

// document is the i-th of the round, with where it lies.
func (s *shuffler) document(i int) (d *document, p piece, at int) {
	x := s.rows[i]
	return &s.pieces[x.piece].docs[x.row], s.sequence[x.piece], x.row
}
