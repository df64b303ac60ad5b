package tokenizer

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDifferential compares with ids that tools/parity/tokenizers_diff.py wrote to the folder STEPFLOW_TOKENIZERS_DIFF names.
func TestDifferential(t *testing.T) {
	dir := os.Getenv("STEPFLOW_TOKENIZERS_DIFF")
	if dir == "" {
		t.Skip("STEPFLOW_TOKENIZERS_DIFF names no folder")
	}
	b, err := os.ReadFile(filepath.Join(dir, "lines.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	if err := json.Unmarshal(b, &lines); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.ids"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of ids, %v", len(files), err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(f, ".ids")
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			tok, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			ids, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			bad := 0
			for i, line := range lines {
				n := int(binary.LittleEndian.Uint32(ids))
				want := make([]int32, n)
				for j := range want {
					want[j] = int32(binary.LittleEndian.Uint32(ids[4+4*j:]))
				}
				ids = ids[4+4*n:]
				if got, err := tok.Encode(nil, line); err != nil || !slices.Equal(got, want) {
					if bad++; bad <= 5 {
						t.Errorf("line %d %q:\n%v, tokenizers gives\n%v", i, line, got, want)
					}
				}
			}
			t.Logf("%d of %d lines differ", bad, len(lines))
		})
	}
}
