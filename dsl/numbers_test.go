package dsl

import (
	"os"
	"path/filepath"
	"testing"

	"stepflow/dsl/addr"
)

// decodeText decodes the one optimizer or model of a pipeline given as text.
func decodeText(t *testing.T, text string) *Decoded {
	t.Helper()
	path := filepath.Join(t.TempDir(), "main.hcl")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, diags := Load(path, Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	d, diags := c.NewScope().Decode(c.Blocks[0], &Each{Key: addr.Addr{}.Key})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return d
}

// TestNumbersKeepTheirDigits: numbers that a run tells apart hash and read differently, those that it does not are the same.
func TestNumbersKeepTheirDigits(t *testing.T) {
	for _, x := range []struct {
		attr, a, b string
		same       bool
	}{
		{"learning_rate", "1e-3", "0.0010000004", false},
		{"learning_rate", "1e-3", "0.001", true},
		{"learning_rate", "0.1", "0.1000000000000000055511151231257827", true}, // one float64
		{"learning_rate", "0.1", "0.10000000000000002", false},
		{"weight_decay", "1/3", "0.333333", false},
		{"weight_decay", "1/3", "0.3333333333333333", true},
		{"max_grad_norm", "1234567", "1234568", false},
		{"max_grad_norm", "1234567.1", "1234567.2", false},
		{"betas", "[0.9, 0.95]", "[0.9, 0.9500001]", false},
		{"betas", "[0.9, 0.999]", "[0.9, 0.9990000000000000001]", true},
	} {
		rest := ""
		if x.attr != "learning_rate" {
			rest = "learning_rate = 1\n"
		}
		a := decodeText(t, "optimizer \"adamw\" \"o\" {\n"+rest+x.attr+" = "+x.a+"\n}\n")
		b := decodeText(t, "optimizer \"adamw\" \"o\" {\n"+rest+x.attr+" = "+x.b+"\n}\n")
		if same := a.Fingerprint()[x.attr] == b.Fingerprint()[x.attr]; same != x.same {
			t.Errorf("%s = %s and %s hash as %s and %s", x.attr, x.a, x.b, a.Fingerprint()[x.attr], b.Fingerprint()[x.attr])
		}
		if same := a.Flat()[x.attr] == b.Flat()[x.attr]; same != x.same {
			t.Errorf("%s = %s and %s read %s and %s", x.attr, x.a, x.b, a.Flat()[x.attr], b.Flat()[x.attr])
		}
	}
	// Inside an object too.
	rope := func(factor string) string {
		return decodeText(t, "model \"llama\" \"m\" {\nrope_scaling = { rope_type = \"llama3\", factor = "+factor+" }\n}\n").Fingerprint()["rope_scaling"]
	}
	if rope("8.0000001") == rope("8.0000002") || rope("8.1") != rope("81/10") {
		t.Errorf("rope_scaling hashes as %s, %s, %s and %s", rope("8.0000001"), rope("8.0000002"), rope("8.1"), rope("81/10"))
	}
}

// TestDefaultWrittenOut: a default that is given is no other configuration.
func TestDefaultWrittenOut(t *testing.T) {
	d := decodeText(t, "optimizer \"adamw\" \"o\" {\nlearning_rate = 1\nbetas = [0.9, 0.95]\neps = 1e-8\nweight_decay = 0.1\nmax_grad_norm = 1.0\n}\n")
	if f := d.Fingerprint(); len(f) != 1 {
		t.Errorf("hashed: %v", f)
	}
}
