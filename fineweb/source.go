// Package fineweb turns text files into batches of tokens: FineWeb-Edu parquet and other parquet,
// JSON lines and plain text. The order of documents is a pure function of seed, epoch and position,
// so the position of a run is a small struct and seeking to it reads one row group.
package fineweb

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Source says what to read and how.
type Source struct {
	Format     string   // "fineweb_edu", "parquet", "jsonl" or "text"
	Patterns   []string // globs; relative ones start at Dir
	Dir        string
	TextColumn string // the document's text
	IDColumn   string // its stable id; a hash of the text where the data have none
	Separator  string // text: what stands between documents; "" makes a file one document

	MinIntScore      *int64
	MinScore         *float64
	MinLanguageScore *float64
	MinTokenCount    *int64
	Languages        []string

	ValidationFraction float64 // share of documents held out, by hash of the id
	Seed               uint64
	Shuffle            bool
	SkipErrors         bool // count and pass over damaged row groups and bad documents
	DocumentMask       bool // attention and targets do not cross documents
}

// Split is the part of the documents to read.
type Split uint8

const (
	Train Split = iota + 1
	Validation
)

// ErrRemote says that a source lies on a network this build does not read.
var ErrRemote = errors.New("remote sources are not read yet: download the files and give their path")

// IsRemote tells whether a pattern is a URL.
func IsRemote(pattern string) bool { return strings.Contains(pattern, "://") }

// document is one row as read.
type document struct {
	id, text string
	drop     bool // filtered out by its columns
}

// shard is an open file: groups of rows that can be read one by one.
type shard interface {
	// groups gives the number of rows of each group.
	groups() []int64
	// read gives the documents of a group, in order.
	read(group int) ([]document, error)
	Close() error
}

// formats opens a file of each format.
var formats = map[string]func(s *Source, path string) (shard, error){
	"fineweb_edu": openParquet,
	"parquet":     openParquet,
	"jsonl":       openJSONL,
	"text":        openText,
}

// Files lists the files the patterns match, sorted, each once.
func (s *Source) Files() ([]string, error) {
	seen := map[string]bool{}
	var files []string
	for _, p := range s.Patterns {
		if IsRemote(p) {
			return nil, fmt.Errorf("%s: %w", p, ErrRemote)
		}
		full := p
		if !filepath.IsAbs(full) {
			full = filepath.Join(s.Dir, full)
		}
		matches, err := filepath.Glob(full)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		if len(matches) == 0 {
			return nil, fmt.Errorf("%s matches no file (looked for %s)", p, full)
		}
		for _, m := range matches {
			if st, err := os.Stat(m); err == nil && st.IsDir() {
				continue
			}
			if !seen[m] {
				seen[m] = true
				files = append(files, m)
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s matches folders only", strings.Join(s.Patterns, ", "))
	}
	sort.Strings(files)
	return files, nil
}

// Identity is a hash of names, sizes and contents' ends of the files: it changes when the data do.
// Whole files are hashed up to 64 MiB; of larger ones the first and last MiB, size and time.
func Identity(files []string) (string, error) {
	h := sha256.New()
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.Base(f), st.Size())
		file, err := os.Open(f)
		if err != nil {
			return "", err
		}
		const whole, edge = 64 << 20, 1 << 20
		if st.Size() <= whole {
			b := make([]byte, 1<<20)
			for {
				n, err := file.Read(b)
				h.Write(b[:n])
				if err != nil {
					break
				}
			}
		} else {
			b := make([]byte, edge)
			for _, at := range []int64{0, st.Size() - edge} {
				n, err := file.ReadAt(b, at)
				if err != nil && n == 0 {
					file.Close()
					return "", err
				}
				h.Write(b[:n])
			}
			fmt.Fprintln(h, st.ModTime().UnixNano())
		}
		file.Close()
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// held tells whether a document belongs to the validation split: by a hash of its id alone, so the
// split is stable when files are added, renamed or reordered.
func (s *Source) held(id string) bool {
	if s.ValidationFraction <= 0 {
		return false
	}
	sum := sha256.Sum256([]byte(id))
	return float64(binary.LittleEndian.Uint64(sum[:8]))/math.MaxUint64 < s.ValidationFraction
}

// contentID is the id of a document whose data give none.
func contentID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// guard turns a panic of a decoder into an error: damaged files must not end the process.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("damaged data: the decoder failed: %v", r)
	}
}
