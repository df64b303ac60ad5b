package stepflow

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const operatorRecord = "testdata/operators.txt"

const operatorHeader = `# What decides bits, a line a package: its name, a hash of its declarations, the
# operatorVersion it was recorded with, and why that version is right. TestOperatorVersion
# compares it with the sources, and says how to write it.
`

var (
	update = flag.Bool("update", false, "TestOperatorVersion: write "+operatorRecord)
	why    = flag.String("why", "", "TestOperatorVersion: why what was changed leaves the bits as they are")
)

// operators is a line of the record.
type operators struct {
	hash    string
	version int
	why     string
}

// TestOperatorVersion fails where something that decides bits is not what it was when its operatorVersion was recorded.
func TestOperatorVersion(t *testing.T) {
	version, file := operatorVersion(t)
	old, now := readRecord(t), hashOperators(t)
	changed, raised := judge(old, now, version)
	const command = "go test -run TestOperatorVersion . -update"
	switch {
	case len(changed) == 0:
	case *update && (raised || *why != ""):
		writeRecord(t, old, now, changed, version)
	case raised:
		t.Errorf("operatorVersion is %d now, and changed are %v; record it: %s", version, changed, command)
	default:
		t.Errorf("what decides bits changed: %v. If it makes other bits, raise operatorVersion in %s, so that trained "+
			"blocks run again, then %[3]s. If it makes the same, %[3]s -why \"a sentence that says why\"",
			changed, file, command)
	}
}

// judge lists the groups whose hash is not the recorded one, those that came and went among them, and reports whether
// the version was raised since anything was recorded.
func judge(old map[string]operators, now map[string]string, version int) (changed []string, raised bool) {
	raised = true
	for group, was := range old {
		raised = raised && version > was.version
		if was.hash != now[group] {
			changed = append(changed, group)
		}
	}
	for group := range now {
		if _, ok := old[group]; !ok {
			changed = append(changed, group)
		}
	}
	slices.Sort(changed)
	return changed, raised
}

func TestJudge(t *testing.T) {
	old := map[string]operators{"a": {"1", 5, ""}, "b": {"2", 4, ""}}
	for _, c := range []struct {
		now     map[string]string
		version int
		changed string
		raised  bool
	}{
		{map[string]string{"a": "1", "b": "2"}, 5, "[]", false},
		{map[string]string{"a": "1", "b": "3"}, 5, "[b]", false}, // though b was recorded with an older version
		{map[string]string{"a": "1", "b": "3"}, 6, "[b]", true},
		{map[string]string{"a": "1", "c": "2"}, 5, "[b c]", false},
	} {
		changed, raised := judge(old, c.now, c.version)
		if fmt.Sprint(changed) != c.changed || raised != c.raised {
			t.Errorf("%v at version %d: changed are %v, raised %t", c.now, c.version, changed, raised)
		}
	}
}

// operatorVersion is the constant's value, and the file that has it.
func operatorVersion(t *testing.T) (version int, file string) {
	t.Helper()
	constant := regexp.MustCompile(`\boperatorVersion\s*=\s*"(\d+)"`)
	for _, name := range files(t, "runtime") {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range constant.FindAllSubmatch(b, -1) {
			if file != "" {
				t.Fatalf("operatorVersion is set in %s and in %s", file, name)
			}
			file = name
			if version, err = strconv.Atoi(string(m[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if file == "" {
		t.Fatal("no file below runtime sets operatorVersion")
	}
	return version, file
}

func readRecord(t *testing.T) map[string]operators {
	t.Helper()
	record := map[string]operators{}
	b, err := os.ReadFile(operatorRecord)
	if err != nil && !(*update && errors.Is(err, fs.ErrNotExist)) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(f) < 4 {
			t.Fatalf("%s: %q is not a group, a hash, a version and a sentence", operatorRecord, line)
		}
		version, err := strconv.Atoi(f[2])
		if err != nil {
			t.Fatalf("%s: %q: %v", operatorRecord, line, err)
		}
		record[f[0]] = operators{f[1], version, f[3]}
	}
	return record
}

func writeRecord(t *testing.T, old map[string]operators, now map[string]string, changed []string, version int) {
	t.Helper()
	because := *why
	if because == "" {
		because = fmt.Sprintf("version %d", version)
	}
	b := bytes.NewBufferString(operatorHeader)
	for _, group := range slices.Sorted(maps.Keys(now)) {
		line := old[group]
		if slices.Contains(changed, group) {
			line = operators{now[group], version, strings.Join(strings.Fields(because), " ")}
		}
		fmt.Fprintf(b, "%s %s %d %s\n", group, line.hash, line.version, line.why)
	}
	if err := os.WriteFile(operatorRecord, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
