package fineweb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"stepflow/fineweb/tokenizer"
)

// Size is how many tokens a split of data holds.
type Size struct {
	Tokens   int64
	How      How
	Most     int64 // tokens it may hold at most; 0 where that is not known
	Specials int64 // special tokens that stand in the texts, by the sample; of remote data 0
}

// How a Size is known.
type How string

const (
	Exact      How = "exact"
	BySample   How = "sample"
	ByColumn   How = "token_count" // the column's word for it, which nobody checked
	BytesAlone How = "bytes"       // no tokenizer is there yet: 4 bytes a token were assumed
)

// String tells how, for a sentence.
func (h How) String() string {
	return map[How]string{Exact: "exactly", BySample: "by a sample", ByColumn: "by token_count",
		BytesAlone: "at 4 bytes a token"}[h]
}

// A sample is of so many pieces, evenly spread, and in each of so many documents or bytes of text.
const (
	samplePieces    = 8
	sampleDocuments = 64
	sampleBytes     = 1 << 17
	sampleText      = 1 << 20 // of one document at most
	bytesPerToken   = 4
)

// Measure counts the tokens of a split, the token that ends each document included: exactly where the
// data are tokens or few; by the column token_count, FineWeb's number of GPT-2's tokens, where that is the tokenizer;
// else by a sample of the documents. Of remote data only the column is read; Tokens is 0 where there is none. Where all
// documents were looked at and none is left the error is NoDocuments.
func Measure(ctx context.Context, s Source, tok *tokenizer.Tokenizer, split Split) (size Size, err error) {
	if s.Format == FormatConversations { // a stage says how they become tokens
		return size, nil
	}
	gpt2 := tok != nil && tok.VocabSize() == 50257 && tok.EOS == 50256
	remote := slices.ContainsFunc(s.Patterns, IsRemote)
	if remote && !gpt2 && s.Format != "bin" {
		return size, nil
	}
	c, err := Open(ctx, s)
	if err != nil {
		return size, err
	}
	defer c.Close()
	if s.Format == "bin" {
		return c.sizeOfTokens(tok, split)
	}
	if gpt2 {
		if size, err = c.sizeByColumn(&s, split); err != nil {
			return size, err
		}
	}
	if remote {
		return size, nil
	}
	known := c.KnowsCopies() && c.KnowsContaminated()
	if !known { // which only a run looks for
		c.source.Deduplicate, c.source.Against = false, nil
	}
	sample, err := c.sample(tok, split)
	if err != nil {
		return size, err
	}
	all := sample.rows == c.Rows
	if all && sample.documents == 0 && sample.flawed == 0 {
		return size, c.none(split)
	}
	if sample.rows == 0 {
		return size, nil
	}
	how := BySample
	if tok == nil {
		how = BytesAlone
	} else if all && !sample.cut && known {
		how = Exact
	}
	switch {
	case how == Exact:
		size.Most = sample.tokens
	case how == BytesAlone && all: // a token holds a byte or more
		size.Most = sample.bytes + sample.documents
	}
	if size.Specials = sample.whole(c, sample.specials); size.How == "" { // else the column says it
		size.Tokens, size.How = sample.whole(c, sample.tokens), how
	}
	return size, nil
}

// sizeOfTokens is the size of a split of data that are tokens.
func (c *Corpus) sizeOfTokens(tok *tokenizer.Tokenizer, split Split) (size Size, err error) {
	if err := c.use(tok); err != nil {
		return size, err
	}
	size.Tokens = c.tokens.end()
	size.How, size.Most = Exact, size.Tokens
	if share := c.source.share(split); share < 1 {
		size.How, size.Tokens = BySample, int64(float64(size.Tokens)*share)
	}
	return size, nil
}

// sizeByColumn is the size of a split by the column token_count; nothing where that does not tell it. Of remote data it
// is an estimate, for which filters are left aside.
func (c *Corpus) sizeByColumn(s *Source, split Split) (size Size, err error) {
	n, ok, err := c.counted()
	if err != nil || !ok {
		return size, err
	}
	share := s.share(split)
	if slices.ContainsFunc(s.Patterns, IsRemote) {
		return Size{Tokens: int64(float64(n+c.Rows) * share), How: ByColumn}, nil
	}
	if share == 1 && s.conditions() == "" && !s.Deduplicate && len(s.Against) == 0 && !s.SkipErrors {
		return Size{Tokens: n + c.Rows, How: ByColumn}, nil
	}
	return size, nil
}

// sample is what some of the documents of a split hold.
type sample struct {
	rows      int64 // looked at
	flawed    int64 // of these, documents that end a run
	documents int64 // of these, those of the split
	bytes     int64 // of their texts
	tokens    int64
	specials  int64 // special tokens in their texts
	cut       bool  // of a long document only the beginning was looked at
}

// whole is a count of the sample for all rows of a corpus.
func (s *sample) whole(c *Corpus, n int64) int64 {
	if s.rows == c.Rows {
		return n
	}
	return int64(float64(n) / float64(s.rows) * float64(c.Rows))
}

// sample looks at the first documents of some pieces, and of others for as long as it finds none.
func (c *Corpus) sample(tok *tokenizer.Tokenizer, split Split) (s sample, err error) {
	order, pieces := c.sampled()
	looks := allowance{looks: mostLookedAt}
	for k, p := range order {
		if k >= pieces && s.documents > 0 {
			break
		}
		read, err := c.read(p)
		if err != nil {
			return s, err
		}
		if looks.read(read) != nil && k >= pieces {
			break
		}
		if err := c.samplePiece(&s, tok, split, p, read); err != nil {
			return s, err
		}
	}
	return s, nil
}

// sampled is the order in which pieces are looked at: those of the sample, of which it gives the number, then the
// others.
func (c *Corpus) sampled() (order []piece, pieces int) {
	all := c.pieces()
	pieces = min(samplePieces, len(all))
	if c.Rows <= samplePieces*sampleDocuments {
		pieces = len(all)
	}
	order = make([]piece, 0, len(all))
	for k := range pieces {
		order = append(order, all[k*len(all)/pieces])
	}
	for _, p := range all {
		if !slices.Contains(order[:pieces], p) {
			order = append(order, p)
		}
	}
	return order, pieces
}

// samplePiece adds the first documents of a piece to a sample.
func (c *Corpus) samplePiece(s *sample, tok *tokenizer.Tokenizer, split Split, p piece, read []document) error {
	var docs, bytes int64
	for i := 0; i < len(read) && docs < sampleDocuments && bytes < sampleBytes; i++ {
		s.rows++
		if ok, err := c.check(&read[i], split, p, i); err != nil || !ok {
			if err != nil {
				s.flawed++
			}
			continue
		}
		docs++
		n := int64(len(read[i].text))
		if bytes += n; tok == nil {
			s.tokens += n/bytesPerToken + 1
			continue
		}
		begin := read[i].text[:min(n, sampleText)] // of a long one, whose end may be no character: it is an estimate
		ids, seen, err := c.reads(tok).Document(nil, strings.ToValidUTF8(begin, ""))
		if err != nil {
			return c.bad(p, i, err)
		}
		s.specials += int64(seen)
		s.tokens += int64(float64(len(ids)) * float64(n) / float64(max(len(begin), 1)))
		s.cut = s.cut || int64(len(begin)) < n
	}
	s.documents, s.bytes = s.documents+docs, s.bytes+bytes
	return nil
}

// counted adds up the column token_count of all rows; ok is false where a file has none. Of many remote row
// groups it reads the first and takes them for all.
func (c *Corpus) counted() (n int64, ok bool, err error) {
	defer guard(&err)
	const most = 16
	var groups int
	var rows int64
	for i, sh := range c.shards {
		p, is := sh.(*parquetShard)
		if !is {
			return 0, false, nil
		}
		column, err := p.column("token_count")
		if err != nil || column.typ.kind != fraction {
			return 0, false, nil
		}
		for k, g := range p.pq.RowGroups() {
			if groups == most && IsRemote(c.files[i]) {
				return int64(float64(n) / float64(rows) * float64(c.Rows)), true, nil
			}
			groups++
			r := &columnReader{headers: headersOf(p.file,
				&p.pq.Metadata().RowGroups[k].Columns[column.index].MetaData),
				pages: g.ColumnChunks()[column.index].Pages()}
			err := r.read(int(g.NumRows()), c.source.passes, func(_ int, v parquet.Value) {
				if !v.IsNull() {
					n += column.typ.read(v).count()
				}
			}, nil)
			r.close()
			if err != nil && !errors.Is(err, io.EOF) {
				return 0, false, err
			}
			rows += g.NumRows()
		}
	}
	return n, rows > 0, nil
}

// FileInfo is what a file of a corpus holds.
type FileInfo struct {
	Name   string
	Bytes  int64
	Groups []int64  // rows of each row group
	Fields []string // columns with their types, of files that have such
}

// Describe tells what the files hold; those passed over have no bytes.
func (c *Corpus) Describe() (list []FileInfo) {
	for i, name := range c.files {
		f := FileInfo{Name: Shown(name)}
		if sh := c.shards[i]; sh != nil {
			f.Bytes, f.Groups = c.opened[i].Size(), sh.groups()
			if p, ok := sh.(*parquetShard); ok {
				f.Fields = p.fields()
			}
		}
		list = append(list, f)
	}
	return list
}

// fields lists the columns with their types.
func (p *parquetShard) fields() (list []string) {
	for _, path := range p.pq.Schema().Columns() {
		if leaf, ok := p.pq.Schema().Lookup(path...); ok {
			list = append(list, strings.Join(path, ".")+": "+p.typeOf(leaf.ColumnIndex).name)
		}
	}
	return list
}

// Sample is a document to look at: its text, or of data that are tokens, the first of them.
type Sample struct {
	ID     string
	Text   string
	Tokens []int32
}

// Head visits documents of both splits in file order, those that no filter drops and on_error does not pass over,
// until visit returns false. One that ends a run is an error here too. Of data that are tokens
// the tokenizer tells which of them ends a document.
func (c *Corpus) Head(tok *tokenizer.Tokenizer, visit func(Sample) bool) error {
	if err := c.use(tok); err != nil {
		return err
	}
	shown := false
	for _, p := range c.pieces() {
		docs, err := c.read(p)
		if err != nil {
			return err
		}
		for i := range docs {
			d := &docs[i]
			switch {
			case d.drop:
				c.dropped++
				continue
			case d.flaw != sound && c.source.SkipErrors:
				c.Skipped++
				continue
			case d.flaw != sound:
				return c.flawed(p, i, flaws[d.flaw])
			}
			if c.tokens != nil {
				if d.ids, _, err = c.tokens.chunk(d.at); err != nil {
					return err
				}
				file, token := c.tokens.place(d.at)
				d.id = fmt.Sprintf("%s, token %d", base(c.files[file]), token)
			}
			if shown = true; !visit(Sample{d.id, d.text, d.ids}) {
				return nil
			}
		}
	}
	if !shown {
		return c.none(All)
	}
	return nil
}
