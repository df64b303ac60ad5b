package artifacts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"stepflow/foreign"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/results"
)

// Store is what a place holds of one state. Its files lie in a folder named by the state's lineage, so that nothing of
// another state is ever removed with them:
//
//	LINEAGE/results/RECIPE/COURSE/LEAF.json   an entry: what a result or a checkpoint is, and its files' hashes
//	LINEAGE/objects/SHA256                    the files
//
// An entry is written when all its files are there.
type Store struct {
	place   *Place
	lineage string

	mu      sync.Mutex
	sizes   map[string]int64    // of the files there, by name; nil until they are listed
	byID    map[string][]string // names of entries, by recipe and by course
	entries map[string]*entry   // those that were read, by name
}

// For returns the store of a state. It asks nothing of the place yet.
func (p *Place) For(lineage string) *Store {
	return &Store{place: p, lineage: lineage, entries: map[string]*entry{}}
}

// entry is a result or a checkpoint that is there.
type entry struct {
	Note    results.Note                 `json:"note"`
	Content string                       `json:"content"` // the content id
	Files   map[string]checkpoint.Digest `json:"files"`   // of its folder, the manifest among them
	Beside  map[string]checkpoint.Digest `json:"beside"`  // of the block's folder, as they were then
	name    string                       // relative to the place
}

// noCourse stands for the course of a result or checkpoint that has none.
const noCourse = "-"

func (s *Store) entryName(n *results.Note, leaf string) string {
	course := noCourse
	if n.Course != nil {
		course = n.Course.ID
	}
	return path.Join(s.lineage, "results", n.Recipe, course, leaf+".json")
}

// idsOf reads the recipe and the course in the name of an entry; ok is false if it is not the name of one.
func (s *Store) idsOf(name string) (recipe, course string, ok bool) {
	rest, ok := strings.CutPrefix(name, s.lineage+"/results/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || !strings.HasSuffix(rest, ".json") {
		return "", "", false
	}
	return parts[0], parts[1], true
}

func (s *Store) objectName(d checkpoint.Digest) string {
	return path.Join(s.lineage, "objects", d.SHA256)
}

// leaf is the name of the folder that an entry is of.
func (e *entry) leaf() string { return strings.TrimSuffix(path.Base(e.name), ".json") }

// sound reports whether an entry names its folder, its files and their objects in a way that leads nowhere else: whoever
// may write to the place could have written it.
func (e *entry) sound() bool {
	for name, d := range e.all() {
		sum, err := hex.DecodeString(d.SHA256)
		if err != nil || len(sum) != sha256.Size || d.Size < 0 || !foreign.IsFileName(name) {
			return false
		}
	}
	return foreign.IsFileName(e.leaf())
}

// all lists the files of an entry, by their names.
func (e *entry) all() iter.Seq2[string, checkpoint.Digest] {
	return func(yield func(string, checkpoint.Digest) bool) {
		for _, m := range []map[string]checkpoint.Digest{e.Files, e.Beside} {
			for _, n := range slices.Sorted(maps.Keys(m)) {
				if !yield(n, m[n]) {
					return
				}
			}
		}
	}
}

// bytes writes an entry after the hash of what it says.
func (e *entry) bytes() ([]byte, error) {
	b, err := json.MarshalIndent(e, "", "  ")
	sum := sha256.Sum256(b)
	return append([]byte(hex.EncodeToString(sum[:])+"\n"), b...), err
}

// mostEntry bounds an entry that is read, in bytes.
const mostEntry = 16 << 20

// limit is how long a small request may take.
const limit = time.Minute

// list lists what is there, once.
func (s *Store) list(ctx context.Context) error {
	if s.sizes != nil || s.lineage == "" {
		return nil
	}
	sizes := map[string]int64{}
	err := s.place.files.each(ctx, s.lineage+"/", func(name string, size int64) { sizes[name] = size })
	if err != nil {
		return fmt.Errorf("looking into the artifacts in %s: %w. -artifacts=none does without them", s.place, err)
	}
	s.sizes = sizes
	s.byID = map[string][]string{}
	for _, name := range s.entryNames() {
		recipe, course, _ := s.idsOf(name)
		s.byID[recipe], s.byID[course] = append(s.byID[recipe], name), append(s.byID[course], name)
	}
	return nil
}

// few is how many entries are read one by one; whoever asks for more will ask for most of them.
const few = 8

// readAll reads the entries that were not read, many at once. Those that cannot be read are left for read.
func (s *Store) readAll(ctx context.Context) {
	var mu sync.Mutex
	var all sync.WaitGroup
	turns := make(chan bool, 16)
	names := slices.DeleteFunc(s.entryNames(), func(name string) bool { return s.entries[name] != nil })
	for _, name := range names {
		turns <- true
		all.Go(func() {
			defer func() { <-turns }()
			e, err := s.fetchEntry(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				s.entries[name] = e
			}
		})
	}
	all.Wait()
}

// read returns an entry.
func (s *Store) read(ctx context.Context, name string) (*entry, error) {
	if e := s.entries[name]; e != nil {
		return e, nil
	}
	if len(s.entries) == few {
		s.readAll(ctx)
		if e := s.entries[name]; e != nil {
			return e, nil
		}
	}
	e, err := s.fetchEntry(ctx, name)
	if err == nil {
		s.entries[name] = e
	}
	return e, err
}

// fetchEntry reads an entry from the place.
func (s *Store) fetchEntry(ctx context.Context, name string) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	body, err := s.place.files.get(ctx, name, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, mostEntry+1))
	if err != nil {
		return nil, err
	}
	sum, text, _ := bytes.Cut(b, []byte("\n"))
	e := &entry{name: name}
	if is := sha256.Sum256(text); string(sum) != hex.EncodeToString(is[:]) || json.Unmarshal(text, e) != nil || !e.sound() {
		return nil, fmt.Errorf("%w: %s: remove it, and it is sent again from a machine that has what it is of",
			checkpoint.ErrDamaged, s.place.files.show(name))
	}
	return e, nil
}

// whole reports whether all files of an entry are there, by their sizes.
func (s *Store) whole(e *entry) bool {
	for _, d := range e.all() {
		if size, ok := s.sizes[s.objectName(d)]; !ok || size != d.Size {
			return false
		}
	}
	return true
}

// entryNames lists the names of the entries.
func (s *Store) entryNames() (names []string) {
	for name := range s.sizes {
		if _, _, ok := s.idsOf(name); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Finds lists the results and checkpoints of a recipe, or of a course, whose files are all there.
func (s *Store) Finds(ctx context.Context, id string) (list []*results.Away, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.list(ctx); err != nil {
		return nil, err
	}
	for _, name := range s.byID[id] {
		e, err := s.read(ctx, name)
		if errors.Is(err, fs.ErrNotExist) { // another process has removed it
			continue
		}
		if err != nil {
			return nil, err
		}
		if !s.whole(e) {
			continue
		}
		away := &results.Away{Where: s.place.String(), Name: name, Note: e.Note, Leaf: e.leaf(), ID: e.Content,
			Files: slices.Sorted(maps.Keys(e.Files))}
		for _, d := range e.all() {
			away.Bytes += d.Size
		}
		list = append(list, away)
	}
	return list, nil
}
