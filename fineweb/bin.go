package fineweb

import (
	"encoding/binary"
	"fmt"
)

// Files of tokens as nanoGPT and llm.c write them: uint16 without a header; or a header of 256 int32, of which the
// first is a magic number, the second a version and the third the number of tokens, then uint16 (GPT-2) or uint32
// (LLaMA 3).
const (
	binHeader   = 256 * 4
	magicGPT2   = 20240520
	magicLLaMA3 = 20240801
	binRow      = 4096 // tokens a row
)

type binShard struct {
	file   file
	name   string
	start  int64
	size   int64 // bytes a token
	tokens int64
}

func openBin(_ *Source, f file, name string) (shard, error) {
	s := &binShard{file: f, name: name, size: 2}
	head := make([]byte, 12)
	if f.Size() >= binHeader {
		if _, err := f.ReadAt(head, 0); err != nil {
			return nil, err
		}
		switch magic, version := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:]); {
		case magic == magicGPT2 && version == 1:
			s.start = binHeader
		case magic == magicLLaMA3 && version == 7:
			s.start, s.size = binHeader, 4
		case magic == magicGPT2 || magic == magicLLaMA3:
			return nil, fmt.Errorf("the header is llm.c's, of version %d, which is not known", version)
		}
	}
	bytes := f.Size() - s.start
	if bytes%s.size != 0 {
		return nil, fmt.Errorf("%d bytes are not a whole number of tokens of %d bytes", bytes, s.size)
	}
	s.tokens = bytes / s.size
	if promised := int64(int32(binary.LittleEndian.Uint32(head[8:]))); s.start > 0 && promised != s.tokens {
		return nil, fmt.Errorf("the header promises %d tokens, the file holds %d", promised, s.tokens)
	}
	return s, nil
}

func (s *binShard) groups() []int64 { return []int64{(s.tokens + binRow - 1) / binRow} }
func (s *binShard) Close() error    { return s.file.Close() }

// read gives rows of binRow tokens; what documents they belong to is told by the tokens that end one.
func (s *binShard) read(_ int, from, n int64) ([]document, error) {
	first := from * binRow
	b := make([]byte, s.size*(min((from+n)*binRow, s.tokens)-first))
	if _, err := s.file.ReadAt(b, s.start+s.size*first); err != nil {
		return nil, err
	}
	docs := make([]document, n)
	for i := range docs {
		d := &docs[i]
		d.id = fmt.Sprintf("%s#%d", base(s.name), from+int64(i))
		row := b[:min(int64(len(b)), binRow*s.size)]
		b = b[len(row):]
		for ; len(row) > 0; row = row[s.size:] {
			if s.size == 2 {
				d.ids = append(d.ids, int32(binary.LittleEndian.Uint16(row)))
			} else {
				d.ids = append(d.ids, int32(binary.LittleEndian.Uint32(row)))
			}
		}
	}
	return docs, nil
}
