package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/fineweb/hub"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/ops"
	"stepflow/ops/llama"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/train"
)

// modelFolder resolves the from of a model: a path, or hf://ORG/NAME[@REVISION] in the cache that
// Hugging Face's tools keep (HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub).
func (p *planner) modelFolder(from string) (string, error) {
	if !hub.Is(from) {
		if strings.Contains(from, "://") {
			return "", fmt.Errorf("%s cannot be fetched: give a folder, or hf://ORG/NAME of a model that was downloaded", from)
		}
		return p.relative(from), nil
	}
	repo, _, err := hub.Parse(from)
	if err != nil {
		return "", err
	}
	folder, err := repo.Folder()
	if err != nil {
		return "", fmt.Errorf("%s is not in the cache (%w), and models are not downloaded: run \"hf download %s\", or give a folder", from, err, repo.Name)
	}
	return folder, nil
}

// importModel reads the folder of a model and checks, before anything of the size that config.json claims is made, that all
// in it which makes the model's numbers is there and has its place here: settings, tensors, nothing besides.
func (p *planner) importModel(a *Action, m *Model, given llama.Config, d *dsl.Decoded) hcl.Diagnostics {
	unreadable := func(err error) hcl.Diagnostics { return problem(d, "from", "Unreadable model", err) }
	if err := checkFolder(m.Folder); err != nil {
		return unreadable(err)
	}
	path := filepath.Join(m.Folder, checkpoint.ConfigFile)
	b, err := foreign.ReadFile(path, llama.MaxConfigBytes)
	if err != nil {
		return unreadable(err)
	}
	var notes []llama.Note
	if m.Config, notes, err = llama.ParseConfig(b); err != nil {
		return unreadable(fmt.Errorf("reading %s: %w", path, err))
	}
	var diags hcl.Diagnostics
	c := m.Config
	for _, f := range llama.Fields {
		if d.Has(f.Name) && !f.Same(given, c) {
			text := fmt.Sprintf("%s is %s here and %s in %s. Leave it out, or start from another folder.", f.Name, f.Show(given), f.Show(c), path)
			for _, n := range notes {
				if n.Key == f.Name {
					text += " " + upper(n.Text) + "."
				}
			}
			diags = append(diags, d.Error(f.Name, "Another architecture", text))
		}
	}
	if diags.HasErrors() {
		return diags
	}
	for _, n := range notes {
		a.Warnings = append(a.Warnings, fmt.Sprintf("%s: %s", path, n.Text))
	}
	f, err := checkpoint.OpenFolder(m.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.Join(err, otherWeights(m.Folder))
	}
	if err != nil {
		return unreadable(err)
	}
	defer f.Close()
	if err := checkTensors(f, c, path); err != nil {
		return problem(d, "from", "Another architecture", err)
	}
	if m.hash, err = fineweb.Identity(p.ctx, append(f.Files(), path), p.hashing); err != nil {
		return unreadable(err)
	}
	return nil
}

// holds reports whether there is something of this name in a folder.
func holds(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// checkFolder reports a path that is not the folder of a whole model.
func checkFolder(dir string) error {
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !st.IsDir():
		return fmt.Errorf("%s is a file: from takes the folder that holds config.json and safetensors", dir)
	case holds(dir, "adapter_config.json"):
		return fmt.Errorf("%s holds an adapter (adapter_config.json), which would change the model's numbers and is not read: merge it with PEFT's merge_and_unload and save the merged model, or remove the adapter's files", dir)
	case holds(dir, checkpoint.ConfigFile):
		return nil
	}
	return errors.Join(fmt.Errorf("%s has no %s, which says what model it is: take it from where the weights come from", dir, checkpoint.ConfigFile), otherWeights(dir))
}

// convert is a command that writes a model in a form that can be read.
const convert = `python -c "import sys, transformers as t; t.AutoModelForCausalLM.from_pretrained(sys.argv[1]%s).save_pretrained(sys.argv[2])" %s %s`

// otherForms are files that hold weights in a form that is not read: how their names look, what they are, and what more
// from_pretrained is told to read them.
var otherForms = []struct{ pattern, what, argument string }{
	{"pytorch_model*.bin", "weights as pickles of PyTorch, which may hold code and are not read", ""},
	{"*.gguf", "weights as GGUF, which is not read", ", gguf_file='%s'"},
	{"tf_model*.h5", "weights of TensorFlow, which are not read", ", from_tf=True"},
	{"flax_model*.msgpack", "weights of Flax, which are not read", ", from_flax=True"},
	{"consolidated*", "weights in the layout of Meta or Mistral, which is not read: take the model's files for transformers", "-"},
	{"*.pt", "weights as pickles of PyTorch, which may hold code and are not read: save them with transformers", "-"},
	{"*.pth", "weights as pickles of PyTorch, which may hold code and are not read: save them with transformers", "-"},
	{"model-*-of-*.safetensors", "a shard of a model, without model.safetensors.index.json, which says where each tensor is: take it from where the shards come from", "-"},
	{"*.safetensors", "safetensors under another name: the weights lie in model.safetensors, or in shards that model.safetensors.index.json names", "-"},
}

// otherWeights says what weights a folder holds instead of safetensors under their names, and what to do; nil if it holds none.
func otherWeights(dir string) error {
	if holds(dir, checkpoint.ModelFile) || holds(dir, checkpoint.ModelFile+".index.json") {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, form := range otherForms {
		for _, e := range entries {
			if ok, _ := filepath.Match(form.pattern, e.Name()); !ok {
				continue
			}
			name, argument := foreign.Shown(e.Name()), form.argument
			if argument == "-" {
				return fmt.Errorf("%s holds %s, %s", dir, name, form.what)
			}
			if strings.Contains(argument, "%s") {
				argument = fmt.Sprintf(argument, name)
			}
			quoted := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
			return fmt.Errorf("%s holds %s, %s. Convert it, and start from the new folder: %s", dir, name, form.what,
				fmt.Sprintf(convert, argument, quoted(dir), quoted(dir+"-safetensors")))
		}
	}
	return nil
}

// foreignTensors are names that say that the weights are in another form altogether.
var foreignTensors = []struct {
	name *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`\.(weight_scale(_inv|_2)?|input_scale|output_scale|absmax|quant_map|nested_absmax|nested_quant_map|qweight|qzeros|scales|g_idx|SCB|weight_packed|weight_zero_point|weight_shape|biases)$|\.quant_state\.`),
		"the weights are quantised, which cannot be read: save the model in float32 or bfloat16 first"},
	{regexp.MustCompile(`(^|\.)(lora_[A-Za-z_]+|base_layer|modules_to_save|ia3_l|hada_w1_a)(\.|$)`),
		"the weights are those of adapters beside a model: merge them with PEFT's merge_and_unload first"},
}

// strayTensors are tensors beside those that the configuration wants: what they are, the first row that fits.
var strayTensors = []struct {
	name *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`^model\.layers\.[0-9]+\.self_attn\.[qkvo]_proj\.bias$`), "biases of attention, though attention_bias is false there"},
	{regexp.MustCompile(`^model\.layers\.[0-9]+\.mlp\.(gate|up|down)_proj\.bias$`), "biases of the feed-forward layers, though mlp_bias is false there"},
	{regexp.MustCompile(`\.(q_norm|k_norm|q_layernorm|k_layernorm|query_norm|key_norm)\.`), "norms on q and k, which Llama does not have"},
	{regexp.MustCompile(`norm`), "norms, which Llama does not have"},
	{regexp.MustCompile(`^(score|classifier|qa_outputs|v_head)\b`), "a head other than that of a language model"},
	{regexp.MustCompile(``), "tensors that have no place in it"},
}

var layerName = regexp.MustCompile(`^model\.layers\.([0-9]+)\.`)

// checkTensors holds the tensors of a folder to the configuration: each is there, of its shape and floating point, and no
// other is there but copies of what the configuration says already.
func checkTensors(f *checkpoint.Folder, c llama.Config, path string) error {
	names := f.Names()
	for _, x := range foreignTensors {
		if i := slices.IndexFunc(names, x.name.MatchString); i >= 0 {
			return fmt.Errorf("the safetensors beside %s hold a tensor %s: %s", path, foreign.Shown(names[i]), x.what)
		}
	}
	placed := map[string]bool{}
	for x := range llama.Wants(c) {
		shape, ok := f.Shape(x.Name)
		has := "have none"
		if ok {
			has = fmt.Sprintf("have %v", shape)
		}
		if !ok || !shape.Equal(x.Shape) {
			err := fmt.Errorf("%s wants a tensor %s of %v; the safetensors %s", path, x.Name, x.Shape, has)
			if x.Name == llama.LMHead {
				err = fmt.Errorf("%w. If the embedding table is its head, tie_word_embeddings there must be true", err)
			}
			return err
		}
		if dtype := f.DType(x.Name); !checkpoint.Floating(dtype) {
			return fmt.Errorf("tensor %s beside %s is of type %s, which is not read as a weight: save the model in float32 or bfloat16 first", x.Name, path, dtype)
		}
		placed[x.Name] = true
	}
	stray := map[string][]string{}
	var kinds []string
	for _, name := range names {
		if placed[name] {
			continue
		}
		what, err := strayTensor(f, c, name)
		if err != nil {
			return err
		}
		if what != "" && stray[what] == nil {
			kinds = append(kinds, what)
		}
		stray[what] = append(stray[what], name)
	}
	var all []error
	for _, what := range kinds {
		all = append(all, fmt.Errorf("the safetensors beside %s hold %s: %s", path, what, some(stray[what])))
	}
	return errors.Join(all...)
}

// some shows the first of a list of names, and how many there are.
func some(names []string) string {
	const most = 3
	text := foreign.Shown(strings.Join(names[:min(most, len(names))], ", "))
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// strayTensor says what a tensor is that the configuration does not want; empty if it changes nothing.
func strayTensor(f *checkpoint.Folder, c llama.Config, name string) (string, error) {
	switch {
	case name == llama.LMHead:
		same, err := f.Same(name, llama.EmbedTokens)
		if err != nil || same {
			return "", err
		}
		return "a head that differs from the embedding table, though tie_word_embeddings is true there", nil
	case strings.HasSuffix(name, "rotary_emb.inv_freq"):
		v, err := f.Float32(name)
		if err != nil {
			return "", err
		}
		plain := c
		plain.RopeScaling = nil // older programs kept these and scaled positions
		if frequencies(v, c) || frequencies(v, plain) {
			return "", nil
		}
		return "rotary frequencies that differ from those of its rope_theta and rope_scaling", nil
	}
	if m := layerName.FindStringSubmatch(name); m != nil {
		if n, err := strconv.Atoi(m[1]); err != nil || n >= c.NumHiddenLayers {
			return fmt.Sprintf("layers beyond its num_hidden_layers, which is %d", c.NumHiddenLayers), nil
		}
	}
	for _, x := range strayTensors {
		if x.name.MatchString(name) {
			return x.what, nil
		}
	}
	return "", nil
}

// frequencies reports whether v are the rotary frequencies of a configuration, as far as bfloat16 can show it.
func frequencies(v []float32, c llama.Config) bool {
	want, _ := c.Frequencies()
	return slices.EqualFunc(v, want, func(a float32, b float64) bool { return math.Abs(float64(a)-b) <= b/128+1e-7 })
}

// readable reads the weights of the imported models that a run starts from, before it does anything: a number that the device
// cannot hold, or a stage that starts from NaN or infinity, is an error. An evaluation of such a model is a result.
func (p *Plan) readable(ctx context.Context) error {
	read := map[string]bool{}
	for _, a := range p.Actions {
		if a.Verb != Run || a.skip {
			continue
		}
		var err error
		switch s, e := a.Stage, a.Evaluate; {
		case s != nil && s.Init != "" && !read[s.Init+s.DType.String()]:
			read[s.Init+s.DType.String()] = true
			err = train.CheckInit(ctx, &s.Stage)
		case e != nil && e.Folder != "" && !read[e.Folder]:
			read[e.Folder] = true
			err = narrowable(ctx, e)
		}
		if ctx.Err() != nil {
			return observe.ErrInterrupted
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.Addr, err)
		}
	}
	return nil
}

// narrowable is the error of imported weights in float64 that are beyond float32.
func narrowable(ctx context.Context, e *Evaluation) error {
	f, err := checkpoint.OpenFolder(e.Folder)
	if err != nil {
		return err
	}
	defer f.Close()
	wide := slices.DeleteFunc(slices.Clone(e.Params), func(p ops.Param) bool { return f.DType(p.Name) != "F64" })
	return train.CheckTensors(ctx, f, wide)
}

// otherTokens says that ids mean other tokens to a tokenizer than to the tokenizer.json that came with an imported model; empty
// if they do not, or if that is not known.
func (m *Model) otherTokens(t *Tokenizer) string {
	if m.Folder == "" {
		return ""
	}
	path := filepath.Join(m.Folder, checkpoint.TokenizerFile)
	b, err := foreign.ReadFile(path, tokenizer.MaxBytes)
	if err != nil {
		return ""
	}
	if t.loaded == nil {
		return fmt.Sprintf("%s is made by the run, and %s came with a tokenizer of its own, %s: its ids mean other tokens", t.Addr, m.Addr, path)
	}
	if string(b) == string(t.loaded.JSON()) {
		return ""
	}
	own, err := tokenizer.Parse(b)
	if err != nil {
		return ""
	}
	for id := range int32(max(own.VocabSize(), t.VocabSize)) {
		if a, b := t.loaded.Token(id), own.Token(id); a != b {
			return fmt.Sprintf("%s is not the tokenizer that came with %s: token %d is %q, and %q in %s", t.Addr, m.Addr, id, foreign.Shown(a), foreign.Shown(b), path)
		}
	}
	return ""
}

// ropeScaling reads the attribute in which a pipeline gives what config.json has under the same name.
func ropeScaling(v cty.Value) (*llama.RopeScaling, error) {
	b, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return nil, err
	}
	return llama.ParseRopeScaling(b)
}
