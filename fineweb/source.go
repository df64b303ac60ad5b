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
	"slices"
	"sort"
	"strings"

	"stepflow/fineweb/hub"
	"stepflow/fineweb/web"
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
var ErrRemote = errors.New("of remote sources only https:// and hf:// addresses are read yet: download the files and give their path")

// IsRemote tells whether a pattern is an address that can't be read.
func IsRemote(pattern string) bool {
	return strings.Contains(pattern, "://") && !web.Is(pattern) && !hub.Is(pattern)
}

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

// Files lists the files the patterns match, sorted, each once; addresses stand for themselves.
func (s *Source) Files() ([]string, error) {
	seen := map[string]bool{}
	var files []string
	for _, p := range s.Patterns {
		if IsRemote(p) {
			return nil, fmt.Errorf("%s: %w", p, ErrRemote)
		}
		if web.Is(p) { // a file: there is no list to match a glob with
			if strings.ContainsAny(p, "*[") {
				return nil, fmt.Errorf("%s: a web server has no list of its files: name each of them", p)
			}
			if !seen[p] {
				seen[p] = true
				files = append(files, p)
			}
			continue
		}
		if hub.Is(p) {
			list := []string{p}
			if !hub.Pinned(p) {
				var err error
				if list, err = hub.List(client, p); err != nil {
					return nil, err
				}
			}
			for _, f := range list {
				if !seen[f] {
					seen[f] = true
					files = append(files, f)
				}
			}
			continue
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

// pinned is the source with its patterns on the hub replaced by the files they matched.
func (s Source) pinned(files []string) Source {
	patterns := slices.DeleteFunc(slices.Clone(s.Patterns), hub.Is)
	for _, f := range files {
		if hub.Is(f) {
			patterns = append(patterns, f)
		}
	}
	s.Patterns = patterns
	return s
}

// Identity is a hash of the files' names, sizes and contents' ends, or of what a server calls their
// version: it changes when the data do.
func Identity(files []string) (string, error) {
	h := sha256.New()
	for _, f := range files {
		if err := identify(h, f); err != nil {
			return "", err
		}
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
