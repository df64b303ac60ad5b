package artifacts

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"stepflow/dsl"
)

// retain removes the checkpoints of a block beyond those that stay, and the files that only they had.
func (u *Uploads) retain(j *Job, latest *entry) error {
	s, ctx := u.store, context.Background()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*entry
	for _, name := range s.entryNames() {
		if recipe, _, _ := s.idsOf(name); recipe != latest.Note.Recipe {
			continue
		}
		e, err := s.read(ctx, name)
		if err != nil {
			return err
		}
		if !e.Note.Done && e.Note.Step <= latest.Note.Step {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int { return b.Note.Step - a.Note.Step })
	keep := max(j.Keep, 1)
	if latest.Note.Done {
		keep = max(j.Keep-1, 0)
	}
	if len(list) <= keep {
		return nil
	}
	return s.drop(ctx, list[keep:])
}

// drop removes entries, and then the files that no other entry has.
func (s *Store) drop(ctx context.Context, list []*entry) error {
	for _, e := range list {
		if err := s.place.files.remove(ctx, e.name); err != nil {
			return err
		}
		delete(s.sizes, e.name)
		delete(s.entries, e.name)
	}
	needed, err := s.needed(ctx, func(*entry) bool { return true })
	if err != nil {
		return err
	}
	for _, e := range list {
		for _, d := range e.all() {
			name := s.objectName(d)
			if _, there := s.sizes[name]; !there || needed[name] {
				continue
			}
			if err := s.place.files.remove(ctx, name); err != nil {
				return err
			}
			delete(s.sizes, name)
		}
	}
	return nil
}

// needed returns the names of the files of those entries that a function keeps.
func (s *Store) needed(ctx context.Context, keep func(*entry) bool) (map[string]bool, error) {
	needed := map[string]bool{}
	for _, name := range s.entryNames() {
		e, err := s.read(ctx, name)
		if err != nil {
			return nil, err
		}
		if !keep(e) {
			continue
		}
		for _, d := range e.all() {
			needed[s.objectName(d)] = true
		}
	}
	return needed, nil
}

// Waste is what nothing reaches in a place.
type Waste struct {
	Entries []string // of results and checkpoints, as they were made: by their blocks' addresses and folders
	Bytes   int64
	entries []*entry
	objects []string
}

// Unreached returns the entries whose recipes a function does not take, and the files that no other entry has.
func (s *Store) Unreached(ctx context.Context, reached func(recipe string) bool) (*Waste, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes = nil
	if err := s.list(ctx); err != nil {
		return nil, err
	}
	w := &Waste{}
	needed, err := s.needed(ctx, func(e *entry) bool {
		if reached(e.Note.Recipe) {
			return true
		}
		w.entries = append(w.entries, e)
		w.Entries = append(w.Entries, e.Note.Address+" ("+e.leaf()+")")
		w.Bytes += s.sizes[e.name]
		return false
	})
	if err != nil {
		return nil, err
	}
	for name, size := range s.sizes {
		if strings.HasPrefix(name, s.lineage+"/objects/") && !needed[name] {
			w.objects = append(w.objects, name)
			w.Bytes += size
		}
	}
	return w, nil
}

// Free removes what nothing reaches.
func (s *Store) Free(ctx context.Context, w *Waste) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.drop(ctx, w.entries); err != nil {
		return err
	}
	for _, name := range w.objects {
		if err := s.place.files.remove(ctx, name); err != nil {
			return err
		}
		delete(s.sizes, name)
	}
	return nil
}

// String says how much it is.
func (w *Waste) String() string {
	return fmt.Sprintf("%s in %d results and checkpoints, and %d files", dsl.FormatBytes(w.Bytes), len(w.entries),
		len(w.objects))
}

// Empty reports whether it is nothing.
func (w *Waste) Empty() bool { return len(w.entries)+len(w.objects) == 0 }
