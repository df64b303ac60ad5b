package dsl

import (
	"math"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

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

// TestDefaultWrittenOut: a default that is written out is the same configuration.
func TestDefaultWrittenOut(t *testing.T) {
	d := decodeText(t, "optimizer \"adamw\" \"o\" {\nlearning_rate = 1\nbetas = [0.9, 0.95]\neps = 1e-8\nweight_decay = 0.1\nmax_grad_norm = 1.0\n}\n")
	if f := d.Fingerprint(); len(f) != 1 {
		t.Errorf("hashed: %v", f)
	}
}

// eachAttr calls f for every attribute of the language.
func eachAttr(f func(name string, a Attr)) {
	var nested func(prefix string, list []Nested)
	nested = func(prefix string, list []Nested) {
		for _, n := range list {
			for _, a := range n.Attrs {
				f(prefix+n.Name+"."+a.Name, a)
			}
			nested(prefix+n.Name+".", n.Blocks)
		}
	}
	for _, k := range Kinds {
		for _, a := range k.Attrs {
			f(k.Name+"."+a.Name, a)
		}
		nested(k.Name+".", k.Blocks)
	}
}

// TestNumbersHaveRanges: nothing absurd gets past the table, and each bound is tested from both sides.
func TestNumbersHaveRanges(t *testing.T) {
	n := 0
	eachAttr(func(name string, a Attr) {
		if a.Type != cty.Number && a.Type != cty.List(cty.Number) {
			return
		}
		n++
		if a.Min == nil && a.Above == nil || a.Max == nil && a.Below == nil {
			t.Errorf("%s has no range", name)
			return
		}
		try := func(f *big.Float, right bool) {
			t.Helper()
			v := cty.NumberVal(f)
			if a.Type != cty.Number {
				v = cty.ListVal([]cty.Value{v})
			}
			if _, problem := a.check(v, a.Type, false); (problem == "") != right {
				t.Errorf("%s = %s: %q", name, f.Text('g', 10), problem)
			}
			if _, problem := a.check(v, a.Type, true); (problem == "") != right || strings.Contains(problem, " is "+Show(cty.NumberVal(f))) {
				t.Errorf("%s = %s, sensitive: %q", name, f.Text('g', 10), problem)
			}
		}
		step := 1e-9
		if a.Whole {
			step = 1
		}
		beside := func(x, by float64) *big.Float {
			return new(big.Float).SetPrec(200).Add(big.NewFloat(x), new(big.Float).SetPrec(200).Mul(big.NewFloat(by), big.NewFloat(max(step, step*math.Abs(x)))))
		}
		if a.Whole {
			beside = func(x, by float64) *big.Float {
				return new(big.Float).SetPrec(200).Add(big.NewFloat(x), big.NewFloat(by))
			}
		}
		for _, x := range []struct {
			bound    *float64
			in       float64 // the direction in which values are right
			included bool
		}{{a.Min, 1, true}, {a.Above, 1, false}, {a.Max, -1, true}, {a.Below, -1, false}} {
			if x.bound != nil {
				try(beside(*x.bound, -x.in), false)
				try(beside(*x.bound, x.in), true)
				try(big.NewFloat(*x.bound), x.included)
			}
		}
		for _, text := range []string{"1e400", "-1e400", "1e999999999"} {
			f, _, err := big.ParseFloat(text, 10, 512, big.ToNearestEven)
			if err != nil {
				t.Fatal(err)
			}
			try(f, false)
		}
	})
	if n < 40 {
		t.Errorf("only %d numbers were found", n)
	}
}

// TestNullElements: a list is not given with holes.
func TestNullElements(t *testing.T) {
	eachAttr(func(name string, a Attr) {
		if !a.Type.Equals(strings_) {
			return
		}
		if _, problem := a.check(cty.TupleVal([]cty.Value{cty.StringVal("x"), cty.NullVal(cty.String)}), a.Type, false); !strings.Contains(problem, a.Name+"[1] is null") {
			t.Errorf("%s: %q", name, problem)
		}
	})
}

// TestExportsNameTheirAttributes: what an export reveals is in the table.
func TestExportsNameTheirAttributes(t *testing.T) {
	known := map[string]bool{}
	eachAttr(func(name string, _ Attr) { known[name] = true })
	for _, k := range Kinds {
		for _, e := range k.Exports {
			for _, from := range e.From {
				if !known[k.Name+"."+from] {
					t.Errorf("%s of %s is made from %s, which is not an attribute", e.Name, k.Name, from)
				}
			}
		}
	}
}

// TestEmptyLists asks of every list whether it may be empty: where that says something, leaving it out says something else.
func TestEmptyLists(t *testing.T) {
	may := map[string]bool{
		"module.depends_on":  true, // nothing comes before
		"stage.freeze":       true, // nothing is frozen
		"optimizer.no_decay": true, // everything decays
		"optimizer.betas":    true, // takes two
		"output.depends_on":  true, // after nothing
	}
	var each func(name string, attrs []Attr, blocks []Nested)
	each = func(name string, attrs []Attr, blocks []Nested) {
		for _, a := range attrs {
			if list := a.Type != cty.NilType && a.Type.IsListType(); list && a.Filled == may[name+"."+a.Name] {
				t.Errorf("%s.%s: Filled is %t", name, a.Name, a.Filled)
			}
			if !a.Filled {
				continue
			}
			empty, want := cty.EmptyTupleVal, " is an empty list: give at least one value"
			if !a.Required {
				want += ", or leave it out"
			}
			if _, problem := a.check(empty, a.Type, false); problem != a.Name+want+"." {
				t.Errorf("%s.%s = []: %q", name, a.Name, problem)
			}
			one := cty.StringVal("x")
			if a.Type.Equals(cty.List(strings_)) {
				one = cty.TupleVal([]cty.Value{one})
			}
			if _, problem := a.check(cty.TupleVal([]cty.Value{one}), a.Type, false); problem != "" {
				t.Errorf("%s.%s = [%#v]: %q", name, a.Name, one, problem)
			}
		}
		for _, b := range blocks {
			each(name+"."+b.Name, b.Attrs, b.Blocks)
		}
	}
	for _, list := range [][]Kind{Meta, Kinds} {
		for _, k := range list {
			each(k.Name, k.Attrs, k.Blocks)
		}
	}
}
