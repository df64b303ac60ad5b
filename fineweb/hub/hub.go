// Package hub finds files of the Hugging Face hub: in the cache that Hugging Face's tools keep, or by the hub's
// API. It heeds their variables: HF_ENDPOINT, HF_TOKEN (or the token file in HF_HOME), HF_HUB_CACHE, HF_HOME,
// HF_HUB_OFFLINE.
package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// Repo is a repository at a revision: a branch, a tag or a commit.
type Repo struct {
	Kind     string // "datasets" or "models"
	Name     string // ORG/NAME
	Revision string
}

// Is reports whether a path is an address of the hub.
func Is(path string) bool { return strings.HasPrefix(path, "hf://") }

var commit = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Parse reads hf://datasets/ORG/NAME[@REVISION]/PATH, and for models hf://[models/]ORG/NAME[@REVISION][/PATH].
// The revision is main where none is given.
func Parse(address string) (r Repo, file string, err error) {
	rest, ok := strings.CutPrefix(address, "hf://")
	r.Kind = "models"
	for _, kind := range []string{"datasets", "models"} {
		if cut, is := strings.CutPrefix(rest, kind+"/"); is {
			r.Kind, rest = kind, cut
			break
		}
	}
	parts := strings.SplitN(rest, "/", 3)
	if !ok || len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return r, "", fmt.Errorf("%s is not an address of the hub: write hf://datasets/ORG/NAME/PATH", address)
	}
	name, revision, pinned := strings.Cut(parts[1], "@")
	if !pinned {
		revision = "main"
	}
	r.Name, r.Revision = parts[0]+"/"+name, revision
	if len(parts) == 3 {
		file = parts[2]
	}
	if revision == "" || !filepath.IsLocal(revision) || !filepath.IsLocal(filepath.Join(parts[0], name)) || file != "" && !filepath.IsLocal(file) {
		return r, "", fmt.Errorf("%s names no revision or path of a repository", address)
	}
	return r, file, nil
}

// Address is the inverse of Parse.
func (r Repo) Address(file string) string {
	return "hf://" + r.Kind + "/" + r.Name + "@" + r.Revision + "/" + file
}

// Folder is where the cache has the repository at its revision; fs.ErrNotExist if it has not.
func (r Repo) Folder() (string, error) {
	dir, err := r.cache()
	if err != nil {
		return "", err
	}
	at := r.Revision
	if b, err := foreign.ReadFile(filepath.Join(dir, "refs", r.Revision), 4096); err == nil {
		at = strings.TrimSpace(string(b))
	}
	if !filepath.IsLocal(at) {
		return "", fmt.Errorf("the cache's reference %s in %s is not a revision", r.Revision, dir)
	}
	folder := filepath.Join(dir, "snapshots", at)
	_, err = os.Stat(folder)
	return folder, err
}

// cache is the repository's folder in the cache.
func (r Repo) cache() (string, error) {
	cache := os.Getenv("HF_HUB_CACHE")
	if cache == "" {
		home, err := home()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, "hub")
	}
	return filepath.Join(cache, r.Kind+"--"+strings.ReplaceAll(r.Name, "/", "--")), nil
}

func home() (string, error) {
	if h := os.Getenv("HF_HOME"); h != "" {
		return h, nil
	}
	h, err := os.UserHomeDir()
	return filepath.Join(h, ".cache", "huggingface"), err
}

func offline() bool {
	switch strings.ToUpper(os.Getenv("HF_HUB_OFFLINE")) {
	case "1", "TRUE", "YES", "ON":
		return true
	}
	return false
}

func endpoint() string {
	if e := os.Getenv("HF_ENDPOINT"); e != "" {
		return strings.TrimRight(e, "/")
	}
	return "https://huggingface.co"
}

// auth sends the user's token, if there is one.
func auth() web.Auth {
	token := os.Getenv("HF_TOKEN")
	if token == "" {
		if h, err := home(); err == nil {
			b, _ := foreign.ReadFile(filepath.Join(h, "token"), 4096)
			token = strings.TrimSpace(string(b))
		}
	}
	if token == "" {
		return nil
	}
	return func(q *http.Request) error {
		q.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
}

// api is an address of the hub's API for the repository.
func (r Repo) api(parts ...string) string {
	for i, p := range parts {
		parts[i] = escape(p)
	}
	return endpoint() + "/api/" + r.Kind + "/" + r.Name + "/" + strings.Join(parts, "/")
}

// escape escapes a path but for its slashes.
func escape(p string) string { return (&url.URL{Path: p}).EscapedPath() }

// explain tells what to do about a repository that the hub does not show.
func (r Repo) explain(err error) error {
	if errors.Is(err, web.ErrDenied) {
		return fmt.Errorf("%w. If %s is gated or private, accept its terms at %s/%s, and set HF_TOKEN to a token that may read it", err, r.Name, endpoint(), strings.TrimPrefix(r.Kind+"/", "models/")+r.Name)
	}
	return err
}

// List gives the files that a pattern matches, with the revision pinned to a commit, in order. Elements of the
// pattern are matched as by path.Match. A file's ID is the hash of its contents that the hub keeps: another commit that
// leaves it alone does not change it.
func List(c *web.Client, address string) ([]web.Entry, error) {
	r, pattern, err := Parse(address)
	if err != nil {
		return nil, err
	}
	if pattern == "" {
		return nil, fmt.Errorf("%s names no file of the repository", address)
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	var files []web.Entry
	if offline() {
		r, files, err = r.listCache()
	} else {
		r, files, err = r.listHub(c, pattern)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	var list []web.Entry
	for _, f := range files {
		if ok, _ := path.Match(pattern, f.Address); ok {
			list = append(list, web.Entry{Address: r.Address(f.Address), ID: f.ID})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s matches none of the files at revision %s", address, r.Revision)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Address < list[j].Address })
	return list, nil
}

// listCache lists a snapshot: each file is a link to a blob that is named as the hub names its contents.
func (r Repo) listCache() (Repo, []web.Entry, error) {
	folder, err := r.Folder()
	if err != nil {
		return r, nil, fmt.Errorf("HF_HUB_OFFLINE is set, and the cache has not revision %s: %w: %w", r.Revision, web.ErrUnreachable, err)
	}
	r.Revision = filepath.Base(folder)
	var files []web.Entry
	err = filepath.WalkDir(folder, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(folder, p)
		e := web.Entry{Address: filepath.ToSlash(rel)}
		if blob, err := os.Readlink(p); err == nil {
			e.ID = filepath.Base(blob)
		}
		files = append(files, e)
		return err
	})
	return r, files, err
}

func (r Repo) listHub(c *web.Client, pattern string) (Repo, []web.Entry, error) {
	if !commit.MatchString(r.Revision) {
		body, _, err := c.Get(r.api("revision", url.PathEscape(r.Revision)), auth())
		if err != nil {
			return r, nil, r.explain(err)
		}
		var answer struct{ SHA string }
		if err := json.Unmarshal(body, &answer); err != nil || !commit.MatchString(answer.SHA) {
			return r, nil, fmt.Errorf("the hub does not tell the commit of revision %s", r.Revision)
		}
		r.Revision = answer.SHA
	}
	// The folder above the first element with a wildcard, and what lies below it.
	dir := path.Dir(pattern)
	for strings.ContainsAny(dir, `*?[\`) {
		dir = path.Dir(dir)
	}
	next := r.api("tree", r.Revision)
	if dir != "." {
		next = r.api("tree", r.Revision, dir)
	}
	next += "?recursive=true"
	var files []web.Entry
	for next != "" {
		body, answer, err := c.Get(next, auth())
		if err != nil {
			return r, nil, r.explain(err)
		}
		var entries []struct {
			Type, Path, OID string
			LFS             struct{ OID string }
		}
		if err := json.Unmarshal(body, &entries); err != nil {
			return r, nil, fmt.Errorf("the hub's list of files is not readable: %w", err)
		}
		for _, e := range entries {
			if e.Type == "file" {
				id := e.OID
				if e.LFS.OID != "" {
					id = e.LFS.OID
				}
				files = append(files, web.Entry{Address: e.Path, ID: id})
			}
		}
		if next, err = following(answer.Get("Link")); err != nil {
			return r, nil, err
		}
	}
	return r, files, nil
}

// following finds the next page (RFC 8288); it must be the hub's own, for it gets the token.
func following(link string) (string, error) {
	for _, l := range strings.Split(link, ",") {
		target, rel, ok := strings.Cut(l, ";")
		if !ok || !strings.Contains(rel, `rel="next"`) {
			continue
		}
		target = strings.Trim(strings.TrimSpace(target), "<>")
		if !strings.HasPrefix(target, endpoint()+"/") {
			return "", fmt.Errorf("the hub's list of files goes on at another host: %s", target)
		}
		return target, nil
	}
	return "", nil
}

// Cached gives the path of a listed file in the cache; "" if it is not there.
func Cached(address string) string {
	r, file, err := Parse(address)
	if err != nil {
		return ""
	}
	folder, err := r.Folder()
	if err != nil {
		return ""
	}
	p := filepath.Join(folder, filepath.FromSlash(file))
	if st, err := os.Stat(p); err != nil || st.IsDir() {
		return ""
	}
	return p
}

// Open opens a listed file on the hub.
func Open(c *web.Client, address string) (*web.File, error) {
	r, file, err := Parse(address)
	if err != nil {
		return nil, err
	}
	if offline() {
		return nil, fmt.Errorf("%s is not in the cache, and HF_HUB_OFFLINE is set: %w", address, web.ErrUnreachable)
	}
	repo := r.Name
	if r.Kind != "models" {
		repo = r.Kind + "/" + r.Name
	}
	f, err := c.Open(endpoint()+"/"+repo+"/resolve/"+url.PathEscape(r.Revision)+"/"+escape(file), auth())
	if err != nil {
		return nil, r.explain(err)
	}
	return f, nil
}
