package fineweb

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"

	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// A compressed file can be read from its beginning only, and a stream of documents starts anywhere. So it is
// decompressed once, and a copy is kept that is compressed block by block: about as large as the file, whatever that
// expands to. It lies in the folder of caches, under a hash of the file's identity, and is made again where it is
// damaged or gone.

// unpackedBlock is how much text a block of the copy holds.
const unpackedBlock = 1 << 20

// A compressed file may expand to so many times its size, and to minExpanded in any case. Text hardly goes beyond 30;
// gzip cannot go beyond 1,032.
const (
	maxExpansion = 1000
	minExpanded  = 64 << 20
)

// unpackedFile is the decompressed text of a file.
type unpackedFile struct {
	packed file // as it lies there
	copy   *os.File
	path   string // where it is kept
	unpackedIndex
	starts []int64 // of the blocks, in the copy

	mu      sync.Mutex
	decoder *zstd.Decoder
	number  int // of the block that is decoded
	block   []byte
}

// unpackedIndex stands after the blocks of a copy.
type unpackedIndex struct {
	Key    string  `json:"key"`
	Bytes  int64   `json:"bytes"`            // of the text
	Blocks []int64 `json:"blocks"`           // bytes of each
	Damage string  `json:"damage,omitempty"` // why the text ends where it does, if not because the file does
}

const unpackedMagic = "STEPUNP1"

// unpacked decompresses a file, if it is compressed: once, as long as the copy is kept.
func (s *reading) unpacked(f file, name string) (file, error) {
	how, err := packingOf(f)
	if err != nil || how == nil {
		return f, err
	}
	return s.copied(f, name, "", func(key, path string, keep bool) (*os.File, error) {
		c, err := s.unpack(f, how, key, path, keep)
		if err != nil {
			return nil, fmt.Errorf("decompressing it: %w", err)
		}
		return c, nil
	})
}

// copied is the text that is made of a file: the copy that is kept, or else one that unpack writes. what tells the copies
// of one file apart.
func (s *reading) copied(
	f file, name, what string, unpack func(key, path string, keep bool) (*os.File, error),
) (file, error) {
	e := web.Entry{Address: name}
	id, err := s.contentID(e, f)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(unpackedMagic + what + s.identify(e, id)))
	key := hex.EncodeToString(sum[:16])
	dir := foreign.CacheDir()
	path := filepath.Join(dir, "unpacked", key)
	if dir != "" {
		if u, err := openUnpacked(path, key); err == nil {
			u.packed = f
			return u, nil
		}
	}
	c, err := unpack(key, path, dir != "")
	if err != nil {
		return nil, err
	}
	u, err := readUnpacked(c, path, key)
	if err != nil {
		c.Close()
		return nil, err
	}
	u.packed = f
	return u, nil
}

// unpack writes the copy; where it is not kept it goes when the process ends.
func (s *reading) unpack(f file, how *packing, key, path string, keep bool) (to *os.File, err error) {
	dir := filepath.Dir(path)
	if !keep {
		dir = ""
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if to, err = os.CreateTemp(dir, "new-*"); err != nil {
		return nil, err
	}
	defer func(f *os.File) {
		if err != nil || !keep {
			os.Remove(f.Name())
		}
		if err != nil {
			f.Close()
		}
	}(to)
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	defer encoder.Close()
	index := unpackedIndex{Key: key}
	limit := max(minExpanded, maxExpansion*f.Size())
	r, broken := how.open(io.NewSectionReader(f, 0, f.Size()))
	if broken == nil {
		defer r.Close()
	}
	block := make([]byte, unpackedBlock)
	for broken == nil {
		var n int
		n, broken = io.ReadFull(r, block)
		if err := s.ended(); err != nil {
			return nil, err
		}
		if n > 0 {
			b := encoder.EncodeAll(block[:n], nil)
			if _, err := to.Write(b); err != nil {
				return nil, err
			}
			index.Blocks, index.Bytes = append(index.Blocks, int64(len(b))), index.Bytes+int64(n)
		}
		if index.Bytes > limit {
			return nil, fmt.Errorf("it expands to more than %d times its size: that is not text", maxExpansion)
		}
	}
	if errors.Is(broken, ErrUnreachable) {
		return nil, broken
	}
	if broken != io.EOF && !(errors.Is(broken, io.ErrUnexpectedEOF) && r != nil && whole(r)) {
		if how.strict {
			return nil, broken
		}
		index.Damage = fmt.Sprintf("the %s stream is damaged or cut off: %v", how.name, broken)
	}
	b, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(b)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := to.Write(append(b, unpackedMagic...)); err != nil {
		return nil, err
	}
	if keep {
		return to, os.Rename(to.Name(), path)
	}
	return to, nil
}

// whole reports whether a stream has ended where ReadFull found fewer bytes than it asked for: it says the same of one
// that is cut off.
func whole(r io.Reader) bool {
	n, err := r.Read(make([]byte, 1))
	return n == 0 && err == io.EOF
}

func openUnpacked(path, key string) (*unpackedFile, error) {
	f, err := foreign.Open(path)
	if err != nil {
		return nil, err
	}
	u, err := readUnpacked(f, path, key)
	if err != nil {
		f.Close()
	}
	return u, err
}

var errUnpacked = errors.New("the copy of the decompressed file is damaged")

// readUnpacked reads the index of a copy.
func readUnpacked(f *os.File, path, key string) (*unpackedFile, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const end = 8 + int64(len(unpackedMagic))
	tail := make([]byte, end)
	if st.Size() < end {
		return nil, errUnpacked
	}
	if _, err := f.ReadAt(tail, st.Size()-end); err != nil || string(tail[8:]) != unpackedMagic {
		return nil, errUnpacked
	}
	n := int64(binary.LittleEndian.Uint32(tail))
	if n > st.Size()-end {
		return nil, errUnpacked
	}
	b := make([]byte, n+4)
	if _, err := f.ReadAt(b, st.Size()-end-n); err != nil ||
		crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(tail[4:]) {
		return nil, errUnpacked
	}
	u := &unpackedFile{copy: f, path: path, number: -1}
	if err := json.Unmarshal(b[:n], &u.unpackedIndex); err != nil || u.Key != key {
		return nil, errUnpacked
	}
	at := int64(0)
	for _, k := range u.Blocks {
		if k < 0 || k > st.Size() {
			return nil, errUnpacked
		}
		u.starts = append(u.starts, at)
		at += k
	}
	if at != st.Size()-end-n || u.Bytes < 0 || u.Bytes > int64(len(u.Blocks))*unpackedBlock {
		return nil, errUnpacked
	}
	u.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*unpackedBlock))
	return u, err
}

func (u *unpackedFile) Size() int64 { return u.Bytes }

// Check asks the file that was decompressed.
func (u *unpackedFile) Check() error { return u.packed.Check() }

func (u *unpackedFile) Close() error {
	u.closeCopy()
	return u.packed.Close()
}

func (u *unpackedFile) closeCopy() {
	u.decoder.Close()
	u.copy.Close()
}

// closeUnpacked closes the copy of a file, but not the file itself: whoever opened it closes that.
func closeUnpacked(f file) {
	if u, ok := f.(*unpackedFile); ok {
		u.closeCopy()
	}
}

// ReadAt decodes the blocks that hold the bytes, and keeps the last of them.
func (u *unpackedFile) ReadAt(p []byte, at int64) (n int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for n < len(p) {
		if at >= u.Bytes {
			return n, io.EOF
		}
		if k := int(at / unpackedBlock); k != u.number {
			packed := make([]byte, u.Blocks[k])
			if _, err := u.copy.ReadAt(packed, u.starts[k]); err != nil {
				return n, err
			}
			want := min(unpackedBlock, u.Bytes-int64(k)*unpackedBlock)
			u.number = -1
			if u.block, err = u.decoder.DecodeAll(packed, u.block[:0]); err != nil || int64(len(u.block)) != want {
				os.Remove(u.path) // the next to open it makes it again
				return n, errors.Join(errUnpacked, err)
			}
			u.number = k
		}
		k := copy(p[n:], u.block[at%unpackedBlock:])
		n, at = n+k, at+int64(k)
	}
	return n, nil
}

// damageOf is the error of a file that could not be decompressed to its end. Where errors are passed over, what was
// read of it serves.
func damageOf(f file, s *reading, place string) error {
	if u, ok := f.(*unpackedFile); ok && u.Damage != "" && !s.SkipErrors {
		return fmt.Errorf("%s: %s", place, u.Damage)
	}
	return nil
}

// damageWarning tells of a file whose end could not be decompressed; "" of any other.
func damageWarning(f file) string {
	if u, ok := f.(*unpackedFile); ok && u.Damage != "" {
		return u.Damage + ": what comes before is used"
	}
	return ""
}

// brokenOff reports whether a file's text ends before the file does.
func brokenOff(f file) bool {
	u, ok := f.(*unpackedFile)
	return ok && u.Damage != ""
}
