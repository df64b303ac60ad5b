package dsl

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// nearest is Suggest for a name in an expression, where a difference may be read as one name: HCL takes stages-1 for a name, and
// stages - 1 for a difference.
func nearest(given string, names []string) string {
	for i := strings.LastIndexByte(given, '-'); i > 0; i = strings.LastIndexByte(given[:i], '-') {
		if slices.Contains(names, given[:i]) {
			return difference(given[:i], given[i+1:])
		}
	}
	return Suggest(given, names)
}

// difference says how to subtract.
func difference(a, b string) string {
	return fmt.Sprintf(" A name may contain a minus, so a difference needs spaces around it: %s - %s.", a, b)
}

// subtracted is difference for a name none of whose parts is known; "" for a name without a minus.
func subtracted(given string) string {
	if a, b, ok := strings.Cut(given, "-"); ok && a != "" && b != "" {
		return difference(a, b)
	}
	return ""
}

// noElement finds the name in HCL's errors about an object or a map that does not have it.
var noElement = regexp.MustCompile(`does not have an (?:attribute named|element with the key) "([^"]+)"`)

// explainMinus adds to such errors how to subtract, where the name contains a minus.
func explainMinus(diags hcl.Diagnostics) {
	for _, d := range diags {
		if x := noElement.FindStringSubmatch(d.Detail); x != nil {
			if hint := subtracted(x[1]); hint != "" {
				d.Detail = adds(d, hint)
			}
		}
	}
}
