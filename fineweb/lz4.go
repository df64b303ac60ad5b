package fineweb

import (
	"fmt"
	_ "unsafe" // for linkname

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/compress/lz4"
	"github.com/parquet-go/parquet-go/format"
	pierrec "github.com/pierrec/lz4/v4"
)

// parquet-go 0.32 reads LZ4_RAW wrongly: its codec may return other memory than it was given, of the right length, and
// its reader then takes the memory it gave, which holds something else. Text so read is wrong without an error.
// There is no way to register a codec, so its table is changed here; TestLZ4 fails where that has no effect.
//
//go:linkname parquetCodecs github.com/parquet-go/parquet-go.compressionCodecs
var parquetCodecs [format.Lz4Raw + 1]compress.Codec

func init() {
	if parquetCodecs[format.Lz4Raw] == parquet.LookupCompressionCodec(format.Lz4Raw) {
		parquetCodecs[format.Lz4Raw] = &lz4Codec{}
	}
}

// lz4Codec decodes into the page it is given, which is as long as the page's header says.
type lz4Codec struct{ lz4.Codec }

func (c *lz4Codec) Decode(page, src []byte) ([]byte, error) {
	n, err := pierrec.UncompressBlock(src, page)
	if err != nil {
		return nil, fmt.Errorf("a page of %d bytes is no LZ4 block of %d: %w", len(src), len(page), err)
	}
	return page[:n], nil
}
