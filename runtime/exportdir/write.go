package exportdir

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
)

// Write puts an export in the place of the one that is there. All files are written to a folder inside this one first;
// from the moment that its manifest is there, the export is carried to its end, by Recover if this process is killed:
// the key file of the old model, such as config.json, goes first and that of the new one comes last. Files of the user stay
// where they are.
func (f *Folder) Write(m Manifest, parts []checkpoint.Part) (err error) {
	if err := f.Recover(); err != nil {
		return err
	}
	c, err := f.Look()
	if err != nil {
		return err
	}
	if err := f.Refuse(c); err != nil {
		return err
	}
	if err := durable.MkdirAll(f.Real, 0o777); err != nil {
		return err
	}
	var random [8]byte
	rand.Read(random[:])
	tmp := filepath.Join(f.Real, tmpPrefix+hex.EncodeToString(random[:]))
	if err := durable.MkdirAll(tmp, 0o777); err != nil {
		return err
	}
	defer func() {
		if now, _, e := readTmp(tmp); err != nil && now == nil && e == nil {
			os.RemoveAll(tmp)
		}
	}()
	m.Version, m.Files = version, map[string]checkpoint.Digest{}
	for _, p := range parts {
		if p.Name == CardName && c.Card {
			continue
		}
		if !known.MatchString(p.Name) {
			return fmt.Errorf("an export has no file %q", p.Name)
		}
		if m.Files[p.Name], err = p.Write(tmp); err != nil {
			return err
		}
	}
	if keyOf(m.Files) == "" {
		return errors.New("an export needs a file that makes it a model: config.json, adapter_config.json or a .gguf file")
	}
	old := Manifest{Version: version, Files: c.Ours}
	for _, name := range c.Unlisted { // of an early export, which may be replaced
		path := filepath.Join(f.Real, name)
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		sum, err := f.hashes.of(path, st)
		if err != nil {
			return err
		}
		old.Files[name] = checkpoint.Digest{Size: st.Size(), SHA256: sum}
	}
	if err := writeJSON(filepath.Join(tmp, replacedName), old); err != nil {
		return err
	}
	if err := durable.SyncDir(tmp); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(tmp, ManifestName), m); err != nil {
		return err
	}
	return f.finish(tmp)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(b, '\n'))
}

// Recover carries to its end what a killed export began to put in place, and removes what another had not completed.
func (f *Folder) Recover() error {
	entries, err := os.ReadDir(f.Real)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !tmpName.MatchString(e.Name()) {
			continue
		}
		tmp := filepath.Join(f.Real, e.Name())
		now, _, err := readTmp(tmp)
		if err != nil {
			return err
		}
		if now != nil {
			err = f.finish(tmp)
		} else {
			err = os.RemoveAll(tmp)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish puts the files of a complete export in place. It may be called again at whatever point it was stopped.
func (f *Folder) finish(tmp string) error {
	now, old, err := readTmp(tmp)
	if err != nil {
		return err
	}
	if err := f.ready(tmp, now, old); err != nil {
		return err
	}
	defer clear(f.hashes) // of files that others take the place of, perhaps within the same tick of the clock
	at := func(name string) string { return filepath.Join(f.Real, name) }
	from := func(name string) string { return filepath.Join(tmp, name) }
	key := keyOf(now.Files)
	if _, err := os.Lstat(from(key)); err == nil { // else all that follows is done
		if err := durable.Remove(at(ManifestName)); err != nil {
			return err
		}
		if before := keyOf(old.Files); before != "" {
			if err := f.setAside(at(before), from(key)); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(now.Files)) {
			if name == key {
				continue
			}
			if err := f.move(from(name), at(name)); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(old.Files)) {
			if _, ok := now.Files[name]; ok {
				continue
			}
			if err := durable.Remove(at(name)); err != nil {
				return err
			}
		}
		if err := durable.Rename(from(key), at(key)); err != nil {
			return err
		}
	}
	if err := durable.Rename(from(ManifestName), at(ManifestName)); err != nil {
		return err
	}
	if err := durable.Remove(from(replacedName)); err != nil {
		return err
	}
	return durable.Remove(tmp)
}

// setAside removes a file whose successor is complete, and gives the successor its mode.
func (f *Folder) setAside(path, successor string) error {
	if st, err := os.Lstat(path); err == nil {
		if err := durable.KeepMode(successor, st); err != nil {
			return err
		}
	}
	return durable.Remove(path)
}

// move puts a file in its place, with the mode of the one it replaces, unless that is done.
func (f *Folder) move(from, to string) error {
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if st, err := os.Lstat(to); err == nil {
		if err := durable.KeepMode(from, st); err != nil {
			return err
		}
	}
	return durable.Rename(from, to)
}

// ready checks, before anything is moved, that every file of the export is there and that it replaces nothing but files
// of the old one.
func (f *Folder) ready(tmp string, now, old *Manifest) error {
	var theirs []string
	for name := range merge(now.Files, old.Files) {
		path := filepath.Join(f.Real, name)
		isNew, isOld := false, false
		var err error
		if want, ok := now.Files[name]; ok {
			if isNew, err = f.hashes.is(path, want); err != nil {
				return err
			}
			st, err := os.Lstat(filepath.Join(tmp, name))
			if !isNew && (err != nil || !st.Mode().IsRegular() || st.Size() != want.Size) {
				return fmt.Errorf("the export to %s was cut off and %s is missing or damaged in %s: remove that folder, and "+
					"apply again", f.Path, name, tmp)
			}
		}
		if want, ok := old.Files[name]; ok && !isNew {
			if isOld, err = f.hashes.is(path, want); err != nil {
				return err
			}
		}
		if _, err := os.Lstat(path); err == nil && !isNew && !isOld {
			theirs = append(theirs, name)
		}
	}
	if len(theirs) > 0 {
		slices.Sort(theirs)
		return fmt.Errorf("%s in %s %s not written by an export and would be in its way. Move %s elsewhere, or choose "+
			"another path", List(theirs), f.Path, was(theirs), it(theirs))
	}
	return nil
}

func merge(a, b map[string]checkpoint.Digest) map[string]checkpoint.Digest {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}
