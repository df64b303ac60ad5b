package fineweb

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"path/filepath"
	"sort"

	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// rowSet is a set of a corpus' rows, which are numbered in the order of files.
type rowSet struct {
	rows  []uint64 // a bit for each
	count int64
	bases *rowBases
}

// rowBases is the number of the first row of each file's row group.
type rowBases struct {
	of     map[[2]int]int64
	starts []int64 // of the pieces, in order of files
	pieces []piece
}

func (c *Corpus) newRowBases() *rowBases {
	b := &rowBases{of: map[[2]int]int64{}, pieces: c.pieces()}
	var at int64
	for _, p := range b.pieces {
		if p.from == 0 {
			b.of[[2]int{p.file, p.group}] = at
		}
		b.starts = append(b.starts, at)
		at += p.rows
	}
	return b
}

// row numbers a row of a piece.
func (b *rowBases) row(p piece, i int) int64 {
	return b.of[[2]int{p.file, p.group}] + p.from + int64(i)
}

// at finds a row by its number.
func (b *rowBases) at(row int64) (p piece, i int) {
	k := sort.Search(len(b.starts), func(k int) bool { return b.starts[k] > row }) - 1
	return b.pieces[k], int(row - b.starts[k])
}

func (c *Corpus) newRowSet() *rowSet {
	return &rowSet{rows: make([]uint64, (c.Rows+63)/64), bases: c.newRowBases()}
}

func (x *rowSet) add(row int64) {
	if !x.has(row) {
		x.rows[row/64] |= 1 << (row % 64)
		x.count++
	}
}

func (x *rowSet) has(row int64) bool { return x.rows[row/64]>>(row%64)&1 == 1 }

// drop drops the documents of a piece that are in the set.
func (x *rowSet) drop(p piece, docs []document) {
	for i := range docs {
		if d := &docs[i]; x.has(x.bases.row(p, i)) {
			d.drop, d.text, d.ids = true, "", nil
		}
	}
}

// first lists the first rows of the set.
func (x *rowSet) first(most int) (rows []int64) {
	for row := int64(0); row < int64(len(x.rows))*64 && len(rows) < most; row++ {
		if x.has(row) {
			rows = append(rows, row)
		}
	}
	return rows
}

// A file of rows holds a magic, and as varints the corpus' rows and the distances between those of the set, then CRC-32C
// of the file's name and all before.

// keep writes the set to a file, "" for nowhere. That only saves time: an error leaves it out.
func (x *rowSet) keep(path, magic string, rows int64) {
	if path == "" {
		return
	}
	b := binary.AppendUvarint([]byte(magic), uint64(rows))
	last := int64(0)
	for row := range rows {
		if x.has(row) {
			b = binary.AppendUvarint(b, uint64(row-last))
			last = row
		}
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(crc32.Checksum([]byte(filepath.Base(path)), castagnoli),
		castagnoli, b))
	web.WriteCached(path, b, 0o755)
}

// keptRows is the set that a file holds; nil where there is none, or it is damaged.
func (c *Corpus) keptRows(path, magic string) *rowSet {
	if path == "" {
		return nil
	}
	b, err := foreign.ReadFile(path, 1<<32)
	if err != nil || len(b) < len(magic)+4 || !bytes.HasPrefix(b, []byte(magic)) {
		return nil
	}
	body := b[:len(b)-4]
	sum := crc32.Update(crc32.Checksum([]byte(filepath.Base(path)), castagnoli), castagnoli, body)
	if binary.LittleEndian.Uint32(b[len(body):]) != sum {
		return nil
	}
	body = body[len(magic):]
	rows, n := binary.Uvarint(body)
	if n <= 0 || rows != uint64(c.Rows) {
		return nil
	}
	x := c.newRowSet()
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
