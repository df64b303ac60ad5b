// Package hub finds files of the Hugging Face hub: in the cache that Hugging Face's tools keep, or by the hub's
// API. It heeds their variables: HF_ENDPOINT, HF_TOKEN (or the token file in HF_HOME), HF_HUB_CACHE, HF_HOME,
// HF_HUB_OFFLINE.
package hub

import (
	"context"
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

	"stepflow/fineweb/glob"
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

// special are the revisions that are written with their slashes: the branches that the hub converts data to, and pull
// requests.
var special = regexp.MustCompile(`^refs/(convert/\w+|pr/\d+)(/|$)`)

// Parse reads hf://datasets/ORG/NAME[@REVISION]/PATH, and for models hf://[models/]ORG/NAME[@REVISION][/PATH], as
// Hugging Face's HfFileSystem does: the first slash ends a revision, but for refs/convert/parquet and its like and
// refs/pr/N; in another one slashes are written as %2F. ~parquet is short for refs/convert/parquet. The revision is
// main where none is given, and with one the name of an old repository may lack ORG.
func Parse(address string) (r Repo, file string, err error) {
	rest, ok := strings.CutPrefix(address, "hf://")
	r.Kind = "models"
	for _, kind := range []string{"datasets", "models"} {
		if cut, is := strings.CutPrefix(rest, kind+"/"); is {
			r.Kind, rest = kind, cut
			break
		}
	}
	org, rest, two := strings.Cut(rest, "/")
	name, revision, pinned := strings.Cut(org, "@")
	if pinned { // of a repository without ORG
		rest, two = strings.TrimSuffix(revision+"/"+rest, "/"), true
		r.Name = name
	} else if two {
		name, rest, _ = strings.Cut(rest, "/")
		if name, revision, pinned = strings.Cut(name, "@"); pinned {
			rest = strings.TrimSuffix(revision+"/"+rest, "/")
		}
		r.Name, two = org+"/"+name, true
	}
	if !ok || !two || name == "" || org == "" {
		return r, "", fmt.Errorf("%s is not an address of the hub: write hf://datasets/ORG/NAME/PATH", address)
	}
	r.Revision, file = "main", rest
	if pinned {
		if at := special.FindStringIndex(rest); at != nil {
			r.Revision, file = strings.TrimSuffix(rest[:at[1]], "/"), rest[at[1]:]
		} else {
			r.Revision, file, _ = strings.Cut(rest, "/")
		}
		if r.Revision, err = url.PathUnescape(r.Revision); err != nil {
			return r, "", fmt.Errorf("%s: in a revision %%2F stands for a slash and %%25 for a %%: %w", address, err)
		}
		if short, is := strings.CutPrefix(r.Revision, "~"); is { // no branch has a ~ in its name
			r.Revision = "refs/convert/" + short
		}
	}
	file = strings.TrimLeft(file, "/")
	if file != "" && filepath.IsLocal(file) {
		file = path.Clean(file)
	}
	if r.Revision == "" || !filepath.IsLocal(r.Revision) || path.Clean(r.Revision) != r.Revision ||
		!filepath.IsLocal(r.Name) || path.Clean(r.Name) != r.Name || file != "" && !filepath.IsLocal(file) {
		return r, "", fmt.Errorf("%s names no revision or path of a repository", address)
	}
	return r, file, nil
}

// Address is the inverse of Parse.
func (r Repo) Address(file string) string {
	revision, slash := r.Revision, "/"
	if at := special.FindString(revision); at != revision {
		revision = url.PathEscape(revision)
		if special.MatchString(revision + slash + file) { // a branch called refs, and convert/… in it
			slash = "//"
		}
	}
	return "hf://" + r.Kind + "/" + r.Name + "@" + revision + slash + file
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

// api is an address of the hub's API for the repository: a verb, the revision, and a path in the repository or "".
func (r Repo) api(verb, file string) string {
	address := endpoint() + "/api/" + r.Kind + "/" + r.Name + "/" + verb + "/" + url.PathEscape(r.Revision)
	if file != "" {
		address += "/" + escape(file)
	}
	return address
}

// escape escapes each name of a path.
func escape(p string) string {
	names := strings.Split(p, "/")
	for i, n := range names {
		names[i] = url.PathEscape(n)
	}
	return strings.Join(names, "/")
}

// explain says what to do about a repository that the hub does not show.
func (r Repo) explain(err error) error {
	if errors.Is(err, web.ErrDenied) {
		return fmt.Errorf("%w. If %s is gated or private, accept its terms at %s/%s, and set HF_TOKEN to a token "+
			"that may read it", err, r.Name, endpoint(), strings.TrimPrefix(r.Kind+"/", "models/")+r.Name)
	}
	return err
}

// List gives the files that a pattern matches, with the revision pinned to a commit, in order; one whose name the
// pattern is comes alone. A file's ID is the hash of its contents that the hub keeps: another commit that
// leaves it alone does not change it.
func List(ctx context.Context, c *web.Client, address string) ([]web.Entry, error) {
	r, pattern, err := Parse(address)
	if err != nil {
		return nil, err
	}
	if pattern == "" {
		return nil, fmt.Errorf("%s names no file of the repository", address)
	}
	p, err := glob.Parse(pattern)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	given := r
	var files []web.Entry
	if offline() {
		r, files, err = r.listCache()
	} else {
		r, files, err = r.listHub(ctx, c, literal(pattern))
	}
	if errors.Is(err, web.ErrUnreachable) {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", address, err, given.hint(pattern))
	}
	var list []web.Entry
	for _, f := range files {
		e := web.Entry{Address: r.Address(f.Address), ID: f.ID}
		if f.Address == pattern {
			return []web.Entry{e}, nil
		}
		switch p.Match(f.Address) {
		case glob.Hidden:
			if p.Loose() {
				continue
			}
			e.Aside = glob.Aside
		case glob.No:
			continue
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s matches none of the files at revision %s%s",
			address, r.Revision, glob.Hint(pattern)+given.hint(pattern))
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Address < list[j].Address })
	return list, nil
}

// hint says what else an address may have meant.
func (r Repo) hint(pattern string) string {
	if r.Revision != "main" && strings.Contains(pattern, "/") {
		return ". In a revision with slashes, write each as %2F"
	}
	return ""
}

// literal is the folder above the first name of a pattern with a character that means something there: where files lie
// whose names it is or matches. "" is the repository's own.
func literal(pattern string) string {
	dir := path.Dir(pattern)
	for glob.Has(dir) {
		dir = path.Dir(dir)
	}
	if dir == "." {
		return ""
	}
	return dir
}

// listCache lists a snapshot: each file is a link to a blob that is named as the hub names its contents.
func (r Repo) listCache() (Repo, []web.Entry, error) {
	folder, err := r.Folder()
	if err != nil {
		return r, nil, fmt.Errorf("HF_HUB_OFFLINE is set, and revision %s is not in the cache: %w: %w",
			r.Revision, web.ErrUnreachable, err)
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

// listHub lists a folder of the repository with all below it.
func (r Repo) listHub(ctx context.Context, c *web.Client, dir string) (Repo, []web.Entry, error) {
	if !commit.MatchString(r.Revision) {
		body, _, err := c.Get(ctx, r.api("revision", ""), auth())
		if err != nil {
			return r, nil, r.explain(err)
		}
		var answer struct{ SHA string }
		if err := json.Unmarshal(body, &answer); err != nil || !commit.MatchString(answer.SHA) {
			return r, nil, fmt.Errorf("the hub does not say which commit revision %s is", r.Revision)
		}
		r.Revision = answer.SHA
	}
	next := r.api("tree", dir) + "?recursive=true"
	seen := map[string]bool{}
	var files []web.Entry
	for next != "" {
		if seen[next] {
			return r, nil, errors.New("the hub's list of files leads back to a page before")
		}
		seen[next] = true
		body, answer, err := c.Get(ctx, next, auth())
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
func Open(ctx context.Context, c *web.Client, address string) (*web.File, error) {
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
	f, err := c.Open(ctx, endpoint()+"/"+repo+"/resolve/"+url.PathEscape(r.Revision)+"/"+escape(file), auth())
	if err != nil {
		return nil, r.explain(err)
	}
	return f, nil
}
