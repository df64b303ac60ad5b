package runtime

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
)

func finite(x float64) bool { return metrics.Word(x) == "" }

// Values of a block that say what is wrong with the others.
const (
	valueNotFinite = "not_finite" // name → the word for a number that JSON has none for; the value itself is null
	valueDiagnosis = "diagnosis"  // a sentence: where that comes from
)

// writable replaces the numbers that JSON has no word for by null, with the word beside them.
func writable(values map[string]any) map[string]any {
	words := map[string]any{}
	for name, v := range values {
		if x, ok := v.(float64); ok && !finite(x) {
			words[name], values[name] = metrics.Word(x), nil
		}
	}
	if len(words) > 0 {
		values[valueNotFinite] = words
	}
	return values
}

// notDefined says why a measure is null where the loss is a number: what it is counted by is not there.
var notDefined = map[string]string{
	"word_perplexity": "the text that was measured has no words",
	"bits_per_byte":   "the tokens that were measured spell no bytes",
}

// diagnosisOf is what a block's values say is wrong with them; "" for nothing.
func diagnosisOf(values map[string]any) string {
	s, _ := values[valueDiagnosis].(string)
	return s
}

// nullOf says why values of a block are null; "" where none is.
func nullOf(values map[string]any) string {
	if s := diagnosisOf(values); s != "" {
		return s
	}
	var names []string
	words, _ := values[valueNotFinite].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch word, ok := words[name]; {
		case ok:
			names = append(names, fmt.Sprintf("%s is %v", name, word))
		case values[name] == nil:
			why := "is not known"
			if s := notDefined[name]; s != "" {
				why = "is not defined: " + s
			}
			names = append(names, name+" "+why)
		}
	}
	return strings.Join(names, ", ")
}

// FlawedError ends a run whose blocks have all run and are recorded, where evaluations gave NaN or infinity or outputs have no value.
// Outputs that have one are recorded too.
type FlawedError struct {
	Blocks  []string        // what is wrong with the results of evaluations, in this run or an earlier one
	Outputs hcl.Diagnostics // why outputs have no value
}

func (e *FlawedError) Error() string {
	text := slices.Clone(e.Blocks)
	for _, d := range e.Outputs {
		text = append(text, d.Error())
	}
	return strings.Join(text, "\n")
}

// flawed is the error of a run that came to its end; nil if nothing is wrong with it.
func (r *runner) flawed(outputs hcl.Diagnostics) error {
	e := &FlawedError{Outputs: outputs}
	for _, a := range r.plan.Actions {
		if b := r.dir.State.Blocks[a.Addr.String()]; a.Evaluate != nil && b != nil && b.Status == state.Done {
			if s := diagnosisOf(b.Values); s != "" {
				e.Blocks = append(e.Blocks, fmt.Sprintf("%s: %s", a.Addr, s))
			}
		}
	}
	if len(e.Blocks) == 0 && len(outputs) == 0 {
		return nil
	}
	return e
}

// ofNothing adds to errors which blocks gave null to the expression that failed; it reports whether all of them are about that. The
// expressions are those of block b, or of the local named where b is nil.
func (p *planner) ofNothing(b *dsl.Block, local string, diags hcl.Diagnostics) bool {
	all := false
	real := false
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		gave := p.gaveNull(p.scope.NullReads(d, b, local))
		if len(gave) == 0 {
			real = true
			continue
		}
		all = true
		if told := " " + strings.Join(gave, " "); !strings.HasSuffix(d.Detail, told) { // a local keeps its errors
			d.Detail += told
		}
	}
	return all && !real
}

// gaveNull says of the blocks whose results are null where they are read that they are, and why, in sentences.
func (p *planner) gaveNull(reads []dsl.NullRead) (gave []string) {
	for _, a := range p.done {
		if a.found != nil && slices.ContainsFunc(reads, func(r dsl.NullRead) bool { return a.givesNull(r) }) {
			gave = append(gave, fmt.Sprintf("%s gave null instead of a number: %s.", a.Addr, nullOf(a.found.Values)))
		}
	}
	slices.Sort(gave)
	return gave
}

// givesNull reports whether what is read of a block is, in the result of this instance of it, null.
func (a *Action) givesNull(r dsl.NullRead) bool {
	if r.Block != a.Addr.Block() {
		return false
	}
	path := r.Path
	if a.Addr.Key != "" && len(path) > 0 { // the key of an instance comes first
		if i, ok := path[0].(hcl.TraverseIndex); ok && a.Addr.Key != keyOf(i.Key) {
			return false
		}
		path = path[1:]
	}
	name := ""
	if len(path) > 0 {
		switch x := path[0].(type) {
		case hcl.TraverseAttr:
			name = x.Name
		case hcl.TraverseIndex:
			if x.Key.Type() == cty.String {
				name = x.Key.AsString()
			}
		}
	}
	for n, v := range a.found.Values {
		if v == nil && (name == "" || name == n) {
			return true
		}
	}
	return false
}

// keyOf is the key of an instance as an address has it, from what an expression names it by.
func keyOf(v cty.Value) string {
	if v, _ = v.Unmark(); v.Type() == cty.String {
		return addr.StringKey(v.AsString())
	}
	return dsl.Show(v)
}

// flaw is what is not finite in a tensor.
type flaw struct {
	name   string
	shape  gpu.Shape
	count  int
	first  int // its place
	word   string
	others int // further tensors with such values
}

// String says it in a sentence's words; "" where all is finite.
func (f *flaw) String() string {
	if f == nil || f.count == 0 {
		return ""
	}
	s := fmt.Sprintf("%s holds %d non-finite values of %d, the first of them %s at %s", f.name, f.count, f.shape.Elems(), f.word, f.shape.Place(f.first))
	if f.count == 1 {
		s = fmt.Sprintf("%s holds 1 non-finite value of %d, %s at %s", f.name, f.shape.Elems(), f.word, f.shape.Place(f.first))
	}
	switch {
	case f.others == 1:
		s += "; so does 1 other tensor"
	case f.others > 1:
		s += fmt.Sprintf("; so do %d other tensors", f.others)
	}
	return s
}

// look notes what is not finite in a tensor: of the first such tensor in full, of others their number.
func (f *flaw) look(name string, shape gpu.Shape, v []float32) {
	found := flaw{name: name, shape: shape}
	for i, x := range v {
		if x-x != 0 { // NaN of NaN and of infinity
			if found.count++; found.count == 1 {
				found.first, found.word = i, metrics.Word(float64(x))
			}
		}
	}
	switch {
	case found.count == 0:
	case f.count == 0:
		*f = found
	default:
		f.others++
	}
}

// tensors is where weights are read from.
type tensors interface {
	Float32(name string) ([]float32, error)
}

// watched looks for values that are not finite in the tensors that are read.
type watched struct {
	tensors
	shapes map[string]gpu.Shape
	as     gpu.DType // in which they are looked at
	flaw   flaw
}

func watch(from tensors, params []ops.Param, as gpu.DType) *watched {
	w := &watched{tensors: from, shapes: map[string]gpu.Shape{}, as: as}
	for _, p := range params {
		w.shapes[p.Name] = p.Shape
	}
	return w
}

func (w *watched) Float32(name string) ([]float32, error) {
	v, err := w.tensors.Float32(name)
	if shape, ok := w.shapes[name]; ok && err == nil {
		seen := v
		if w.as == gpu.BF16 { // the largest of float32 become infinite
			seen = gpu.BytesFloat32(gpu.Float32Bytes(v, gpu.BF16), gpu.BF16)
		}
		w.flaw.look(name, shape, seen)
		delete(w.shapes, name) // once
	}
	return v, err
}

// firstNonFinite runs the launches of a segment one by one and names the first output that is not finite; "" if all are.
func firstNonFinite(l gpu.Loaded, p *gpu.Program, segment string) (string, error) {
	seg, _ := p.Segment(segment)
	for n := seg.Lo; n < seg.Hi; n++ {
		if err := l.Run(n, n+1, false); err != nil {
			return "", err
		}
		x := &p.Launches[n]
		for o, out := range x.Out {
			if out.Type.DType != gpu.F32 && out.Type.DType != gpu.BF16 {
				continue
			}
			raw := make([]byte, out.Type.Bytes())
			if err := l.CopyOut(raw, out); err != nil {
				return "", err
			}
			var f flaw
			f.look(fmt.Sprintf("output %d of %s at %s (%s)", o, x.Kernel, x.Name, x.Phase), out.Type.Shape, gpu.BytesFloat32(raw, out.Type.DType))
			if f.count > 0 {
				return f.String(), nil
			}
		}
	}
	return "", nil
}

// nonFinite finds the first tensor of the step that is not finite by running its launches one by
// one: the weights were not changed, so the step can be repeated.
func (r *runner) nonFinite(a *Action, t *trainer, b *fineweb.Batch, step int, loss, norm float64, root string) error {
	where := "none was found when the step was repeated"
	err := t.cut(r.ctx, func() error {
		w, err := t.firstNonFinite(b)
		if w != "" {
			where = w
		}
		return err
	})
	if err != nil {
		where = fmt.Sprintf("not found (%v)", err)
	}
	do := "Lower the learning rate"
	if s := t.stage; s.Init != "" && step == 1 {
		do = fmt.Sprintf("No step was taken before it, so it is not the learning rate: look at the weights in %s", s.Init)
	}
	return fmt.Errorf("step %d: loss is %s and gradient norm %s; the first tensor that is not finite: %s; %s. Its batch: %s. %s, look at the data, or set on_nonfinite = \"skip\"",
		step, metrics.Text(loss), metrics.Text(norm), where, goesOn(root), batchOf(a, b, step), do)
}

// goesOn says from where a run goes on that failed.
func goesOn(root string) string {
	if steps, err := checkpoint.Steps(root); err == nil && len(steps) > 0 {
		return fmt.Sprintf("the checkpoint at step %d is kept", steps[0])
	}
	return "there is no checkpoint before it"
}

// weightFlaw looks for weights on the device that are not finite.
func (t *trainer) weightFlaw() (f flaw, err error) {
	for _, p := range t.stage.All() {
		v, err := t.get(p.ID)
		if err != nil {
			return f, err
		}
		f.look(p.Name, p.Shape, v)
	}
	return f, nil
}

func (t *trainer) firstNonFinite(b *fineweb.Batch) (string, error) {
	s := t.stage
	if f, err := t.weightFlaw(); err != nil || f.count > 0 {
		return f.String(), err
	}
	if err := t.run(segZero); err != nil {
		return "", err
	}
	for i := 0; i < s.MicroSteps(); i++ {
		if err := feed(t.loaded, s.Program, b, i*s.Micro, s.Micro, s.Seq); err != nil {
			return "", err
		}
		if where, err := firstNonFinite(t.loaded, s.Program, segMicro); where != "" || err != nil {
			return where, err
		}
	}
	return "", nil
}

// unsound is the error of a stage whose result gives no finite loss on the batch in the input buffers, after what was done last;
// nil for one that does. The weights of such a stage are of no use, and an earlier checkpoint may be.
func (t *trainer) unsound(after string, loss float64, root string) error {
	if finite(loss) {
		return nil
	}
	f, err := t.weightFlaw()
	if err != nil {
		return err
	}
	where := f.String()
	if where == "" {
		if where, err = firstNonFinite(t.loaded, t.stage.Program, segProbe); err != nil {
			return err
		}
	}
	if where == "" {
		where = "none was found when the batch was repeated"
	}
	return fmt.Errorf("after %s the loss on the next micro-batch is %s; the first tensor that is not finite: %s; %s. Lower the learning rate, or look at the data", after, metrics.Text(loss), where, goesOn(root))
}

// firstBad is the first number of a list that is not finite, 0 if all are.
func firstBad(v []float32) float64 {
	for _, x := range v {
		if x-x != 0 {
			return float64(x)
		}
	}
	return 0
}
