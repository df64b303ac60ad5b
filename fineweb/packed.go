package fineweb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow is the most memory a zstd frame may ask for: what the zstd program grants without being told otherwise.
const maxZstdWindow = 128 << 20

// packing is a way to compress files: what they begin with, and how they are read.
type packing struct {
	name, magic string
	open        func(r io.Reader) (io.ReadCloser, error)
	strict      bool // without a whole stream there is no copy; else one that is damaged ends where the damage begins
}

const gzipMagic = "\x1f\x8b"

var packings = []packing{
	{name: "gzip", magic: gzipMagic, open: openGzip},
	{name: "zstd", magic: "\x28\xb5\x2f\xfd", open: openZstd},
	// A frame that is skipped comes first, as in seekable files: its magic's first byte is any of 16.
	{name: "zstd", magic: "\x5d\x2a\x4d\x18", open: openZstd},
}

// gzipMembers reads one gzip member after another. Zeros between them and after the last are passed over, as gzip and
// Python do: tapes and archives fill up with them.
type gzipMembers struct {
	*gzip.Reader
	from *bufio.Reader
	read *countingReader
}

// countingReader counts the bytes that were read.
type countingReader struct {
	io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func openGzip(r io.Reader) (io.ReadCloser, error) {
	read := &countingReader{Reader: r}
	from := bufio.NewReader(read)
	z, err := gzip.NewReader(from)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gzipMembers{z, from, read}, nil
}

func (g *gzipMembers) Read(p []byte) (int, error) {
	for {
		n, err := g.Reader.Read(p)
		if err != io.EOF || n > 0 {
			if err == io.EOF { // it comes again
				err = nil
			}
			return n, err
		}
		b := byte(0)
		for b == 0 {
			if b, err = g.from.ReadByte(); err != nil {
				return 0, err // io.EOF after the last
			}
		}
		g.from.UnreadByte()
		if magic, err := g.from.Peek(2); err == nil && string(magic) != gzipMagic {
			return 0, fmt.Errorf("at byte %d, after what gzip compressed, other bytes follow",
				g.read.n-int64(g.from.Buffered()))
		}
		if err := g.Reset(g.from); err != nil {
			return 0, err
		}
		g.Multistream(false)
	}
}

func openZstd(r io.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// packedExts are the suffixes of compressed files.
var packedExts = []string{".gz", ".zst", ".zstd"}

// plainName is a file's name without the suffix that says how it is compressed: compressing a file changes no id of its
// documents.
func plainName(name string) string {
	for _, ext := range packedExts {
		if strings.HasSuffix(strings.ToLower(name), ext) {
			return name[:len(name)-len(ext)]
		}
	}
	return name
}

// packingOf finds how a file is compressed, by its first bytes: no text begins with them. It is nil for one that is
// not.
func packingOf(f file) (*packing, error) {
	head := make([]byte, min(4, f.Size()))
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(len(head))), head); err != nil {
		return nil, err
	}
	for i := range packings {
		p := &packings[i]
		magic := []byte(p.magic)
		if p.name == "zstd" && len(head) == 4 && head[0]&0xf0 == 0x50 && magic[0] == 0x5d {
			magic[0] = head[0]
		}
		if bytes.HasPrefix(head, magic) {
			return p, nil
		}
	}
	return nil, nil
}
