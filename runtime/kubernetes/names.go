package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Labels of all objects, and annotations of a Job.
const (
	partOf    = "app.kubernetes.io/part-of"
	managedBy = "app.kubernetes.io/managed-by"
	instance  = "app.kubernetes.io/instance" // the Job
	ofBlock   = "stepflow/block"
	ofRecipe  = "stepflow/recipe" // the first characters of it, which are enough to find it by
	fullBlock = "stepflow/address"
	deviceHas = "stepflow/device-bytes"
	hostHas   = "stepflow/host-bytes"
)

// Longest names: of a Job, whose pods have a number and a random suffix behind it in names that a label holds, and of a label.
const (
	longestName  = 48
	longestLabel = 63
	digits       = 8
)

// label is a text as a label of DNS (RFC 1123): small letters, digits and hyphens.
func label(s string) string { return bounded(s, longestName) }

func bounded(s string, most int) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if n := b.Len(); n > 0 && b.String()[n-1] != '-' {
			b.WriteByte('-')
		}
	}
	text := strings.Trim(b.String(), "-")
	if len(text) > most {
		text = strings.Trim(text[:most-digits-1], "-") + "-" + hash(s)
	}
	if text == "" {
		return "x-" + hash(s)
	}
	return text
}

// hash is a short hash of a text.
func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])[:digits]
}
