package fineweb

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"stepflow/fineweb/web"
)

// Content says what a file holds, so that it is known again under another name and in another place.
type Content struct {
	Address string
	keys    []string // whatever else has one of them holds the same
}

// ContentOf is what a file holds by its name alone, where nothing else is known of it.
func ContentOf(address string) Content {
	return Content{address, []string{"file " + sameFile(address)}}
}

var tagInID = regexp.MustCompile(`^\d+ "(.+)"$`)

// contentKey is one for equal contents wherever they lie: the hub names large files by their SHA-256, as we do those on
// disk, and many servers give that as the entity tag. "" where an id does not stand for contents.
func contentKey(id string) string {
	tag := tagInID.FindStringSubmatch(id)
	switch {
	case sha256Name.MatchString(id):
		return "sha256 " + id
	case gitName.MatchString(id):
		return "git " + id
	case tag != nil && sha256Name.MatchString(tag[1]):
		return "sha256 " + tag[1]
	case tag != nil:
		return "tag " + id
	}
	return ""
}

// Shared is the first file of a list that holds the same as one of another list, or a part of it as one sample of
// FineWeb does of another; "" where there is none.
func Shared(of, with []Content) (file string) {
	has := map[string]bool{}
	samples := map[string]bool{}
	for _, w := range with {
		for _, k := range w.keys {
			has[k] = true
		}
		if s := sampleOf(w.Address); s != "" {
			samples[s] = true
		}
	}
	for _, o := range of {
		mine := sampleOf(o.Address)
		if slices.ContainsFunc(o.keys, func(k string) bool { return has[k] }) || mine != "" && len(samples) > 0 &&
			!(len(samples) == 1 && samples[mine]) {
			return o.Address
		}
	}
	return ""
}

// Copies tells of files that hold the same bytes.
func Copies(list []Content) (notes []string) {
	first := map[string]string{}
	for _, c := range list {
		for _, k := range c.keys {
			if before, ok := first[k]; ok {
				notes = append(notes,
					fmt.Sprintf("%s and %s hold the same bytes: each of their documents is read twice",
						Shown(before), Shown(c.Address)))
				break
			}
			first[k] = c.Address
		}
	}
	return few(notes)
}

// FineWeb and FineWeb-Edu lie in folders by size. Each sample is drawn from the next larger one, and that from all
// crawls, so files of two different folders share documents, under the same ids; those of one folder do not.
var fineWebFolder = regexp.MustCompile(`(?i)(fineweb[\w-]*)[^/]*(?:/[^/]+)*?/(sample/\d+BT|data/CC-MAIN-[^/]+)/`)

// sampleOf is the folder of FineWeb that a file lies in; "" for other files. Crawls are one: they share no documents
// with each other.
func sampleOf(address string) string {
	if web.Is(address) {
		if u, err := url.Parse(address); err == nil {
			address = u.Path
		}
	}
	m := fineWebFolder.FindStringSubmatch(address)
	if m == nil {
		return ""
	}
	folder, _, _ := strings.Cut(m[2], "/CC-MAIN")
	return strings.ToLower(m[1] + " " + folder)
}

// SameSplit reports whether what a holds out is held out of b too, where both read the same documents: by the same ids,
// and as large a share or a larger one.
func SameSplit(a, b *Source) bool {
	return b.ValidationFraction >= a.ValidationFraction && a.TextColumn == b.TextColumn && a.IDColumn == b.IDColumn &&
		a.Separator == b.Separator &&
		(named(a.Format) == named(b.Format) && named(a.Format) || a.Format == b.Format &&
			slices.Equal(a.Patterns, b.Patterns))
}

// named reports whether documents of a format have ids of their own, which do not depend on where they stand.
func named(format string) bool { return format != "text" && format != "bin" }

// Apart reports whether no row that a's filters keep is kept by b's: they ask for other languages or crawls.
func Apart(a, b *Source) bool {
	return differ(a.Languages, b.Languages) || differ(a.Dumps, b.Dumps)
}

func differ(a, b []string) bool {
	return len(a) > 0 && len(b) > 0 && !slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}
