package dsl

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
)

// Texts holds the texts of files that stand for what lies on disk, such as those of an editor that are not saved yet,
// by path as Load joins it of a folder and a name. A file may be among them alone.
type Texts map[string][]byte

// read returns the text of a file: the one in memory, if there is one, or the one on disk.
func (t Texts) read(path string) ([]byte, hcl.Diagnostics) {
	src, ok := t[path]
	if !ok {
		return readBytes(path)
	}
	if len(src) > MaxSource {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unreadable file",
			Detail: fmt.Sprintf("%s has more than %s.", path, FormatBytes(MaxSource))}}
	}
	return src, nil
}
