package fineweb

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Bounds of a page: its header in bytes, statistics included, and its values. A run of one value takes a few bytes in the file,
// whatever its length, and room for each value where it is decoded.
const (
	maxPageHeader = 16 << 20
	maxPageValues = 1 << 26
)

// pageHeaders reads the headers of a column chunk's pages ahead of the decoder, which makes room for what they claim.
type pageHeaders struct {
	file    io.ReaderAt
	at, end int64 // of the next header, and of the chunk
}

func headersOf(f file, m *format.ColumnMetaData) *pageHeaders {
	at := m.DataPageOffset
	if m.DictionaryPageOffset != 0 {
		at = m.DictionaryPageOffset
	}
	return &pageHeaders{f, at, min(at+max(m.TotalCompressedSize, 0), f.Size())}
}

// next checks the headers up to and including that of the next page with values; at the end there is none.
func (p *pageHeaders) next() error {
	for p.at >= 0 && p.at < p.end {
		h, err := p.header()
		if err != nil {
			return err
		}
		values := int32(0)
		switch {
		case h.DataPageHeader.Valid:
			values = h.DataPageHeader.V.NumValues
		case h.DataPageHeaderV2.Valid:
			values = h.DataPageHeaderV2.V.NumValues
		case h.DictionaryPageHeader.Valid:
			values = h.DictionaryPageHeader.V.NumValues
		}
		switch {
		case h.CompressedPageSize < 0 || int64(h.CompressedPageSize) > p.end-p.at:
			return fmt.Errorf("its header claims %d bytes of the %d that the column has left", h.CompressedPageSize, p.end-p.at)
		case h.UncompressedPageSize < 0 || int(h.UncompressedPageSize) > maxPage:
			return fmt.Errorf("its header claims a page of %d bytes; the most is %d", h.UncompressedPageSize, maxPage)
		case values < 0 || values > maxPageValues:
			return fmt.Errorf("its header claims %d values; the most is %d", values, maxPageValues)
		}
		p.at += int64(h.CompressedPageSize)
		if values > 0 && h.Type != format.DictionaryPage {
			return nil
		}
	}
	return nil
}

// all checks the headers of all pages.
func (p *pageHeaders) all() error {
	for p.at >= 0 && p.at < p.end {
		if err := p.next(); err != nil {
			return err
		}
	}
	return nil
}

// header reads the header at the position, and moves behind it.
func (p *pageHeaders) header() (h format.PageHeader, err error) {
	for n := int64(512); ; n *= 8 {
		n = min(n, p.end-p.at)
		b := make([]byte, n)
		k, err := p.file.ReadAt(b, p.at)
		if int64(k) < n {
			return h, fmt.Errorf("reading its header: %w", err)
		}
		w := &thriftWalk{rest: b, structs: maxStructs}
		if err := w.walk(thriftStruct, maxNesting); err == errThrift && n < p.end-p.at && n < maxPageHeader {
			continue // it may be longer
		} else if err != nil {
			return h, fmt.Errorf("damaged page header: %w", err)
		}
		b = b[:len(b)-len(w.rest)]
		p.at += int64(len(b))
		if err := thrift.NewDecoder((&thrift.CompactProtocol{}).NewReaderFromBytes(b)).Decode(&h); err != nil {
			return h, fmt.Errorf("damaged page header: %w", err)
		}
		return h, nil
	}
}
