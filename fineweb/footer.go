package fineweb

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/encoding/thrift"
)

// Bounds of a parquet footer: its bytes, the structs in its lists, how deep they nest, the columns' nesting, and the
// rows of a row group.
const (
	maxFooter  = 256 << 20
	maxStructs = 1 << 20
	maxNesting = 32
	maxColumns = 64
	maxRows    = 1 << 28
)

// checkFooter reads a parquet footer before the decoder does, which makes room for whatever number of things a list
// claims: that may be more than there is memory, and is then no error but the end of the process.
func checkFooter(f file) error {
	const end = 8 // the footer's length, and "PAR1"
	if f.Size() < end+4 {
		return fmt.Errorf("%d bytes are not a parquet file", f.Size())
	}
	tail := make([]byte, end)
	if n, err := f.ReadAt(tail, f.Size()-end); n < end {
		return err
	}
	if string(tail[4:]) != "PAR1" {
		return errors.New("it does not end as a parquet file does")
	}
	n := int64(binary.LittleEndian.Uint32(tail))
	if n > maxFooter || n > f.Size()-end-4 {
		return fmt.Errorf("the footer claims %d bytes of %d; the most is %d", n, f.Size(), maxFooter)
	}
	b := make([]byte, n)
	if k, err := f.ReadAt(b, f.Size()-end-n); int64(k) < n {
		return err
	}
	w := &thriftWalk{rest: b, structs: maxStructs}
	if err := w.walk(thriftStruct, maxNesting); err != nil {
		return fmt.Errorf("damaged footer: %w", err)
	}
	return checkSchema(b)
}

// checkSchema bounds how deep columns nest: the decoder keeps the whole path of each.
func checkSchema(footer []byte) error {
	var meta struct {
		Schema []struct {
			Children int32 `thrift:"5,optional"`
		} `thrift:"2"`
	}
	if err := thrift.NewDecoder((&thrift.CompactProtocol{}).NewReaderFromBytes(footer)).Decode(&meta); err != nil {
		return fmt.Errorf("damaged footer: %w", err)
	}
	var open []int32 // children to come, of each column that is open
	for _, x := range meta.Schema {
		for len(open) > 0 && open[len(open)-1] == 0 {
			open = open[:len(open)-1]
		}
		if len(open) > 0 {
			open[len(open)-1]--
		}
		if x.Children < 0 || int(x.Children) > len(meta.Schema) {
			return fmt.Errorf("damaged footer: a column claims %d columns below it", x.Children)
		}
		if open = append(open, x.Children); len(open) > maxColumns {
			return fmt.Errorf("its columns nest more than %d deep", maxColumns)
		}
	}
	return nil
}

// Types of Thrift's compact protocol.
const (
	thriftTrue = 1 + iota
	thriftFalse
	thriftByte
	thriftI16
	thriftI32
	thriftI64
	thriftDouble
	thriftBinary
	thriftList
	thriftSet
	thriftMap
	thriftStruct
)

var errThrift = errors.New("it ends early, or a length leads beyond its end")

// thriftWalk goes through values of Thrift's compact protocol without making anything of them.
type thriftWalk struct {
	rest    []byte
	structs int // that may still come in lists
}

func (w *thriftWalk) skip(n uint64) error {
	if n > uint64(len(w.rest)) {
		return errThrift
	}
	w.rest = w.rest[n:]
	return nil
}

func (w *thriftWalk) uvarint() (uint64, error) {
	v, n := binary.Uvarint(w.rest)
	if n <= 0 {
		return 0, errThrift
	}
	w.rest = w.rest[n:]
	return v, nil
}

func (w *thriftWalk) byte() (byte, error) {
	if len(w.rest) == 0 {
		return 0, errThrift
	}
	b := w.rest[0]
	w.rest = w.rest[1:]
	return b, nil
}

// walk goes through one value; depth is how deep others may nest in it.
func (w *thriftWalk) walk(kind byte, depth int) error {
	if depth == 0 {
		return fmt.Errorf("it nests more than %d deep", maxNesting)
	}
	switch kind {
	case thriftTrue, thriftFalse, thriftByte: // in a list a byte; fields of a struct hold the truth in their kind
		return w.skip(1)
	case thriftI16, thriftI32, thriftI64:
		_, err := w.uvarint()
		return err
	case thriftDouble:
		return w.skip(8)
	case thriftBinary:
		n, err := w.uvarint()
		if err != nil {
			return err
		}
		return w.skip(n)
	case thriftList, thriftSet:
		b, err := w.byte()
		if err != nil {
			return err
		}
		n := uint64(b >> 4)
		if n == 15 {
			if n, err = w.uvarint(); err != nil {
				return err
			}
		}
		return w.all(n, depth, b&15)
	case thriftMap:
		n, err := w.uvarint()
		if err != nil || n == 0 {
			return err
		}
		b, err := w.byte()
		if err != nil {
			return err
		}
		return w.all(n, depth, b>>4, b&15)
	case thriftStruct:
		for {
			b, err := w.byte()
			if err != nil || b == 0 {
				return err
			}
			if b>>4 == 0 {
				if _, err := w.uvarint(); err != nil { // the field's number
					return err
				}
			}
			if k := b & 15; k != thriftTrue && k != thriftFalse {
				if err := w.walk(k, depth-1); err != nil {
					return err
				}
			}
		}
	}
	return fmt.Errorf("there is no type %d", kind)
}

// all goes through the elements of a list, or the pairs of a map. Each takes a byte at least.
func (w *thriftWalk) all(n uint64, depth int, kinds ...byte) error {
	if n > uint64(len(w.rest)) {
		return errThrift
	}
	for range n {
		for _, k := range kinds {
			if k == thriftStruct || k == thriftList || k == thriftSet || k == thriftMap {
				if w.structs--; w.structs < 0 {
					return fmt.Errorf("it lists more than %d things", maxStructs)
				}
			}
			if err := w.walk(k, depth-1); err != nil {
				return err
			}
		}
	}
	return nil
}
