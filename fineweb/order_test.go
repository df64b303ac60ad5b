package fineweb

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// imagined is a corpus of which only the order matters: row groups of so many rows each.
func imagined(shuffle bool, seed uint64, groups ...int64) *Corpus {
	c := &Corpus{listing: listing{source: reading{Source: Source{Shuffle: shuffle, Seed: seed}}}}
	all := int64(0)
	for i, n := range groups {
		c.groups = append(c.groups, []piece{{i, i, 0, 0, n}})
		all += n
	}
	c.groups = apart(c.groups, upTo(min(pieceRows, max(leastRows, all/manyPieces))))
	at := int64(0)
	for _, g := range c.groups { // a row's number stands for it
		for k := range g {
			g[k].from += at
		}
		last := g[len(g)-1]
		at = last.from + last.rows
	}
	return c
}

// orderOf gives the rows of an epoch in the order in which they come, with the pieces read, one after the other.
func orderOf(t testing.TB, c *Corpus, epoch int64, most int) (rows []int64, reads []piece) {
	t.Helper()
	s := c.shuffler(epoch, func(p piece) ([]document, error) {
		reads = append(reads, p)
		docs := make([]document, p.rows)
		for i := range docs {
			docs[i].at = p.from + int64(i)
		}
		return docs, nil
	})
	for r := 0; r < s.rounds() && len(rows) < most; r++ {
		if err := s.round(r); err != nil {
			t.Fatal(err)
		}
		if len(s.pieces) > c.lanes() {
			t.Fatalf("%d pieces are in memory", len(s.pieces))
		}
		for i := range s.rows {
			d, p, at := s.document(i)
			if d.at != p.from+int64(at) {
				t.Fatalf("row %d of piece %+v is %d", at, p, d.at)
			}
			rows = append(rows, d.at)
		}
	}
	return rows, reads
}

// An epoch holds every row once, of files of any structure, in an order of its own; not shuffled it is that of the files. Each piece is
// read once, and those of the first round again in the end.
func TestOrderHoldsEveryRowOnce(t *testing.T) {
	for _, groups := range [][]int64{{1}, {3}, {lanes}, {pieceRows}, {pieceRows + 1}, {20_000}, {0, 5, 0, 0, 7}, slices.Repeat([]int64{1}, 100), slices.Repeat([]int64{1000}, 37), {100_000, 3, 40_000}} {
		n := int64(0)
		for _, g := range groups {
			n += g
		}
		files := make([]int64, n)
		for i := range files {
			files[i] = int64(i)
		}
		plain := imagined(false, 1, groups...)
		if rows, reads := orderOf(t, plain, 3, math.MaxInt); !slices.Equal(rows, files) || len(reads) != len(plain.pieces()) {
			t.Errorf("%v: not shuffled, the order is not that of the files", groups)
		}
		var orders [][]int64
		for _, x := range []struct {
			seed  uint64
			epoch int64
		}{{1, 0}, {1, 1}, {2, 0}} {
			c := imagined(true, x.seed, groups...)
			rows, reads := orderOf(t, c, x.epoch, math.MaxInt)
			if again, _ := orderOf(t, c, x.epoch, math.MaxInt); !slices.Equal(rows, again) {
				t.Errorf("%v: the order of epoch %d is another the second time", groups, x.epoch)
			}
			if got := slices.Sorted(slices.Values(rows)); !slices.Equal(got, files) {
				t.Errorf("%v: epoch %d holds other rows", groups, x.epoch)
			}
			if most := len(c.pieces()) + lanes - 1; len(reads) > most {
				t.Errorf("%v: %d pieces are read, %d at most should be", groups, len(reads), most)
			}
			for _, o := range append(orders, files) {
				if n > 4 && slices.Equal(rows, o) {
					t.Errorf("%v: two epochs or seeds have the same order", groups)
				}
			}
			orders = append(orders, rows)
		}
	}
}

// quality says how an order of rows, which are the numbers from 0 on, differs from a permutation at random. Of such each figure has
// a known value.
type quality struct {
	displacement float64 // mean distance between a row's places in the file and in the order, over the number of rows: 1/3
	correlation  float64 // of the two places, by rank: 0
	neighbours   float64 // share of documents that lie within 512 rows of the one before: 1,023 over the number of rows
	firstHalf    float64 // largest difference between the share of the first 1,500 documents from the file's first x and x: about 0.02
	batches      float64 // standard deviation of the mean place of 64 documents that follow each other, over that at random: 1
}

func qualityOf(rows []int64, n int) (q quality) {
	var sum, near, batch, batches float64
	place := func(x int64) float64 { return float64(x) / float64(n) }
	for i, x := range rows {
		a, b := place(x)-0.5, float64(i)/float64(n)-0.5
		q.displacement += math.Abs(a - b)
		sum += a * b
		if i > 0 && math.Abs(float64(x-rows[i-1])) <= 512 {
			near++
		}
		if batch += a; i%64 == 63 {
			batches += batch / 64 * batch / 64
			batch = 0
		}
	}
	q.displacement /= float64(len(rows))
	q.correlation = 12 * sum / float64(len(rows))
	q.neighbours = near / float64(len(rows)-1)
	q.batches = math.Sqrt(batches/float64(len(rows)/64)) / math.Sqrt(1./12/64)
	first := slices.Sorted(slices.Values(rows[:min(1500, len(rows))]))
	for i, x := range first {
		q.firstHalf = max(q.firstHalf, math.Abs(float64(i)/float64(len(first))-place(x)), math.Abs(float64(i+1)/float64(len(first))-place(x)))
	}
	return q
}

// A file of one row group, sorted by whatever it may be sorted by, comes well mixed from the first document on. docs/data.md has the
// figures: go test ./fineweb -run TestOrderMixes -v
func TestOrderMixes(t *testing.T) {
	for _, n := range []int{20_000, 100_000, 1 << 20} {
		for _, groups := range [][]int64{{int64(n)}, slices.Repeat([]int64{1000}, n/1000)} {
			total := 0
			for _, g := range groups {
				total += int(g)
			}
			rows, _ := orderOf(t, imagined(true, 7, groups...), 0, math.MaxInt)
			perm := rand.New(rand.NewPCG(1, 2)).Perm(total)
			random := make([]int64, total)
			for i, x := range perm {
				random[i] = int64(x)
			}
			q, full := qualityOf(rows, total), qualityOf(random, total)
			t.Logf("%d rows in %d row groups: displacement %.4f (at random %.4f), rank correlation %.4f (%.4f), neighbours %.4f (%.4f), first 1,500 %.3f (%.3f), means of 64 %.2f (%.2f)",
				total, len(groups), q.displacement, full.displacement, q.correlation, full.correlation, q.neighbours, full.neighbours, q.firstHalf, full.firstHalf, q.batches, full.batches)
			if math.Abs(q.displacement-1./3) > 0.01 || math.Abs(q.correlation) > 0.02 || q.neighbours > full.neighbours+1./lanes+0.01 || q.firstHalf > 0.08 || q.batches > 1.5 {
				t.Errorf("%d rows in %d row groups: %+v, at random %+v", total, len(groups), q, full)
			}
		}
	}
}

// A stream goes on from any position by reading the pieces of one round.
func TestSeekingReadsOneRound(t *testing.T) {
	c := imagined(true, 5, 300_000)
	want, _ := orderOf(t, c, 2, math.MaxInt)
	at := 0
	for r := range len(c.pieces()) {
		reads := 0
		x := c.shuffler(2, func(p piece) ([]document, error) {
			reads++
			docs := make([]document, p.rows)
			for i := range docs {
				docs[i].at = p.from + int64(i)
			}
			return docs, nil
		})
		if err := x.round(r); err != nil {
			t.Fatal(err)
		}
		var got []int64
		for i := range x.rows {
			d, _, _ := x.document(i)
			got = append(got, d.at)
		}
		if reads != lanes || !slices.Equal(got, want[at:at+len(got)]) {
			t.Fatalf("round %d: %d pieces were read, or other rows came", r, reads)
		}
		at += len(got)
	}
}

// TestOriginsAreShown holds that what an id contains stays on its line, and that little of a long one is shown.
func TestOriginsAreShown(t *testing.T) {
	o := Origin{File: "a.jsonl", Place: "line 1", ID: "x\nError: \x1b[31m" + strings.Repeat("y", 1000)}
	if s := o.String(); strings.ContainsAny(s, "\n\x1b") || len(s) > 200 || !strings.HasPrefix(s, "x") || !strings.HasSuffix(s, "(a.jsonl, line 1)") {
		t.Errorf("%q", s)
	}
}
