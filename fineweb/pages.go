package fineweb

import (
	"fmt"
	"hash/crc32"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Bounds of a page: its header in bytes, statistics included, and its values. A run of one value takes a few bytes in
// the file, whatever its length, and room for each value where it is decoded.
const (
	maxPageHeader = 16 << 20
	maxPageValues = 1 << 26
)

// pageHeaders reads the headers of a column chunk's pages ahead of the decoder, which makes room for what they claim.
type pageHeaders struct {
	file    io.ReaderAt
	at, end int64 // of the next header, and of the chunk
	last    int64 // of the last header that was read

	dictionary *format.PageHeader // once its header was read
	dictAt     int64              // where its bytes begin
}

// sound reports whether the bytes of the dictionary have their checksum, if it has one.
func (p *pageHeaders) sound() bool {
	b := make([]byte, p.dictionary.CompressedPageSize)
	if _, err := p.file.ReadAt(b, p.dictAt); err != nil {
		return false
	}
	return p.dictionary.CRC == 0 || uint32(p.dictionary.CRC) == crc32.ChecksumIEEE(b)
}

func headersOf(f file, m *format.ColumnMetaData) *pageHeaders {
	at := m.DataPageOffset
	if m.DictionaryPageOffset != 0 {
		at = m.DictionaryPageOffset
	}
	return &pageHeaders{file: f, at: at, end: min(at+max(m.TotalCompressedSize, 0), f.Size())}
}

// next checks the headers up to and including that of the next page with values, and gives their number; at the end
// there is none.
func (p *pageHeaders) next() (int64, error) {
	for p.at >= 0 && p.at < p.end {
		p.last = p.at
		h, err := p.header()
		if err != nil {
			return 0, err
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
			return 0, fmt.Errorf("its header claims %d bytes of the %d that the column has left",
				h.CompressedPageSize, p.end-p.at)
		case h.UncompressedPageSize < 0 || int(h.UncompressedPageSize) > maxPage:
			return 0, fmt.Errorf("its header claims a page of %d bytes; the most is %d",
				h.UncompressedPageSize, maxPage)
		case values < 0 || values > maxPageValues:
			return 0, fmt.Errorf("its header claims %d values; the most is %d", values, maxPageValues)
		}
		if h.Type == format.DictionaryPage {
			p.dictionary, p.dictAt = &h, p.at
		}
		p.at += int64(h.CompressedPageSize)
		if values > 0 && h.Type != format.DictionaryPage {
			return int64(values), nil
		}
	}
	return 0, nil
}

// locations are where all pages with values lie, and how many values they have, by their headers.
func (p *pageHeaders) locations() (list []format.PageLocation, values int64, err error) {
	for p.at >= 0 && p.at < p.end {
		n, err := p.next()
		if err != nil {
			return nil, 0, err
		}
		if n > 0 {
			list = append(list, format.PageLocation{Offset: p.last, CompressedPageSize: int32(p.at - p.last),
				FirstRowIndex: values})
			values += n
		}
	}
	return list, values, nil
}

// header reads the header at the position, and moves past it.
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
