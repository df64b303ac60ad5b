package fineweb

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	_ "unsafe" // for linkname

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// maxPage bounds a page of a parquet file, in bytes before compression. Writers make pages of about a MiB.
var maxPage = 1 << 30

// parquet-go 0.32 decompresses without a bound: a page of a few kilobytes fills the memory. And it reads LZ4_RAW
// wrongly: its codec may return other memory than it was given, of the right length, and its reader then takes the
// memory it gave, which holds something else. There is no way to register a codec, so its table is changed here;
// TestLZ4 and TestPageBombs fail where that has no effect.
//
//go:linkname parquetCodecs github.com/parquet-go/parquet-go.compressionCodecs
var parquetCodecs [format.Lz4Raw + 1]compress.Codec

func init() {
	for codec, decode := range map[format.CompressionCodec]func(page, src []byte) ([]byte, error){
		format.Zstd: unZstd, format.Snappy: unSnappy, format.Gzip: unGzip, format.Brotli: unBrotli,
		format.Lz4Raw: unLZ4,
	} {
		if parquetCodecs[codec] == parquet.LookupCompressionCodec(codec) {
			parquetCodecs[codec] = &boundedCodec{parquetCodecs[codec], decode}
		}
	}
}

// boundedCodec decodes into the page it is given, which is as long as the page's header says, and no further than
// maxPage.
type boundedCodec struct {
	compress.Codec
	decode func(page, src []byte) ([]byte, error)
}

func (c *boundedCodec) Decode(page, src []byte) ([]byte, error) {
	if len(page) > maxPage {
		return nil, fmt.Errorf("its header claims a page of %d bytes; the most is %d", len(page), maxPage)
	}
	return c.decode(page, src)
}

var errLongPage = errors.New("the page holds more bytes than its header says")

var zstdDecoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(maxPage)))
	if err != nil {
		return err
	}
	return d
}}

func unZstd(page, src []byte) ([]byte, error) {
	x := zstdDecoders.Get()
	d, ok := x.(*zstd.Decoder)
	if !ok {
		return nil, x.(error)
	}
	defer zstdDecoders.Put(d)
	return d.DecodeAll(src, page[:0])
}

func unSnappy(page, src []byte) ([]byte, error) {
	if n, k := binary.Uvarint(src); k <= 0 || n > uint64(len(page)) { // of version 2, the page is longer by its levels
		return nil, fmt.Errorf("the snappy block claims %d bytes, the page's header %d", n, len(page))
	}
	return parquet.Snappy.Decode(page, src)
}

func unGzip(page, src []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(src))
	if err != nil {
		return nil, err
	}
	return readPage(page, z)
}

func unBrotli(page, src []byte) ([]byte, error) {
	return readPage(page, brotli.NewReader(bytes.NewReader(src)))
}

func unLZ4(page, src []byte) ([]byte, error) {
	n, err := lz4.UncompressBlock(src, page)
	if err != nil {
		return nil, fmt.Errorf("a page of %d bytes is no LZ4 block of %d: %w", len(src), len(page), err)
	}
	return page[:n], nil
}

// readPage reads what fits the page, and sees that no more is there.
func readPage(page []byte, r io.Reader) ([]byte, error) {
	n, err := io.ReadFull(r, page)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return page[:n], nil
	}
	if err != nil {
		return nil, err
	}
	if k, err := r.Read(make([]byte, 1)); k > 0 || err != io.EOF && err != nil {
		return nil, errors.Join(errLongPage, err)
	}
	return page, nil
}
