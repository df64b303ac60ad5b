package all

import (
	"os"
	"testing"

	"stepflow/dsl"
)

// TestReferencePageIsCurrent: the page shows the language with the types that packages of blocks add.
func TestReferencePageIsCurrent(t *testing.T) {
	b, err := os.ReadFile("../../../docs/language.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != dsl.Reference(Identities()) {
		t.Error("docs/language.md is not what the tables and examples say: run make generate")
	}
}

// TestEveryKindIsPlanned: each kind of the language that is planned has a row here, and no other.
func TestEveryKindIsPlanned(t *testing.T) {
	for _, k := range dsl.Kinds {
		_, planned := Kinds[k.Name]
		if want := k.Name != "output" && k.Name != "telemetry"; planned != want {
			t.Errorf("%s is planned: %t", k.Name, planned)
		}
	}
	if len(Kinds) != len(dsl.Kinds)-2 {
		t.Errorf("%d kinds are planned, and the language has %d", len(Kinds), len(dsl.Kinds))
	}
}
