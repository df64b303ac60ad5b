package fineweb

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"

	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// copies are the documents of a corpus that are left out because their text occurs earlier, in the order of files and
// rows. To find them, all texts are read once, before the first is used; what was found is kept beside the other
// caches. Which document of several stays depends on the data alone, not on the order of reading, and its id says for
// all of them to which split the text belongs.
type copies struct {
	rows  []uint64 // a bit for each row of the corpus
	count int64
	bases map[[2]int]int64 // number of the first row of each file's row group
}

// maxDistinct bounds the documents in which copies are looked for: each takes copyBytes of memory meanwhile.
const (
	maxDistinct = 1 << 27
	copyBytes   = 24
)

// sighting is a document's text, by its hash, and its row in the corpus.
type sighting struct {
	sum [16]byte
	row int64
}

// Copies is the number of documents that are left out as copies of others. It reads the data, if that was not done
// before.
func (c *Corpus) Copies() (int64, error) {
	if !c.source.Deduplicate {
		return 0, nil
	}
	if err := c.findCopies(); err != nil {
		return 0, err
	}
	return c.copies.count, nil
}

// KnowsCopies reports whether the copies are known without reading the data.
func (c *Corpus) KnowsCopies() bool {
	if c.source.Deduplicate && c.copies == nil {
		c.copies = c.keptCopies()
	}
	return !c.source.Deduplicate || c.copies != nil
}

// found is the number of copies, as far as they were looked for.
func (c *Corpus) found() int64 {
	if c.copies == nil {
		return 0
	}
	return c.copies.count
}

func (c *Corpus) findCopies() error {
	if c.KnowsCopies() {
		return nil
	}
	if c.Rows > maxDistinct {
		return fmt.Errorf("%v hold %d rows; deduplicate takes %d bytes of memory for each and looks at %d at most",
			c.source.Shown(), c.Rows, copyBytes, maxDistinct)
	}
	skipped := c.Skipped
	defer func() { c.Skipped = skipped }() // they are counted where they are read for use
	var all []sighting
	x := c.newCopies()
	for _, p := range c.pieces() {
		docs, err := c.load(p)
		if err != nil {
			return err
		}
		for i := range docs {
			if d := &docs[i]; !d.drop && d.flaw == sound {
				sum := sha256.Sum256([]byte(d.text))
				all = append(all, sighting{[16]byte(sum[:16]), x.row(p, i)})
			}
		}
	}
	slices.SortFunc(all, func(a, b sighting) int {
		if c := bytes.Compare(a.sum[:], b.sum[:]); c != 0 {
			return c
		}
		return int(a.row - b.row)
	})
	for i := 1; i < len(all); i++ {
		if all[i].sum == all[i-1].sum {
			x.add(all[i].row)
		}
	}
	c.copies = x
	c.keepCopies()
	return nil
}

func (c *Corpus) newCopies() *copies {
	x := &copies{rows: make([]uint64, (c.Rows+63)/64), bases: map[[2]int]int64{}}
	var at int64
	for _, g := range c.groups {
		for _, p := range g {
			if p.from == 0 {
				x.bases[[2]int{p.file, p.group}] = at
			}
			at += p.rows
		}
	}
	return x
}

// row numbers a row of a piece in the corpus.
func (x *copies) row(p piece, i int) int64 {
	return x.bases[[2]int{p.file, p.group}] + p.from + int64(i)
}

func (x *copies) add(row int64) {
	x.rows[row/64] |= 1 << (row % 64)
	x.count++
}

func (x *copies) has(row int64) bool { return x.rows[row/64]>>(row%64)&1 == 1 }

// single drops the documents of a piece that are copies.
func (c *Corpus) single(p piece, docs []document) error {
	if !c.source.Deduplicate {
		return nil
	}
	if err := c.findCopies(); err != nil {
		return err
	}
	for i := range docs {
		if d := &docs[i]; c.copies.has(c.copies.row(p, i)) {
			d.drop, d.text, d.ids = true, "", nil
		}
	}
	return nil
}

const copiesMagic = "STEPCOP1"

// copiesPath is where the copies are kept; "" for nowhere. A file holds the magic, and as varints the corpus' rows and
// the distances between those that are copies, then CRC-32C of its name and all before.
func (c *Corpus) copiesPath() string {
	dir := foreign.CacheDir()
	if dir == "" {
		return ""
	}
	h := sha256.New()
	s := &c.source
	fmt.Fprintf(h, "%s %s %q %q %q %t\n", copiesMagic, s.Format, s.TextColumn, s.Separator, s.conditions(),
		s.SkipErrors)
	if s.keepBlank {
		fmt.Fprintln(h, "blank documents kept")
	}
	for i, f := range c.opened {
		if f != nil {
			fmt.Fprint(h, c.identity(i))
		}
	}
	return filepath.Join(dir, "duplicates", hex.EncodeToString(h.Sum(nil)[:16]))
}

// keepCopies only saves time: an error leaves them out.
func (c *Corpus) keepCopies() {
	path := c.copiesPath()
	if path == "" {
		return
	}
	b := binary.AppendUvarint([]byte(copiesMagic), uint64(c.Rows))
	last := int64(0)
	for row := range c.Rows {
		if c.copies.has(row) {
			b = binary.AppendUvarint(b, uint64(row-last))
			last = row
		}
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(crc32.Checksum([]byte(filepath.Base(path)), castagnoli),
		castagnoli, b))
	web.WriteCached(path, b, 0o755)
}

// keptCopies are those that were found before; nil if there are none, or they are damaged.
func (c *Corpus) keptCopies() *copies {
	path := c.copiesPath()
	if path == "" {
		return nil
	}
	b, err := foreign.ReadFile(path, 1<<32)
	if err != nil || len(b) < len(copiesMagic)+4 || !bytes.HasPrefix(b, []byte(copiesMagic)) {
		return nil
	}
	body := b[:len(b)-4]
	sum := crc32.Update(crc32.Checksum([]byte(filepath.Base(path)), castagnoli), castagnoli, body)
	if binary.LittleEndian.Uint32(b[len(body):]) != sum {
		return nil
	}
	body = body[len(copiesMagic):]
	rows, n := binary.Uvarint(body)
	if n <= 0 || rows != uint64(c.Rows) {
		return nil
	}
	x := c.newCopies()
	row := uint64(0)
	for body = body[n:]; len(body) > 0; body = body[n:] {
		var d uint64
		if d, n = binary.Uvarint(body); n <= 0 || d >= rows || row+d >= rows {
			return nil
		}
		row += d
		x.add(int64(row))
	}
	return x
}
