package fineweb

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"stepflow/fineweb/web"
)

// Source says what to read and how.
type Source struct {
	Format     string   // "fineweb_edu", "parquet", "jsonl", "text", "bin" or "conversations"
	Patterns   []string // globs; relative ones start at Dir
	Dir        string
	TextColumn string // the document's text
	IDColumn   string // its stable id; a hash of the text where the data have none
	Form       string // conversations: of the rows, as package chat names them
	// Said is what is said in a conversation, of a row of a form: the text in which n-grams are looked for.
	Said      func(form, row string) (string, error)
	Separator string // text: what stands between documents; "" makes a file one document
	DType     string // bin: "uint16" or "uint32"; else the header says, or the tokenizer's size

	MinIntScore      *int64
	MinScore         *float64
	MinLanguageScore *float64
	MinTokenCount    *int64
	MaxTokenCount    *int64
	Languages        []string
	Dumps            []string
	Filter           string // a condition on the columns of a row; see filter

	Deduplicate bool      // of documents with the same text only the first in the order of files and rows stays
	Against     []Against // documents that none to train on may share an n-gram with

	ValidationFraction float64 // share of documents held out, by hash of the id
	Seed               uint64
	Shuffle            bool
	SkipErrors         bool // count and pass over damaged row groups and bad documents
	DocumentMask       bool // attention and targets do not cross documents
	// Special tokens that stand in a text, such as <|endoftext|>, get their ids; else they are text.
	SpecialIDs   bool
	PredictFirst bool // the end-of-text token before a document belongs to it and predicts its first token

	Epochs   int64                          // passes over the data before they are used up; 0 for any number
	TokenDir string                         // where tokens are kept; "" for nowhere
	Hasty    bool                           // give up on a server that does not answer at once
	Hashing  func(file string, bytes int64) // is called before a large file is hashed; may be nil

	Cache *Cache // keeps ranges of remote files; nil for one of the usual size, see NewCache

	root      string // the folder below which files have their names; see rootOf
	rooted    bool   // it is known
	keepBlank bool   // text: blank documents among several are kept; see Windows.Open
}

// reading is a source that is being read. It holds the context that ends reading and waiting for servers, because
// decoders read files through io.ReaderAt, which takes none.
type reading struct {
	Source
	ctx context.Context
}

// ended is the error of the context, once it has ended.
func (s *reading) ended() error { return s.ctx.Err() }

// passes reports whether on_error = "skip" passes over what failed: not what a server does not give now, nor a file
// that changed, nor what was given up because the context ended, nor columns that are missing.
func (s *reading) passes(err error) bool {
	var wrong wrongColumns
	return s.SkipErrors && !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrChanged) && !errors.As(err, &wrong) &&
		s.ended() == nil
}

// Split is the part of the documents to read.
type Split uint8

const (
	Train Split = iota + 1
	Validation
	All
)

// document is one row as read.
type document struct {
	id, text string
	hash     uint64 // of the id
	drop     bool   // filtered out by its columns, or left out
	flaw     uint8
	err      error   // of one that cannot be read
	ids      []int32 // its tokens, where the cache holds them
	specials int     // special tokens that stand in its text, where the cache holds its tokens
	at       int64   // of files of tokens: its first one among those of all files
}

// fail notes why a document cannot be read.
func (d *document) fail(err error) {
	*d = document{flaw: damaged, err: err}
}

// shard is an open file: groups of rows that can be read one by one.
type shard interface {
	// groups gives the number of rows of each group.
	groups() []int64
	// read gives n documents of a group from a row on, in order.
	read(group int, from, n int64) ([]document, error)
	Close() error
}

// formats opens a file of each format; the shard closes it.
var formats = map[string]func(s *reading, f file, name string) (shard, error){
	"fineweb_edu": openParquet,
	"parquet":     openParquet,
	"jsonl":       openJSONL,
	"text":        openText,
	"bin":         openBin,

	FormatConversations: openConversations,
}

// list gives the files the patterns match, in the order of their names byte by byte, each once whatever it is called;
// notes say what was matched and is not read.
func (s *reading) list() (files []web.Entry, notes []string, err error) {
	var all []web.Entry
	for _, p := range s.Patterns {
		matches, err := s.match(p)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, matches...)
	}
	slices.SortStableFunc(all, func(a, b web.Entry) int { return strings.Compare(a.Address, b.Address) })
	seen, read := map[string]string{}, map[string]bool{}
	for _, e := range all {
		read[e.Address] = read[e.Address] || e.Aside == ""
	}
	var aside []string
	for _, e := range all {
		name := Shown(e.Address)
		if e.Aside != "" {
			if !read[e.Address] {
				aside = append(aside, name+" "+e.Aside)
			}
			continue
		}
		key := sameFile(e.Address)
		switch before, twice := seen[key]; {
		case !twice:
			seen[key] = e.Address
			files = append(files, e)
		case before == e.Address:
			aside = append(aside, name+" is named twice: it is read once")
		default:
			aside = append(aside, fmt.Sprintf("%s and %s are one file: it is read once", Shown(before), name))
		}
	}
	if len(files) == 0 && len(aside) > 0 {
		return nil, nil, fmt.Errorf("%s matches nothing that is read: %s",
			strings.Join(s.Shown(), ", "), strings.Join(few(aside), "; "))
	}
	return files, few(aside), nil
}

// few are the first of many notes, and how many more there are. Each is kept once.
func few(notes []string) []string {
	const most = 3
	slices.Sort(notes)
	notes = slices.Compact(notes)
	if n := len(notes) - most; n > 0 {
		notes = append(notes[:most:most], fmt.Sprintf("and so with %d more", n))
	}
	return notes
}

// match lists the files of one pattern.
func (s *reading) match(pattern string) (files []web.Entry, err error) {
	place, remote, err := schemeOf(pattern)
	if err != nil {
		return nil, err
	}
	if remote {
		return place.list(s.ctx, s.client(), pattern)
	}
	matches, err := Await(s.ctx, func() ([]web.Entry, error) { return matchPaths(s.ctx, s.Dir, pattern) })
	if s.ended() != nil {
		return nil, s.ended()
	}
	return matches, err
}

// Shown are the patterns as they may be printed and kept: addresses without what may be a key.
func (s *Source) Shown() (list []string) {
	for _, p := range s.Patterns {
		list = append(list, Shown(p))
	}
	return list
}

// pinned is the source with its patterns replaced by the files they matched, of the hub at their commits.
func (s Source) pinned(files []string) Source {
	if slices.ContainsFunc(s.Patterns, IsRemote) {
		s.Patterns = slices.Clone(files)
	}
	s.Hasty, s.Hashing = false, nil
	return s
}

// held reports whether a document belongs to the validation split: by a hash of its id alone, so the
// split is stable when files are added, renamed or reordered.
func (s *Source) held(hash uint64) bool {
	return s.ValidationFraction >= 1 || s.ValidationFraction > 0 && float64(hash)/math.MaxUint64 < s.ValidationFraction
}

// share is the part of the documents that a split holds, about.
func (s *Source) share(split Split) float64 {
	switch split {
	case Validation:
		return s.ValidationFraction
	case Train:
		return 1 - s.ValidationFraction
	}
	return 1
}

func hashID(id string) uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.LittleEndian.Uint64(sum[:8])
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
