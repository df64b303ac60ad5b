// Package ngram finds n-grams, which are runs of words or of tokens, of some documents in others. It keeps the n-grams
// of the first, such as those of an evaluation, in memory, and reads the others once, of whatever size. An n-gram is
// known by 64 bits: that a trillion words meet one of a million n-grams by chance is as likely as 1 in 18.
package ngram

import (
	"math/bits"
	"slices"
)

// LeastWhole is the least number of words or tokens of a document that is one n-gram as a whole, where it is shorter
// than n: Brown et al. (2020, appendix C) found spurious collisions below.
const LeastWhole = 8

// MostGrams is how many n-grams an index holds, in all its documents. Each takes up to 45 bytes.
const MostGrams = 1 << 24

// Index holds the n-grams of documents. It is read by any number of goroutines once all documents are added.
type Index struct {
	n       int
	lengths []int // of its n-grams, where some are of a whole document

	slots []slot   // a hash table with linear probing, at most half full
	bits  []uint64 // a bit of each hash: most others are told from them by these alone
	known int      // n-grams that differ

	grams []uint32 // those of all documents, one document after the other
	ends  []int    // of each document, among them
	full  bool
}

type slot struct {
	hash uint64
	gram uint32 // 0 of an empty slot; else its number and one
}

// New makes an index of runs of n words or tokens, from 2 to Most.
func New(n int) *Index {
	return &Index{n: n, slots: make([]slot, 1<<10), bits: make([]uint64, 1<<8)}
}

// Adder returns a scanner that adds the documents it reads. A document of fewer than n words is one n-gram; of fewer
// than LeastWhole it has none, and neither has one that comes when the index is full.
func (x *Index) Adder() *Scanner {
	s := &Scanner{words: newWords()}
	from := 0
	s.take = func(units []uint64) {
		for _, u := range units {
			if s.run.push(u); s.run.units >= x.n {
				x.add(s.run.last(x.n), x.n)
			}
		}
	}
	s.done = func() {
		if n := s.run.units; n < x.n && n >= min(LeastWhole, x.n) {
			x.add(s.run.last(n), n)
		}
		if x.full {
			x.grams = x.grams[:from]
		}
		from = len(x.grams)
		x.ends = append(x.ends, from)
	}
	return s
}

// add adds an n-gram of the document at hand.
func (x *Index) add(hash uint64, length int) {
	if len(x.grams) == MostGrams {
		x.full = true
	}
	if x.full {
		return
	}
	if !slices.Contains(x.lengths, length) {
		x.lengths = append(x.lengths, length)
		slices.Sort(x.lengths)
	}
	at := x.find(hash)
	if x.slots[at].gram == 0 {
		x.known++
		x.slots[at] = slot{hash, uint32(x.known)}
		x.mark(hash)
		if 2*x.known > len(x.slots) {
			x.grow()
			at = x.find(hash)
		}
	}
	x.grams = append(x.grams, x.slots[at].gram-1)
}

// Bytes is what an index of so many n-grams takes at most, while its table grows.
func Bytes(grams int64) int64 {
	grams = min(max(grams, 1), MostGrams)
	slots := int64(1) << bits.Len64(uint64(2*grams-1))
	const slot, gram = 16, 5 // gram with what a slice that grows has to spare
	return slots*(slot+1)*3/2 + grams*gram
}

// find is the slot of a hash, or the empty one where it would be.
func (x *Index) find(hash uint64) int {
	mask := len(x.slots) - 1
	at := int(hash) & mask
	for x.slots[at].gram != 0 && x.slots[at].hash != hash {
		at = (at + 1) & mask
	}
	return at
}

// The bits are chosen by the upper bits of a hash, the slot by the lower ones.
func (x *Index) bit(hash uint64) (word int, mask uint64) {
	at := hash >> (64 - bits.TrailingZeros(uint(len(x.bits))) - 6)
	return int(at >> 6), 1 << (at & 63)
}

func (x *Index) mark(hash uint64) {
	i, mask := x.bit(hash)
	x.bits[i] |= mask
}

// grow doubles the table, with 8 to 16 bits for each n-gram.
func (x *Index) grow() {
	old := x.slots
	x.slots, x.bits = make([]slot, 2*len(old)), make([]uint64, 2*len(old)/8)
	for _, s := range old {
		if s.gram != 0 {
			x.slots[x.find(s.hash)] = s
			x.mark(s.hash)
		}
	}
}

// Finder returns a scanner that tells of each n-gram of the index that it reads, each time, by its number.
func (x *Index) Finder(found func(gram uint32)) *Scanner {
	s := &Scanner{words: newWords(), done: func() {}}
	s.take = func(units []uint64) {
		for _, u := range units {
			s.run.push(u)
			for _, n := range x.lengths {
				if s.run.units < n {
					break
				}
				h := s.run.last(n)
				if i, mask := x.bit(h); x.bits[i]&mask == 0 {
					continue
				}
				if g := x.slots[x.find(h)].gram; g != 0 {
					found(g - 1)
				}
			}
		}
	}
	return s
}

// Grams is how many n-grams there are that differ; they are numbered from 0.
func (x *Index) Grams() int { return x.known }

// Full reports whether documents were left out, or the end of one, because there were too many n-grams.
func (x *Index) Full() bool { return x.full }

// Documents is how many documents were added.
func (x *Index) Documents() int { return len(x.ends) }

// Document lists the n-grams of a document, in order; none where it is too short.
func (x *Index) Document(i int) []uint32 {
	from := 0
	if i > 0 {
		from = x.ends[i-1]
	}
	return x.grams[from:x.ends[i]]
}
