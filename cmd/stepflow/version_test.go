package main

import (
	"os"
	"regexp"
	"runtime/debug"
	"testing"
)

// TestVersionIsTheChangelogs holds the constant to the newest heading that names a version and its date.
func TestVersionIsTheChangelogs(t *testing.T) {
	text, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(string(text), -1)
	if len(headings) < 2 || headings[0][1] != "Unreleased" {
		t.Fatalf("the headings of CHANGELOG.md are %q, want Unreleased and then the versions", headings)
	}
	release := regexp.MustCompile(`^(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$`)
	for i, h := range headings[1:] {
		switch m := release.FindStringSubmatch(h[1]); {
		case m == nil:
			t.Errorf("heading %q is not a version and its date, such as 0.1.0 (2026-11-25)", h[1])
		case i == 0 && m[1] != Version:
			t.Errorf("Version is %s, and the newest version in CHANGELOG.md is %s", Version, m[1])
		}
	}
}

func TestVersionNamesTheCommit(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	revision, modified := debug.BuildSetting{Key: "vcs.revision", Value: commit}, debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for _, c := range []struct {
		settings []debug.BuildSetting
		want     string
	}{
		{nil, Version},
		{[]debug.BuildSetting{revision}, Version + "+0123456789ab"},
		{[]debug.BuildSetting{revision, modified}, Version + "+0123456789ab.modified"},
	} {
		if got := buildOf(c.settings).String(); got != c.want {
			t.Errorf("%v: %s, want %s", c.settings, got, c.want)
		}
	}
}
