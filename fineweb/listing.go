package fineweb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"

	"stepflow/fineweb/web"
)

// listing is the files of a source, as they were found.
type listing struct {
	source reading
	files  []string
	list   []web.Entry
	opened []file   // nil for one passed over
	ids    []string // of the files' contents, once they were asked for
}

// listed finds the files of a source; notes say what was matched and is not read. None is open yet.
func listed(ctx context.Context, s Source) (l listing, notes []string, err error) {
	l.source = reading{s, ctx}
	if l.list, notes, err = l.source.list(); err != nil {
		return l, nil, err
	}
	for _, e := range l.list {
		l.files = append(l.files, e.Address)
	}
	l.opened = make([]file, len(l.list))
	l.source.root, l.source.rooted = s.rootOf(l.files), true
	return l, notes, nil
}

// Source is what was opened, with remote files by name, and the hub's at their commits: it opens the same files
// again, however long their servers take.
func (l *listing) Source() Source { return l.source.Source }

// Files lists the files of the corpus.
func (l *listing) Files() []string { return l.files }

// Identity is a hash of the files' names and of what tells them from what they were: it changes when the data do.
func (l *listing) Identity() (string, error) {
	ids, err := l.contentIDs()
	h := sha256.New()
	for i, id := range ids {
		if l.opened[i] != nil {
			io.WriteString(h, l.source.identify(l.list[i], id))
		}
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// contentIDs returns the ids of the contents of the files; "" for one that is passed over.
func (l *listing) contentIDs() ([]string, error) {
	if l.ids != nil {
		return l.ids, nil
	}
	ids, errs := make([]string, len(l.opened)), make([]error, len(l.opened))
	parallel(len(l.opened), runtime.GOMAXPROCS(0), func(i int) {
		if f := l.opened[i]; f != nil {
			ids[i], errs[i] = l.source.contentID(l.list[i], f)
		}
	})
	if err := errors.Join(errs...); err != nil {
		return ids, err
	}
	l.ids = ids
	return ids, nil
}

// identity identifies one file. A file that cannot be read has an identity that no other file has.
func (l *listing) identity(file int) string {
	id, err := l.source.contentID(l.list[file], l.opened[file])
	if err != nil {
		return l.files[file] + " " + err.Error()
	}
	return l.source.identify(l.list[file], id)
}

// Contents says what each file holds, in their order.
func (l *listing) Contents() ([]Content, error) {
	ids, err := l.contentIDs()
	if err != nil {
		return nil, err
	}
	list := make([]Content, len(l.files))
	for i, address := range l.files {
		list[i] = ContentOf(address)
		if key := contentKey(ids[i]); key != "" {
			list[i].keys = append(list[i].keys, key)
		}
	}
	return list, nil
}

// unchanged returns an error if the file is not the one that was opened any more.
func (l *listing) unchanged(file int) error {
	if err := l.opened[file].Check(); err != nil {
		return fmt.Errorf("%s: %w", Shown(l.files[file]), err)
	}
	return nil
}
