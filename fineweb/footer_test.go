package fineweb

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// TestFootersThatLie opens files whose footers claim what is not there, or more than memory holds.
func TestFootersThatLie(t *testing.T) {
	file := func(footer string) string {
		return "PAR1" + footer + string(binary.LittleEndian.AppendUint32(nil, uint32(len(footer)))) + "PAR1"
	}
	varint := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	chain := strings.Repeat("\x48\x01a\x15\x02\x00", 5000) + "\x15\x02\x48\x01a\x00" // each has the next below it
	for name, c := range map[string]struct{ file, says string }{
		"empty":           {"", "0 bytes are not a parquet file"},
		"short":           {"PAR1PAR1", "8 bytes are not a parquet file"},
		"not parquet":     {"PAR1 and something else", "does not end as a parquet file"},
		"beyond the file": {"PAR1\xff\xff\xff\x7fPAR1", "the footer claims 2147483647 bytes of 12"},
		"encrypted":       {strings.ReplaceAll(file("\x00"), "PAR1", "PARE"), "does not end as a parquet file"},
		"nothing":         {file(""), "damaged footer"},
		"columns":         {file("\x29\xfc" + varint(1<<31-1) + "\x00\x00"), "a length leads beyond its end"},
		"row groups":      {file("\x49\xfc" + varint(1<<31-1) + "\x00\x00"), "a length leads beyond its end"},
		"sets":            {file("\x4a\xfc" + varint(1<<40) + "\x00\x00"), "a length leads beyond its end"},
		"maps":            {file("\x4b" + varint(1<<31-1) + "\xcc\x00\x00"), "a length leads beyond its end"},
		"text":            {file("\x48" + varint(1<<31-1) + "a\x00"), "a length leads beyond its end"},
		"number":          {file("\x16" + strings.Repeat("\xff", 20)), "a length leads beyond its end"},
		"empty row groups": {file("\x49\xfc" + varint(3<<20) + strings.Repeat("\x00", 3<<20) + "\x00"),
			"lists more than 1048576 things"},
		"structs":        {file(strings.Repeat("\x1c", 1<<20)), "nests more than 32 deep"},
		"lists":          {file("\x19" + strings.Repeat("\x19", 1<<20)), "nests more than 32 deep"},
		"kind":           {file("\x1f\x00"), "there is no type 15"},
		"nested columns": {file("\x29\xfc" + varint(5001) + chain + "\x00"), "nest more than 64 deep"},
		"children": {file("\x29\x1c\x48\x01a\x15" + varint(2<<30) + "\x00\x00"),
			"a column claims 1073741824 columns below it"},
	} {
		path := filepath.Join(t.TempDir(), "x.parquet")
		if err := os.WriteFile(path, []byte(c.file), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(context.Background(), Source{Format: "parquet",
			Patterns: []string{path}}); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(),
			path) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestPageBombs decodes pages of zeros that are longer than a page may be, or than the header says.
func TestPageBombs(t *testing.T) {
	old := maxPage
	maxPage, zstdDecoders = 1<<20, sync.Pool{New: zstdDecoders.New}
	t.Cleanup(func() { maxPage, zstdDecoders = old, sync.Pool{New: zstdDecoders.New} })
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	stream := func(w interface {
		Write([]byte) (int, error)
		Close() error
	}, out *bytes.Buffer, b []byte) []byte {
		w.Write(b)
		w.Close()
		return out.Bytes()
	}
	var buf bytes.Buffer
	for codec, encode := range map[format.CompressionCodec]func(b []byte) []byte{
		format.Zstd:   func(b []byte) []byte { return z.EncodeAll(b, nil) },
		format.Snappy: func(b []byte) []byte { return snappy.Encode(nil, b) },
		format.Gzip:   func(b []byte) []byte { buf = bytes.Buffer{}; return stream(gzip.NewWriter(&buf), &buf, b) },
		format.Brotli: func(b []byte) []byte { buf = bytes.Buffer{}; return stream(brotli.NewWriter(&buf), &buf, b) },
		format.Lz4Raw: func(b []byte) []byte {
			out := make([]byte, lz4.CompressBlockBound(len(b)))
			n, err := lz4.CompressBlock(b, out, nil)
			if err != nil {
				t.Fatal(err)
			}
			return out[:n]
		},
	} {
		c := parquet.LookupCompressionCodec(codec)
		page := bytes.Repeat([]byte("some text. "), 1000)
		if got, err := c.Decode(make([]byte, len(page)), encode(page)); err != nil || !bytes.Equal(got, page) {
			t.Errorf("%s: a sound page: %d bytes, %v", codec, len(got), err)
		}
		bomb := encode(make([]byte, 64<<20))
		for _, n := range []int{1000, maxPage, maxPage + 1, 64 << 20} {
			if got, err := c.Decode(make([]byte, n), bomb); err == nil {
				t.Errorf("%s: %d bytes of 64 MiB in a page of %d", codec, len(got), n)
			}
		}
	}
}

// TestPageHeadersThatLie changes what a page's header claims: an error, before room for it is made.
func TestPageHeadersThatLie(t *testing.T) {
	value := func(n int64) string { return string(binary.AppendVarint(nil, n)) }
	data := func(size, compressed, values int64) string { // a data page, version 1: plain, no nulls
		return "\x15\x00\x15" + value(size) + "\x15" + value(compressed) + "\x2c\x15" + value(values) + "\x15\x00\x15\x06\x15\x06\x00\x00"
	}
	for name, c := range map[string]struct{ header, says string }{
		"sound":            {data(10, 10, 1), ""},
		"compressed":       {data(10, 1<<31-1, 1), "claims 2147483647 bytes of the"},
		"negative":         {data(10, -1, 1), "claims -1 bytes of the"},
		"uncompressed":     {data(1<<31-1, 10, 1), "claims a page of 2147483647 bytes"},
		"values":           {data(10, 10, 1<<31-1), "claims 2147483647 values"},
		"negative values":  {data(10, 10, -1), "claims -1 values"},
		"after empty ones": {data(0, 0, 0) + data(0, 0, 0) + data(10, 10, 1<<31-1), "claims 2147483647 values"},
		"statistics": {"\x15\x00\x15\x14\x15\x14\x2c\x15\x02\x15\x00\x15\x06\x15\x06\x1c\x18\xff\xff\xff\xff\x07",
			"damaged page header"},
		"nothing": {"\xff\xff\xff", "damaged page header"},
	} {
		b := []byte(c.header + "0123456789")
		h := &pageHeaders{file: bytes.NewReader(b), at: 0, end: int64(len(b))}
		_, err := h.next()
		if c.says == "" && (err != nil || h.at != int64(len(b))) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v at %d of %d, want %q", name, err, h.at, len(b), c.says)
		}
	}
	long := "\x15\x00\x15\x14\x15\x14\x2c\x15\x02\x15\x00\x15\x06\x15\x06\x1c\x18" + string(binary.AppendUvarint(nil,
		100_000)) + strings.Repeat("a", 100_000) + "\x00\x00\x00"
	b := []byte(long + "0123456789")
	if h := (&pageHeaders{file: bytes.NewReader(b), at: 0, end: int64(len(b))}); failed(h) || h.at != int64(len(b)) {
		t.Errorf("a header of %d bytes: at %d of %d", len(long), h.at, len(b))
	}
}

func failed(h *pageHeaders) bool {
	_, _, err := h.locations()
	return err != nil
}
