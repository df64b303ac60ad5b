package fineweb

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// columnReader walks through the values of a column chunk, one page in memory at a time.
type columnReader struct {
	chunk   parquet.ColumnChunk
	headers *pageHeaders        // read ahead of the decoder; nil where the page index led to a row
	index   parquet.OffsetIndex // then this
	pages   parquet.Pages
	page    parquet.Page
	values  parquet.ValueReader
	number  int              // of the page, from 1 where the reading began
	at      int64            // row of the next value
	last    int64            // row after the page's last, where it is known
	skip    int64            // values before the first that is wanted
	texts   map[*byte]string // of the dictionary, as far as they were used; nil where the page has none
	gap     int64            // values that are lost from here on
	why     error            // they are lost
}

// start goes to a row: by the index of the pages, else past the pages before.
func (c *columnReader) start(row int64, index parquet.OffsetIndex) error {
	c.pages = c.chunk.Pages()
	if row == 0 || index == nil {
		c.skip = row
		return nil
	}
	c.headers, c.index, c.at = nil, index, row
	return c.pages.SeekToRow(row)
}

// read visits n values, in order. Where an error is passed over, lost is told of the values that are not there for it:
// those of a page, or where the next one cannot be found, all that are left. A damaged page header may promise any
// number.
func (c *columnReader) read(
	n int, passes func(error) bool, use func(at int, v parquet.Value), lost func(at, n int, err error),
) error {
	var values [256]parquet.Value
	for at := 0; at < n; {
		if c.gap > 0 {
			before := min(c.gap, c.skip)
			gone := min(c.gap-before, int64(n-at))
			c.skip, c.gap = c.skip-before, c.gap-before-gone
			lost(at, int(gone), c.why)
			at += int(gone)
			continue
		}
		k, err := 0, error(nil)
		if c.values == nil {
			if err = c.turn(); err == io.EOF {
				return fmt.Errorf("the column ends %d values before its row group", n-at)
			}
		}
		if err == nil {
			k, err = c.next(values[:min(len(values), n-at)])
		}
		for _, v := range values[:k] {
			if c.at++; c.skip > 0 {
				c.skip--
				continue
			}
			use(at, v)
			at++
		}
		switch {
		case err == io.EOF || k == 0 && err == nil:
			c.values = nil
		case err != nil && (lost == nil || !passes(err)):
			return err
		case err != nil:
			c.pass(err)
		}
	}
	return nil
}

// pass goes on after a page that cannot be read.
func (c *columnReader) pass(err error) {
	c.release()
	c.gap, c.why = maxRows, err
	if c.last <= c.at {
		return
	}
	if c.index == nil || c.pages.SeekToRow(c.last) == nil {
		c.gap = c.last - c.at
	}
	c.at = c.last
}

// text copies a value of the page. One of the dictionary is copied once, however often it stands there: a few kilobytes
// may say that a long text is repeated a million times.
func (c *columnReader) text(b []byte) string {
	if c.texts == nil || len(b) == 0 {
		return string(b)
	}
	s, ok := c.texts[&b[0]]
	if !ok || len(s) != len(b) {
		s = string(b)
		c.texts[&b[0]] = s
	}
	return s
}

// next reads values of the page. A decoder that fails on what is damaged may panic.
func (c *columnReader) next(values []parquet.Value) (n int, err error) {
	defer guard(&err)
	return c.values.ReadValues(values)
}

// turn goes on to the next page.
func (c *columnReader) turn() error {
	c.release()
	c.number++
	switch {
	case c.headers != nil:
		rows, err := c.headers.next()
		if err != nil {
			c.last = c.at
			return err
		}
		c.last = c.at + rows
	case c.index != nil:
		c.last = c.at // of a page that the index does not know
		for i := range c.index.NumPages() {
			if c.index.FirstRowIndex(i) > c.at {
				c.last = c.index.FirstRowIndex(i)
				break
			}
		}
	}
	for {
		page, err := c.readPage()
		if err != nil {
			if c.number == 1 && c.headers != nil && c.headers.dictionary != nil && !c.dictionary() {
				c.last = c.at // the decoder would take the next page for this one
			}
			return err
		}
		if n := page.NumValues(); n > 0 && c.headers != nil && n != c.last-c.at {
			parquet.Release(page)
			return fmt.Errorf("the page holds %d values, its header says %d", n, c.last-c.at)
		} else if n > 0 {
			c.page, c.values = page, page.Values()
			if page.Dictionary() == nil {
				c.texts = nil
			} else if c.texts == nil {
				c.texts = map[*byte]string{}
			}
			return nil
		}
		parquet.Release(page)
	}
}

// readPage reads a page. A decoder that fails on what is damaged may panic.
func (c *columnReader) readPage() (page parquet.Page, err error) {
	defer guard(&err)
	return c.pages.ReadPage()
}

// dictionary reports whether the column's dictionary can be read, where its first page cannot.
func (c *columnReader) dictionary() bool {
	p, ok := c.pages.(interface {
		ReadDictionary() (parquet.Dictionary, error)
	})
	if !ok || !c.headers.sound() {
		return false
	}
	_, err := func() (d parquet.Dictionary, err error) {
		defer guard(&err)
		return p.ReadDictionary()
	}()
	return err == nil
}

// end checks that the column holds no more values.
func (c *columnReader) end() error {
	if c.gap > 0 {
		return nil
	}
	var one [1]parquet.Value
	for {
		if c.values != nil {
			n, err := c.next(one[:])
			if n > 0 {
				return errors.New("the column holds more values than its row group has rows")
			}
			if err != nil && err != io.EOF {
				return err
			}
		}
		if err := c.turn(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (c *columnReader) release() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	c.page, c.values = nil, nil
}

func (c *columnReader) close() {
	c.release()
	if c.pages != nil {
		c.pages.Close()
	}
}
